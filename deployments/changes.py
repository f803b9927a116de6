"""Creating, updating, scaling, cancelling and deleting online deployments.

Each verb only writes what is wanted, in one transaction, and rings for the worker; `deployments.provisioning` does it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import psutil
from django.db import IntegrityError, transaction
from django.utils import timezone

from deployments.computes import Place, place_of
from deployments.containers import scoring_path
from deployments.doorbell import ring
from deployments.models import (
    BatchDeployment,
    DebugSession,
    DeploymentState,
    OnlineDeployment,
    Operation,
    Phase,
    Revision,
)
from deployments.specs import RUN_FIELDS, DeploymentSpec, check_spec, limit_warnings
from endpoints.gateway import publish
from endpoints.models import EndpointState, OnlineEndpoint
from workspaces import quota, vault
from workspaces.activity import record
from workspaces.errors import Conflict, UserError
from workspaces.models import InstanceType, User, Workspace

NOT_CHANGEABLE = ("type", "egress_public_network_access")


def create_deployment(
    endpoint: OnlineEndpoint,
    spec: DeploymentSpec,
    *,
    by: User | None,
    takes_traffic_when_ready: bool = False,
) -> OnlineDeployment:
    """Want a new deployment, with no traffic; it answers once its state is `Succeeded`.

    With `takes_traffic_when_ready` it then gets all live traffic, unless another one has some by then. Raises
    `ValidationFailed` or `UserError` for wrong fields, `Conflict` for a taken name, OutOfQuota.
    """
    most, runtime = _most_instances(endpoint.workspace), place_of(endpoint).runtime
    instance_type = check_spec(spec, most_instances=most, runtime=runtime)
    try:
        with transaction.atomic():
            locked = _lock_endpoint(endpoint)
            place = place_of(locked)
            _check_quota(locked, spec, instance_type, replacing=None)
            deployment = OnlineDeployment.objects.create(
                endpoint=locked,
                name=spec.name,
                type=spec.type,
                description=spec.description,
                tags=spec.tags,
                properties=spec.properties,
                instance_count=spec.instance_count,
                state=DeploymentState.CREATING,
                due_at=timezone.now(),
                takes_traffic_when_ready=takes_traffic_when_ready,
                created_by=by,
            )
            revision = _add_revision(deployment, spec, instance_type, place, by=by)
            deployment.revision = revision
            deployment.save(update_fields=["revision"])
            _begin(deployment, Operation.Kind.CREATE, revision, by=by)
            publish.add_upstream(locked, deployment.name, upstream_facts(deployment, revision))
            _record(deployment, "create", by=by, after={"revision": revision.number})
    except IntegrityError as error:
        if "deployment_name" not in str(error):
            raise
        raise Conflict(
            f"Endpoint '{endpoint.name}' already has a deployment '{spec.name}'. Update that one, or choose another "
            "name.",
            target="name",
        ) from error
    return deployment


def update_deployment(
    deployment: OnlineDeployment, spec: DeploymentSpec, *, by: User | None
) -> OnlineDeployment:
    """Want `spec` instead, whole; a rolling update follows. The same spec again changes nothing."""
    if spec.name.lower() != deployment.name.lower():
        raise UserError("The name of a deployment cannot be changed.", target="name")
    most, runtime = (
        _most_instances(deployment.endpoint.workspace),
        place_of(deployment.endpoint).runtime,
    )
    instance_type = check_spec(spec, most_instances=most, runtime=runtime)
    with transaction.atomic():
        locked_endpoint = _lock_endpoint(deployment.endpoint)
        locked = OnlineDeployment.objects.select_for_update().get(pk=deployment.pk)
        current = spec_of(locked)
        _check_fixed(current, spec)
        wanted = replace(spec, name=locked.name, instance_type=instance_type.name)
        if current == wanted and locked.state != DeploymentState.FAILED:
            return locked
        _refuse_when_busy(locked)
        _check_quota(locked_endpoint, spec, instance_type, replacing=locked)
        runs_otherwise = _run_part(current) != _run_part(wanted)
        revision = locked.revision
        if runs_otherwise or revision is None or locked.state == DeploymentState.FAILED:
            place = place_of(locked_endpoint)
            revision = _add_revision(locked, wanted, instance_type, place, by=by)
        before = {
            "revision": locked.revision.number if locked.revision else None,
            "instances": current.instance_count,
        }
        after = {"revision": revision.number, "instances": wanted.instance_count}
        locked.move(
            DeploymentState.UPDATING,
            revision=revision,
            instance_count=wanted.instance_count,
            description=wanted.description,
            tags=wanted.tags,
            properties=wanted.properties,
            failure={},
            cancel_requested=False,
            updated_at=timezone.now(),
        )
        kind = Operation.Kind.UPDATE if runs_otherwise else Operation.Kind.SCALE
        _begin(locked, kind, revision, by=by)
        _record(locked, str(kind), by=by, before=before, after=after)
    return locked


def scale_deployment(
    deployment: OnlineDeployment, instance_count: int, *, by: User | None
) -> OnlineDeployment:
    """Want another number of instances; nothing else changes."""
    return update_deployment(
        deployment, replace(spec_of(deployment), instance_count=instance_count), by=by
    )


def retry(deployment: OnlineDeployment, *, by: User | None) -> OnlineDeployment:
    """Try the failed operation again with the same wish."""
    if deployment.state != DeploymentState.FAILED:
        raise Conflict(
            f"Deployment '{deployment.name}' is {deployment.state}; only a Failed one can be tried again.",
            target="state",
        )
    return update_deployment(deployment, spec_of(deployment), by=by)


def restore_revision(
    deployment: OnlineDeployment, number: int, *, by: User | None
) -> OnlineDeployment:
    """Want what an earlier revision was, with today's number of instances."""
    revision = deployment.revisions.filter(number=number).first()
    if revision is None:
        raise UserError(
            f"Deployment '{deployment.name}' has no revision {number}.", target="revision"
        )
    return update_deployment(deployment, spec_of(deployment, revision), by=by)


