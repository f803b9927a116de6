"""The sample endpoint `diabetes`: two models trained here, blue and green, 90 to 10."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from django.db import transaction
from django.utils import timezone

from deployments.changes import create_deployment, retry
from deployments.doorbell import ring_sweep
from deployments.environments.specification import EnvironmentSpec
from deployments.installation import environments
from deployments.models import DeploymentState, OnlineDeployment, Phase, SampleLoad
from deployments.specs import DeploymentSpec
from endpoints.changes import EndpointSpec, create_endpoint, delete_endpoint
from endpoints.models import EndpointState, OnlineEndpoint
from endpoints.traffic import set_traffic
from workspaces import catalog, storage
from workspaces.errors import Conflict, UserError
from workspaces.models import (
    CodeVersion,
    Environment,
    EnvironmentVersion,
    Model,
    ModelVersion,
    User,
    Workspace,
)

ENDPOINT = "diabetes"
SPLIT = {"blue": 90, "green": 10}
MODELS = {"blue": "ridge", "green": "boosting"}
ASSET = "diabetes-sample"
INSTANCE_TYPE = "Standard_F2s_v2"
REQUEST = '{"data": [[59, 2, 32.1, 101, 157, 93.2, 38, 4, 4.86, 87], [48, 1, 21.6, 87, 183, 103.2, 70, 3, 3.89, 69]]}'
FOLDER = Path(__file__).parent / "sample"
TRAIN_SECONDS = 120


def load_samples(workspace: Workspace, *, by: User | None) -> SampleLoad:
    """Want the sample endpoint in this workspace; the worker makes it. Twice is success.

    `Conflict` when the name `diabetes` is taken by an endpoint of another workspace.
    """
    taken = OnlineEndpoint.objects.filter(name__iexact=ENDPOINT).exclude(workspace=workspace)
    if taken.exists():
        raise Conflict(
            f"The endpoint name '{ENDPOINT}' is in use in another workspace. Remove it there first.",
            target="name",
        )
    with transaction.atomic():
        load, is_new = SampleLoad.objects.select_for_update().get_or_create(
            workspace=workspace,
            defaults={
                "state": SampleLoad.State.WANTED,
                "due_at": timezone.now(),
                "wanted_by": by,
                "message": "Waiting for the worker.",
            },
        )
        ended = load.state in (SampleLoad.State.DONE, SampleLoad.State.FAILED)
        if not is_new and ended:
            load.move(SampleLoad.State.WANTED, wanted_by=by, message="Waiting for the worker.")
        ring_sweep()
    return load


def remove_samples(workspace: Workspace, *, by: User | None) -> bool:
    """Delete the sample endpoint and archive its assets; False when there was none."""
    SampleLoad.objects.filter(workspace=workspace).delete()
    assets: list[Model | Environment] = [
        *workspace.models.filter(name__in=[f"diabetes-{name}" for name in MODELS.values()]),
        *workspace.environments.filter(name=ASSET),
    ]
    for asset in assets:
        catalog.archive(asset, by=by)
    endpoint = workspace.online_endpoints.filter(name=ENDPOINT).first()
    if endpoint is None:
        return False
    delete_endpoint(endpoint, by=by)
    ring_sweep()
    return True


def advance(load: SampleLoad) -> tuple[str | None, float | None, str]:
    """One step: new state or None, seconds until the next look or None, and what to tell."""
    try:
        if load.state == SampleLoad.State.WANTED:
            if _is_being_deleted(load.workspace):
                return None, 0.5, "Waiting until the old sample is deleted."
            _make(load)
            return SampleLoad.State.DEPLOYING, 0.5, "Starting blue and green."
        return _finish(load)
    except UserError as error:
        return SampleLoad.State.FAILED, None, error.message


def _is_being_deleted(workspace: Workspace) -> bool:
    return workspace.online_endpoints.filter(name=ENDPOINT, state=EndpointState.DELETING).exists()


def _make(load: SampleLoad) -> None:
    """Train, register, and want the endpoint with both deployments; repeats find what is there."""
    workspace, by = load.workspace, load.wanted_by
    old = workspace.online_endpoints.filter(name=ENDPOINT).first()
    environment = _environment(workspace, by)
    models = _models(load, environment)
    code = _code(workspace, by)
    endpoint = old or create_endpoint(
        workspace,
        EndpointSpec(
            name=ENDPOINT,
            description="Progression of diabetes one year on, from ten numbers a patient (sample).",
            tags={"sample": "true"},
        ),
        by=by,
    )
    for name, model in models.items():
        existing = endpoint.deployments.filter(name=name).first()
        if existing is not None:
            if existing.state == DeploymentState.FAILED:
                retry(existing, by=by)
            continue
        spec = DeploymentSpec(
            name=name,
            model=model,
            code=code,
            scoring_script="score.py",
            environment=environment,
            instance_type=INSTANCE_TYPE,
            # Two requests may wait for every one that is scored, so a handful of clicks never meets a 429.
            max_concurrent_requests_per_instance=4,
        )
        create_deployment(endpoint, spec, by=by)


def _finish(load: SampleLoad) -> tuple[str | None, float | None, str]:
    """Set the split once both answer."""
    endpoint = load.workspace.online_endpoints.filter(name=ENDPOINT).first()
    if endpoint is None or endpoint.state == EndpointState.DELETING:
        return SampleLoad.State.FAILED, None, "The sample endpoint was deleted meanwhile."
    rows = list(OnlineDeployment.objects.filter(endpoint=endpoint, name__in=SPLIT))
    for row in rows:
        if row.state == DeploymentState.FAILED:
            cause = row.failure.get("cause", "see the deployment's page.")
            return SampleLoad.State.FAILED, None, f"Deployment '{row.name}' failed: {cause}"
    if len(rows) < len(SPLIT) or any(row.state != DeploymentState.SUCCEEDED for row in rows):
        where = " and ".join(map(_where, rows)) or "blue and green"
        return None, 0.5, f"Starting {where}."
    if not endpoint.traffic:
        set_traffic(endpoint, SPLIT, by=load.wanted_by, note="sample")
    return SampleLoad.State.DONE, None, "Ready."


def _where(deployment: OnlineDeployment) -> str:
    """The deployment's name, and how far it is: `blue (build environment)`."""
    operation = deployment.current_operation()
    phase = operation.phases.filter(state=Phase.State.RUNNING).first() if operation else None
    return f"{deployment.name} ({phase.name.lower()})" if phase else deployment.name


