"""Lays a revision's model and code out as files, and says what one of its instances needs to run."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from django.conf import settings

from deployments import containers, mlflow_models, triton
from deployments.changes import machine
from deployments.engines import runtime_name
from deployments.environments.specification import EnvironmentSpec
from deployments.environments.uv_command import Cancel, Log
from deployments.images.specification import BuiltImage, ImageSpec
from deployments.installation import environments, image_stores, images, runtime_of
from deployments.mlflow_models import is_served_alone
from deployments.models import OnlineDeployment, Revision
from deployments.runtimes import GrantsFiles, InstanceSpec
from workspaces import storage
from workspaces.errors import UserError
from workspaces.models import EnvironmentVersion, ModelVersion

MOST_FILES_TOLD = 20
NO_LIMITS = {"cores": math.inf, "memory_bytes": math.inf}


def folder_of(deployment: OnlineDeployment, revision: Revision | None = None) -> Path:
    """Where the deployment's files are; with `revision`, that revision's."""
    folder: Path = settings.DEPLOYMENTS_ROOT / str(deployment.pk)
    return folder / str(revision.number) if revision else folder


def fetch(revision: Revision, tell: Callable[[str], None] | None = None) -> None:
    """Put model and code in place, readable for the deployment's instances alone. May be repeated.

    `tell` gets the lines of the storage initializer's log: what was put where, how much it is, how long it took.
    """
    tell = tell or _silent
    began = time.monotonic()
    deployment = revision.deployment
    folder = folder_of(deployment, revision)
    folder.mkdir(parents=True, exist_ok=True)
    settings.DEPLOYMENTS_ROOT.chmod(0o711)
    folder.parent.chmod(0o711)
    code, model = revision.code_version, revision.model_version
    tell(f"Revision {revision.number} of {deployment.endpoint.name}/{deployment.name}")
    if code is not None:
        tell(f"Code {code}, scoring script {revision.scoring_script}")
        _lay_out(code.content_hash, folder / "code", "AML_APP_ROOT", tell)
    if model is not None:
        root = model_dir(revision)
        tell(f"Model {model}, {model.get_type_display()}")
        target = root / model.leaf if model.is_folder else root
        _lay_out(model.content_hash, target, f"AZUREML_MODEL_DIR={_place(root, folder)}", tell)
    house = runtime_of(revision)
    if isinstance(house, GrantsFiles):
        house.grant(folder, deployment.pk)
    if code is None and model is None:
        tell("  nothing to fetch: the deployment has neither code nor a model")
    tell(f"Storage initialized in {time.monotonic() - began:.2f} s")


def _lay_out(content_hash: str, target: Path, variable: str, tell: Callable[[str], None]) -> None:
    began = time.monotonic()
    was_there = target.exists()
    try:
        storage.materialise(content_hash, target)
    except (OSError, UserError) as error:
        tell(f"  failed after {time.monotonic() - began:.2f} s: {error}")
        raise
    files = storage.entries(content_hash)
    size = sum(entry.size_bytes for entry in files)
    verb = "already in place" if was_there else "fetched"
    tell(
        f"  {verb}: {len(files)} {'file' if len(files) == 1 else 'files'}, {size} bytes, in "
        f"{time.monotonic() - began:.2f} s; mounted read-only, {variable}"
    )
    for entry in files[:MOST_FILES_TOLD]:
        tell(f"    {entry.path}  {entry.size_bytes} bytes")
    if len(files) > MOST_FILES_TOLD:
        tell(f"    and {len(files) - MOST_FILES_TOLD} more")


def _place(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _silent(line: str) -> None:
    """Nobody listens."""


def forget(deployment: OnlineDeployment, revision: Revision | None = None) -> None:
    """Remove the files again; missing is success."""
    shutil.rmtree(folder_of(deployment, revision), ignore_errors=True)


def model_dir(revision: Revision) -> Path:
    """`AZUREML_MODEL_DIR`: `azureml-models/<name>/<version>`, the base path that Azure has (facts 4.3)."""
    model = revision.model_version
    assert model is not None
    folder = folder_of(revision.deployment, revision) / "azureml-models"
    return folder / model.model.name / model.version


def environment_spec(revision: Revision) -> EnvironmentSpec:
    """What the builder is asked for; without an environment, the minimal one, or what serves the model."""
    model = revision.model_version
    laid_out = model_dir(revision) / mlflow_models.folder_of(model) if model else None
    return environment_spec_for(
        revision.environment_version,
        model,
        has_code=revision.code_version is not None,
        folder=laid_out if laid_out and laid_out.is_dir() else None,
    )


def environment_spec_for(
    wanted: EnvironmentVersion | None,
    model: ModelVersion | None,
    *,
    has_code: bool,
    folder: Path | None = None,
) -> EnvironmentSpec:
    """The same for a deployment that is not there yet; an MLflow model without a script brings its own (`folder`)."""
    if wanted is None and triton.is_repository(model, has_code=has_code):
        return EnvironmentSpec(curated_name=triton.ENVIRONMENT)
    if wanted is None and model is not None and is_served_alone(model, has_code=has_code):
        return mlflow_models.environment_of(model, folder)
    return environment_spec_of(wanted)


def mlflow_folder(revision: Revision) -> str:
    """The folder below `AZUREML_MODEL_DIR` of an MLflow model that is served without a script; empty: none is."""
    model = revision.model_version
    if model is None or not is_served_alone(model, has_code=revision.code_version is not None):
        return ""
    return mlflow_models.folder_of(model)


def environment_spec_of(wanted: EnvironmentVersion | None) -> EnvironmentSpec:
    """The same for an environment that no deployment has yet; `UserError` for one that needs an engine."""
    if wanted is None:
        return EnvironmentSpec()
    if wanted.build_context_hash:
        raise UserError(
            "The environment has a Docker build context, which needs the docker runtime. Give a conda file or "
            "pip requirements.",
            target="environment",
        )
    if wanted.conda_file or wanted.requirements or wanted.curated:
        return EnvironmentSpec(
            conda_text=wanted.conda_file,
            requirements_text=wanted.requirements,
            curated_name=wanted.curated,
        )
    raise UserError(
        f"The environment is the image {wanted.image} alone, which needs the docker runtime. Add a conda file: "
        "without an engine its packages are installed and the image is left out.",
        target="environment.image",
    )


def environment_warnings(revision: Revision) -> list[str]:
    """What of the wish does not hold on the runtime that it runs on."""
    if runs_as_container(revision):
        return []
    warnings = []
    if revision.egress_public_network_access == "disabled":
        warnings.append(
            "The network is not cut off: this deployment runs as processes, and egress_public_network_access needs "
            "the docker runtime."
        )
    wanted = revision.environment_version
    if wanted is not None and wanted.image and wanted.conda_file:
        warnings.append(
            f"The image {wanted.image} is not used: this installation runs deployments as processes, with the "
            "packages of the conda file."
        )
    return warnings


def runs_as_container(revision: Revision) -> bool:
    return (revision.runtime or runtime_name()) == "docker"


def is_custom(revision: Revision) -> bool:
    """Whether the image's own command serves."""
    return containers.is_custom(
        revision.environment_version,
        revision.model_version,
        has_code=revision.code_version is not None,
    )