def cancel(deployment: OnlineDeployment, *, by: User | None) -> None:
    """Ask the running create or update to stop; what served before goes on serving."""
    asked = OnlineDeployment.objects.filter(
        pk=deployment.pk, state__in=[DeploymentState.CREATING, DeploymentState.UPDATING]
    ).update(cancel_requested=True, due_at=timezone.now())
    if not asked:
        raise Conflict(
            f"Deployment '{deployment.name}' has no running operation to cancel.", target="state"
        )
    ring(deployment.pk)
    _record(deployment, "cancel", by=by)


def delete_deployment(deployment: OnlineDeployment, *, by: User | None) -> None:
    """Want it gone. Refused while it has live traffic; works in every state, and twice is success."""
    with transaction.atomic():
        endpoint = OnlineEndpoint.objects.select_for_update().get(pk=deployment.endpoint_id)
        locked = OnlineDeployment.objects.select_for_update().filter(pk=deployment.pk).first()
        if locked is None or locked.state == DeploymentState.DELETING:
            return
        percent = endpoint.traffic.get(locked.name, 0)
        if percent and endpoint.state != EndpointState.DELETING:
            raise Conflict(
                f"Deployment '{locked.name}' has {percent} % of the live traffic. Set its traffic to 0 % first, "
                "then delete it.",
                code="DeploymentHasTraffic",
                target="traffic",
            )
        _end_running(locked)
        locked.move(DeploymentState.DELETING, failure={}, cancel_requested=False)
        _begin(locked, Operation.Kind.DELETE, None, by=by)
        _record(locked, "delete", by=by)


def spec_of(deployment: OnlineDeployment, revision: Revision | None = None) -> DeploymentSpec:
    """The deployment's wish as a spec, to be changed and handed back; `revision` for an earlier one."""
    wanted = revision or deployment.revision
    if wanted is None:
        raise Conflict(f"Deployment '{deployment.name}' has no revision.", target="revision")
    run: dict[str, Any] = {name: getattr(wanted, name) for name in RUN_FIELDS}
    return DeploymentSpec(
        name=deployment.name,
        model=wanted.model_version,
        code=wanted.code_version,
        environment=wanted.environment_version,
        environment_variables=wanted.environment_variables,
        instance_type=wanted.instance_type.name,
        instance_count=deployment.instance_count,
        type=deployment.type,
        description=deployment.description,
        tags=deployment.tags,
        properties=deployment.properties,
        **run,
    )


def upstream_facts(deployment: OnlineDeployment, revision: Revision) -> publish.UpstreamFacts:
    """What the gateway needs to know of the deployment under this revision."""
    return publish.UpstreamFacts(
        instance_count=deployment.instance_count,
        max_concurrent_requests_per_instance=revision.max_concurrent_requests_per_instance,
        request_timeout_ms=revision.request_timeout_ms,
        scoring_path=scoring_path(
            revision.environment_version,
            revision.model_version,
            has_code=revision.code_version is not None,
        ),
    )


def machine() -> dict[str, float]:
    """What this machine has for one instance at most: `cores` and `memory_bytes`."""
    return {
        "cores": float(psutil.cpu_count() or 1),
        "memory_bytes": float(psutil.virtual_memory().total),
    }


