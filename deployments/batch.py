"""Creating, updating and deleting batch deployments. Nothing runs until a job does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from deployments.batch_specs import (
    DEFAULT_FILE,
    SAME_FIELDS,
    BatchDeploymentSpec,
    check_spec,
)
from deployments.changes import count_deployments
from deployments.models import BatchDeployment
from endpoints.batch import set_default_deployment
from endpoints.models import BatchEndpoint
from workspaces import quota, vault
from workspaces.activity import record
from workspaces.computes import find_compute
from workspaces.errors import Conflict, UserError
from workspaces.models import User, Workspace


def create_batch_deployment(
    endpoint: BatchEndpoint,
    spec: BatchDeploymentSpec,
    *,
    by: User | None,
    is_default: bool = False,
) -> BatchDeployment:
    """Add the deployment; with `is_default` it takes the jobs that name none.

    Raises `ValidationFailed` or `UserError` for wrong fields, `Conflict` for a taken name, OutOfQuota.
    """
    workspace = endpoint.workspace
    wanted = _tidy(workspace, spec)
    check_spec(workspace, wanted)
    try:
        with transaction.atomic():
            locked = _lock_endpoint(endpoint)
            used = count_deployments(workspace)
            quota.check(workspace, "deployments", used=used, wanted=1)
            here = locked.deployments.count()
            quota.check(workspace, "deployments_per_endpoint", used=here, wanted=1)
            deployment = BatchDeployment.objects.create(
                endpoint=locked, created_by=by, **_facts(wanted)
            )
            _record(deployment, "create", by=by)
            if is_default:
                set_default_deployment(locked, deployment.name, by=by)
                deployment.endpoint.refresh_from_db(fields=["default_deployment"])
    except IntegrityError as error:
        if "batch_deployment_name" not in str(error):
            raise
        raise Conflict(
            f"Endpoint '{endpoint.name}' already has a deployment '{spec.name}'. Update that one, or choose another "
            "name.",
            target="name",
        ) from error
    return deployment


def update_batch_deployment(
    deployment: BatchDeployment, spec: BatchDeploymentSpec, *, by: User | None
) -> BatchDeployment:
    """Make the deployment what `spec` says, whole; the same again changes nothing. Name and type stay.

    Jobs that run already go on as they began.
    """
    with transaction.atomic():
        locked = with_facts(BatchDeployment.objects.select_for_update(of=("self",)))
        found = locked.filter(pk=deployment.pk).first()
        if found is None:
            raise Conflict(f"Deployment '{deployment.name}' was deleted meanwhile.", target="name")
        workspace = found.endpoint.workspace
        current = spec_of(found)
        wanted = _tidy(workspace, replace(spec, name=found.name))
        if wanted.type != current.type:
            raise UserError(
                f"The type of deployment '{found.name}' is '{current.type}' and cannot be changed. Create another "
                "deployment instead.",
                target="type",
            )
        check_spec(workspace, wanted)
        if current == wanted:
            return found
        changed = [
            name
            for name in BatchDeploymentSpec.__dataclass_fields__
            if getattr(current, name) != getattr(wanted, name)
        ]
        facts = {**_facts(wanted), "updated_at": timezone.now()}
        for name, value in facts.items():
            setattr(found, name, value)
        found.save(update_fields=[*facts])
        # Values of environment variables may be secret, so only the names of fields are told.
        _record(found, "update", by=by, after={"changed": changed})
    return found


def delete_batch_deployment(deployment: BatchDeployment, *, by: User | None) -> None:
    """Take it away; an endpoint whose default it was has none then. Twice is success."""
    with transaction.atomic():
        endpoint = BatchEndpoint.objects.select_for_update().filter(pk=deployment.endpoint_id)
        locked = endpoint.first()
        found = BatchDeployment.objects.filter(pk=deployment.pk).first()
        if locked is None or found is None:
            return
        if locked.default_deployment == found.name:
            set_default_deployment(locked, "", by=by)
        _record(found, "delete", by=by)
        found.delete()


def spec_of(deployment: BatchDeployment) -> BatchDeploymentSpec:
    """The deployment's wish as a spec, to be changed and handed back."""
    return BatchDeploymentSpec(
        model=deployment.model_version,
        code=deployment.code_version,
        environment=deployment.environment_version,
        environment_variables=deployment.environment_variables,
        component=deployment.component_version,
        **{name: getattr(deployment, name) for name in SAME_FIELDS},
    )


def with_facts(rows: QuerySet[BatchDeployment]) -> QuerySet[BatchDeployment]:
    """With all that is told of a deployment, in one query."""
    return rows.select_related(
        "endpoint__workspace",
        "created_by",
        "model_version__model",
        "code_version__code",
        "environment_version__environment",
        "component_version__component",
    )


def _tidy(workspace: Workspace, spec: BatchDeploymentSpec) -> BatchDeploymentSpec:
    """The compute as its name is written, and no name for a file that will not be."""
    compute = find_compute(workspace, spec.compute) if spec.compute else None
    is_summary = spec.output_action == BatchDeployment.OutputAction.SUMMARY_ONLY
    # Some of Azure's clients always send the default.
    drops_name = is_summary and spec.output_file_name == DEFAULT_FILE
    return replace(
        spec,
        compute=compute.name if compute else spec.compute,
        output_file_name="" if drops_name else spec.output_file_name,
    )


def _facts(spec: BatchDeploymentSpec) -> dict[str, Any]:
    """The columns of a row."""
    return {
        "model_version": spec.model,
        "code_version": spec.code,
        "environment_version": spec.environment,
        "environment_variables_sealed": vault.seal_map(spec.environment_variables),
        "component_version": spec.component,
        **{name: getattr(spec, name) for name in SAME_FIELDS},
    }


def _lock_endpoint(endpoint: BatchEndpoint) -> BatchEndpoint:
    Workspace.objects.select_for_update().get(pk=endpoint.workspace_id)
    locked = BatchEndpoint.objects.select_for_update(of=("self",)).select_related("workspace")
    found = locked.filter(pk=endpoint.pk).first()
    if found is None:
        raise Conflict(
            f"Endpoint '{endpoint.name}' was deleted meanwhile.", target="endpoint_name"
        )
    return found


def _record(
    deployment: BatchDeployment,
    verb: str,
    *,
    by: User | None,
    after: dict[str, Any] | None = None,
) -> None:
    endpoint = deployment.endpoint
    record(endpoint.workspace, verb, deployment, by=by, endpoint_name=endpoint.name, after=after)