def _environment(workspace: Workspace, by: User | None) -> EnvironmentVersion:
    known = EnvironmentVersion.objects.filter(
        environment__workspace=workspace, environment__name=ASSET
    ).first()
    if known is None:
        return catalog.register_environment(
            workspace, ASSET, by=by, conda_file=(FOLDER / "conda.yaml").read_text()
        )
    catalog.restore(known.environment, by=by)
    return known


def _models(load: SampleLoad, environment: EnvironmentVersion) -> dict[str, ModelVersion]:
    """Deployment name → its model, trained now unless it is registered already."""
    found: dict[str, ModelVersion] = {}
    for deployment, kind in MODELS.items():
        known = Model.objects.filter(workspace=load.workspace, name=f"diabetes-{kind}").first()
        version = known.versions.first() if known else None
        if known is not None and version is not None:
            catalog.restore(known, by=load.wanted_by)
            found[deployment] = version
    if len(found) == len(MODELS):
        return found
    SampleLoad.objects.filter(pk=load.pk).update(message="Training two small models.")
    built = environments().build(EnvironmentSpec(conda_text=environment.conda_file))
    with tempfile.TemporaryDirectory(prefix="portico-sample-") as folder:
        trained = subprocess.run(
            [built.python, "-I", FOLDER / "train.py", folder],
            capture_output=True,
            text=True,
            timeout=TRAIN_SECONDS,
        )
        if trained.returncode:
            last = (trained.stderr.strip().splitlines() or ["no output"])[-1]
            raise UserError(f"Training the sample models failed: {last}")
        for deployment, kind in MODELS.items():
            if deployment in found:
                continue
            content = storage.put_folder(Path(folder) / kind / "model")
            labels = catalog.Labels(
                description="Sample: trained on scikit-learn's built-in diabetes data.",
                tags={"sample": "true", "training": _line(trained.stdout, kind)},
            )
            found[deployment] = catalog.register_model(
                load.workspace,
                f"diabetes-{kind}",
                content,
                leaf="model",
                is_folder=True,
                by=load.wanted_by,
                labels=labels,
            )
    return found


def _code(workspace: Workspace, by: User | None) -> CodeVersion:
    content = storage.put_folder(FOLDER / "code")
    return catalog.register_code(
        workspace,
        ASSET,
        content,
        version=content.content_hash[:16],
        by=by,
        labels=catalog.Labels(is_anonymous=True),
    )


def _line(output: str, kind: str) -> str:
    """What the training printed about one model."""
    found = [line for line in output.splitlines() if line.startswith(f"{kind}:")]
    return found[0].removeprefix(f"{kind}: ") if found else ""