def _lock_endpoint(endpoint: OnlineEndpoint) -> OnlineEndpoint:
    Workspace.objects.select_for_update().get(pk=endpoint.workspace_id)
    locked = OnlineEndpoint.objects.select_for_update().filter(pk=endpoint.pk).first()
    if locked is None or locked.state == EndpointState.DELETING:
        raise Conflict(f"Endpoint '{endpoint.name}' is being deleted.", target="endpoint_name")
    return locked


def _refuse_when_busy(deployment: OnlineDeployment) -> None:
    if deployment.is_busy:
        raise Conflict(
            f"Deployment '{deployment.name}' is {deployment.state}. Wait until that ends, or cancel it, then try "
            "again.",
            target="state",
        )


def _check_fixed(current: DeploymentSpec, wanted: DeploymentSpec) -> None:
    for name in NOT_CHANGEABLE:
        if getattr(current, name) != getattr(wanted, name):
            raise UserError(
                f"'{name}' of a deployment cannot be changed. Create another deployment instead.",
                target=name,
            )


def _most_instances(workspace: Workspace) -> int:
    return quota.limit_of(workspace, "instances_per_deployment")


def _check_quota(
    endpoint: OnlineEndpoint,
    spec: DeploymentSpec,
    instance_type: InstanceType,
    *,
    replacing: OnlineDeployment | None,
) -> None:
    workspace = endpoint.workspace
    others = OnlineDeployment.objects.filter(endpoint__workspace=workspace)
    if replacing is None:
        quota.check(workspace, "deployments", used=count_deployments(workspace), wanted=1)
        here = endpoint.deployments.count()
        quota.check(workspace, "deployments_per_endpoint", used=here, wanted=1)
    else:
        others = others.exclude(pk=replacing.pk)
    wanted = quota.reserved_cores(spec.instance_count, float(instance_type.cores))
    quota.check(
        workspace,
        "cores",
        used=reserved_cores(others),
        wanted=wanted,
        target="instance_count",
        hint=" (a fifth more instances, rounded up, as the reserve for updates)",
    )


def count_deployments(workspace: Workspace) -> int:
    """Of all kinds of endpoints: they share one quota (facts 3.2)."""
    batch = BatchDeployment.objects.filter(endpoint__workspace=workspace)
    online = OnlineDeployment.objects.filter(endpoint__workspace=workspace)
    return online.count() + batch.count()


def reserved_cores(deployments: Any) -> int:
    """Cores that these deployments hold together, with the reserve for rolling updates and what is debugged."""
    rows = deployments.filter(revision__isnull=False).values_list(
        "instance_count", "revision__instance_type__cores"
    )
    debugged = DebugSession.objects.filter(deployment__in=deployments)
    held = sum(map(math.ceil, debugged.values_list("revision__instance_type__cores", flat=True)))
    return held + sum(quota.reserved_cores(count, float(cores)) for count, cores in rows)


def _add_revision(
    deployment: OnlineDeployment,
    spec: DeploymentSpec,
    instance_type: InstanceType,
    place: Place,
    *,
    by: User | None,
) -> Revision:
    last = deployment.revisions.order_by("-number").values_list("number", flat=True).first() or 0
    run = {name: getattr(spec, name) for name in RUN_FIELDS}
    return Revision.objects.create(
        deployment=deployment,
        number=last + 1,
        model_version=spec.model,
        code_version=spec.code,
        environment_version=spec.environment,
        environment_variables_sealed=vault.seal_map(spec.environment_variables),
        instance_type=instance_type,
        runtime=place.runtime,
        compute=place.compute,
        # Engines of a compute are no part of this machine: what is too large for them is refused when it is placed.
        warnings=[] if place.compute else limit_warnings(instance_type, machine()),
        created_by=by,
        **run,
    )


def _run_part(spec: DeploymentSpec) -> DeploymentSpec:
    """The spec without what changes nothing in an instance."""
    return replace(spec, instance_count=1, description="", tags={}, properties={})


def _begin(
    deployment: OnlineDeployment, kind: str, revision: Revision | None, *, by: User | None
) -> Operation:
    ring(deployment.pk)
    return Operation.objects.create(
        deployment=deployment,
        kind=kind,
        revision_number=revision.number if revision else None,
        started_by=by,
    )


def _end_running(deployment: OnlineDeployment) -> None:
    now = timezone.now()
    running = deployment.operations.filter(state=Operation.State.RUNNING)
    Phase.objects.filter(operation__in=running, state=Phase.State.RUNNING).update(
        state=Phase.State.CANCELED, ended_at=now
    )
    running.update(state=Operation.State.CANCELED, ended_at=now)


def _record(
    deployment: OnlineDeployment,
    verb: str,
    *,
    by: User | None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    record(
        deployment.endpoint.workspace,
        verb,
        deployment,
        by=by,
        endpoint_name=deployment.endpoint.name,
        before=before,
        after=after,
    )