def image_spec(revision: Revision) -> ImageSpec:
    """The image that a revision runs in; its build context is laid out."""
    if triton.runs_in_image(revision):
        return ImageSpec(image=settings.TRITON_IMAGE, is_custom=True)
    wanted = revision.environment_version
    if wanted is None or not (wanted.image or wanted.build_context_hash):
        return ImageSpec(environment=environment_spec(revision))
    context = folder_of(revision.deployment, revision) / "context"
    if wanted.build_context_hash:
        storage.materialise(wanted.build_context_hash, context)
    has_packages = bool(wanted.conda_file or wanted.requirements)
    return containers.image_spec(
        wanted,
        packages=environment_spec(revision) if has_packages else None,
        context=context,
        is_custom=is_custom(revision),
    )


@dataclass(frozen=True)
class Built:
    """What its instances run in is there."""

    warnings: tuple[str, ...]
    was_cached: bool


def kind_of_build(revision: Revision) -> str:
    """Runtime and what is built: builds of one kind take about the same time."""
    wanted = revision.environment_version
    if not runs_as_container(revision):
        return "process packages"
    if wanted is not None and wanted.build_context_hash:
        return "docker Dockerfile"
    is_alone = (
        wanted is not None and wanted.image and not (wanted.conda_file or wanted.requirements)
    )
    return "docker image" if is_alone or triton.runs_in_image(revision) else "docker packages"


def build(revision: Revision, log: Log, cancel: Cancel) -> Built:
    """Make what its instances run in, and note an image in the revision. Raises as builders do."""
    if runs_as_container(revision):
        image = images(revision).build(image_spec(revision), log, cancel)
        if image.was_cached:
            log("The image was built before; it is used again.")
        note_image(revision, image)
        return Built(tuple(image.warnings), image.was_cached)
    built = environments().build(environment_spec(revision), log, cancel)
    if built.was_cached:
        log("The environment was built before; it is used again.")
    elif revision.code_version is not None:
        script = folder_of(revision.deployment, revision) / "code" / revision.scoring_script
        environments().precompile(built, script)
    elif mlflow_folder(revision) and revision.model_version is not None:
        imports = folder_of(revision.deployment, revision) / "imports.py"
        imports.write_text(mlflow_models.imports_of(revision.model_version))
        environments().precompile(built, imports)
    return Built(tuple(built.warnings), built.was_cached)


def note_image(revision: Revision, image: BuiltImage) -> None:
    if revision.image != image.reference:
        revision.image = image.reference
        revision.save(update_fields=["image"])


def instance_spec(revision: Revision, number: int) -> InstanceSpec:
    """What the runtime is told. What it runs in was built before, and is built again when it has gone since."""
    deployment = revision.deployment
    # Engines of a compute are no part of this machine.
    own = machine() if revision.compute_id is None else NO_LIMITS
    size = revision.instance_type
    variables = revision.environment_variables
    if mlflow_folder(revision):
        # The server looks for it where there is no script, on every runtime.
        variables = {"MLFLOW_MODEL_FOLDER": mlflow_folder(revision), **variables}
    workers = variables.get("WORKER_COUNT", "")
    spec = InstanceSpec(
        name=instance_name(revision, number),
        owner=deployment.pk,
        code_dir=folder_of(deployment, revision) / "code" if revision.code_version else None,
        scoring_script=revision.scoring_script,
        model_dir=model_dir(revision) if revision.model_version else None,
        model_repository=_repository_folder(revision),
        python=None,
        environment_variables=variables,
        cpu_cores=min(float(size.cores), own["cores"]),
        memory_bytes=int(min(size.memory_bytes, own["memory_bytes"])),
        worker_count=int(workers) if workers.isdecimal() and 0 < int(workers) <= 64 else 1,
        max_concurrent_requests=revision.max_concurrent_requests_per_instance,
        request_timeout_ms=revision.request_timeout_ms,
        max_queue_wait_ms=revision.max_queue_wait_ms,
    )
    if runs_as_container(revision):
        return _in_container(revision, spec)
    return replace(spec, python=environments().build(environment_spec(revision)).python)


def _in_container(revision: Revision, spec: InstanceSpec) -> InstanceSpec:
    image = _found_image(revision)
    if image is None:
        image = images(revision).build(image_spec(revision))
        note_image(revision, image)
    spec = replace(
        spec,
        image=image.reference,
        python=Path(image.python) if image.python else None,
        is_cut_off=revision.egress_public_network_access == "disabled",
        gpu_count=revision.instance_type.gpu_count,
    )
    if triton.runs_in_image(revision):
        return triton.in_image(spec)
    environment = revision.environment_version
    if environment is None or not is_custom(revision):
        return spec
    routes = containers.routes(environment)
    return replace(
        spec,
        is_custom=True,
        port=routes.port,
        liveness_path=routes.liveness_path,
        liveness_port=routes.liveness_port,
        readiness_path=routes.readiness_path,
        readiness_port=routes.readiness_port,
        model_mount=_model_mount(revision),
    )


def _found_image(revision: Revision) -> BuiltImage | None:
    """What was built for it, while one of its engines still has it; from there it comes to the others."""
    if not revision.image:
        return None
    found = (store.still_there(revision.image) for store in image_stores(revision))
    return next((image for image in found if image is not None), None)


def _model_mount(revision: Revision) -> str:
    """`<model_mount_path>/<name>/<version>` (facts 4.3); empty for the runtime's own place."""
    model = revision.model_version
    if model is None or not revision.model_mount_path:
        return ""
    return f"{revision.model_mount_path.rstrip('/')}/{model.model.name}/{model.version}"


def _serves_repository(revision: Revision) -> bool:
    return triton.is_repository(revision.model_version, has_code=revision.code_version is not None)


def _repository_folder(revision: Revision) -> str:
    model = revision.model_version
    if model is None or not _serves_repository(revision):
        return ""
    return triton.folder_below_root(model)


def instance_name(revision: Revision, number: int | str) -> str:
    deployment = revision.deployment
    return (
        f"{deployment.endpoint.name}.{deployment.name}.{deployment.pk}.{revision.number}.{number}"
    )
