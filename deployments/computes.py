"""Deployments and attached computes: where new revisions run, and what keeps an engine in its place."""

from __future__ import annotations

from dataclasses import dataclass, replace

from django.db import transaction
from django.db.models import Q, QuerySet

from deployments.engines import runtime_name
from deployments.models import DebugSession, DeploymentState, Instance, OnlineDeployment
from deployments.replacing import want_replaced
from endpoints.models import OnlineEndpoint
from workspaces import computes
from workspaces.activity import record
from workspaces.compute_engines import (
    EngineSpec,
    engine_specs,
    require_operator,
    with_engine,
    without_engine,
)
from workspaces.computes import ComputeSpec, find_compute, spec_of
from workspaces.errors import Conflict, NotFound, UserError
from workspaces.models import Compute, User, Workspace

MOST_NAMED = 5


@dataclass(frozen=True)
class Place:
    """Where a new revision runs."""

    runtime: str
    compute: Compute | None = None
    """Whose own engines run it; None for what the installation has."""


def place_of(endpoint: OnlineEndpoint) -> Place:
    """Where new revisions of its deployments run; `UserError` for a compute that is not there any more."""
    if not endpoint.compute_name:
        return Place(runtime_name())
    compute = find_compute(endpoint.workspace, endpoint.compute_name)
    if compute is None:
        raise UserError(
            f"Endpoint '{endpoint.name}' is on the compute '{endpoint.compute_name}', which workspace "
            f"'{endpoint.workspace.name}' does not have. Attach a compute of that name, or make the endpoint anew.",
            target="compute",
        )
    return place_on(compute)


def place_on(compute: Compute) -> Place:
    """Where a revision runs that is made now for an endpoint on this compute."""
    if compute.engines.all():
        return Place("docker", compute)
    return Place(compute.runtime or runtime_name())


def runs_containers(workspace: Workspace) -> bool:
    """Whether a deployment of the workspace can be a container: of the installation, or on one of its computes."""
    if runtime_name() == "docker":
        return True
    is_for_containers = Q(runtime=Compute.Runtime.DOCKER) | Q(engines__isnull=False)
    return workspace.computes.filter(is_for_containers).exists()


def change_compute(compute: Compute, spec: ComputeSpec, *, by: User | None) -> Compute:
    """Make the compute what `spec` says, whole, unless that takes an engine away from what runs on it: `Conflict`.

    Raises as `workspaces.computes.update_compute` does.
    """
    with transaction.atomic():
        locked = Compute.objects.select_for_update(of=("self",)).filter(pk=compute.pk).first()
        if locked is not None:
            before = {engine.name.lower(): engine for engine in engine_specs(locked)}
            after = {engine.name.lower(): engine for engine in spec.engines}
            for name, engine in before.items():
                if name not in after or after[name].address != engine.address:
                    _refuse_with_instances(locked, engine, is_removed=name not in after)
        return computes.update_compute(compute, spec, by=by)


def delete_compute(compute: Compute, *, by: User | None) -> None:
    """Take it away, unless deployments are on it: `Conflict` that names them. Twice is success."""
    with transaction.atomic():
        Workspace.objects.select_for_update().get(pk=compute.workspace_id)
        used = deployments_on(compute).select_related("endpoint")
        names = [f"{row.endpoint.name}/{row.name}" for row in used[: MOST_NAMED + 1]]
        if names:
            raise Conflict(
                f"Compute '{compute.name}' has deployments on it: {_listed(names)}. Delete them first.",
                target="compute",
            )
        computes.delete_compute(compute, by=by)


def put_engine(compute: Compute, engine: EngineSpec, *, by: User | None) -> Compute:
    """Add an engine, or put it in the place of the one of its name; the others stay."""
    with transaction.atomic():
        current = _locked_spec(compute)
        changed = replace(current, engines=with_engine(current.engines, engine))
        return change_compute(compute, changed, by=by)


def remove_engine(compute: Compute, name: str, *, by: User | None) -> None:
    """Take an engine away; missing is success. `Conflict` while instances are on it."""
    with transaction.atomic():
        current = _locked_spec(compute)
        changed = replace(current, engines=without_engine(current.engines, name))
        if changed != current:
            change_compute(compute, changed, by=by)


def drain_engine(compute: Compute, name: str, *, by: User | None) -> int:
    """Close the engine for new instances and want every one on it replaced elsewhere; how many there are.

    Each leaves once a fresh one is ready, or once it is not the only one. Those of a deployment that is being changed
    are left alone: drain again after that. May be repeated.
    """
    require_operator(by, compute.name)
    with transaction.atomic():
        engine = find_engine(compute, name)
        if engine.is_schedulable:
            put_engine(compute, replace(engine, is_schedulable=False), by=by)
        rows = list(instances_on(compute, engine.name).select_related("deployment__endpoint"))
        wanted = [row for row in rows if want_replaced(row, by=by)]
        record(
            compute.workspace,
            "drain engine of",
            compute,
            by=by,
            after={"engine": engine.name, "instances": len(wanted)},
        )
    return len(rows)


def find_engine(compute: Compute, name: str) -> EngineSpec:
    """`NotFound` names what there is."""
    found = engine_specs(compute)
    for engine in found:
        if engine.name.lower() == name.lower():
            return engine
    there = ", ".join(engine.name for engine in found) or "none"
    raise NotFound(
        f"Compute '{compute.name}' has no engine '{name}'; its engines are: {there}.",
        target="engine",
    )


def deployments_on(compute: Compute) -> QuerySet[OnlineDeployment]:
    """Those of endpoints that name it, and those that its engines run."""
    named = Q(endpoint__workspace=compute.workspace_id, endpoint__compute__iexact=compute.name)
    run = Q(revisions__compute=compute)
    return (
        OnlineDeployment.objects.filter(named | run).distinct().order_by("endpoint__name", "name")
    )


def instances_on(compute: Compute, engine: str) -> QuerySet[Instance]:
    return Instance.objects.filter(revision__compute=compute, node=engine)


def _refuse_with_instances(compute: Compute, engine: EngineSpec, *, is_removed: bool) -> None:
    """`Conflict` while something runs there, or may just be starting there."""
    rows = Instance.objects.filter(revision__compute=compute)
    names = list(rows.filter(node=engine.name).values_list("name", flat=True)[: MOST_NAMED + 1])
    verb = "remove it" if is_removed else "change its address"
    if names:
        raise Conflict(
            f"Instances run on the engine '{engine.name}' of compute '{compute.name}': {_listed(names)}. Drain the "
            f"engine first, then {verb}.",
            target="engines",
        )
    debugged = DebugSession.objects.filter(revision__compute=compute)
    if debugged.exists() or (engine.is_schedulable and _is_any_starting(rows)):
        raise Conflict(
            f"Instances of compute '{compute.name}' are just being started, and may come to the engine "
            f"'{engine.name}', or are debugged. Drain the engine first, then {verb}.",
            target="engines",
        )


def _is_any_starting(rows: QuerySet[Instance]) -> bool:
    busy = [DeploymentState.CREATING, DeploymentState.UPDATING]
    is_unplaced = Q(node="") | Q(deployment__state__in=busy)
    return rows.filter(is_unplaced).exists()


def _locked_spec(compute: Compute) -> ComputeSpec:
    rows = Compute.objects.select_for_update(of=("self",)).select_related("instance_type")
    found = rows.filter(pk=compute.pk).first()
    if found is None:
        raise Conflict(f"Compute '{compute.name}' was deleted meanwhile.", target="compute")
    return spec_of(found)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:MOST_NAMED]) + (", …" if len(names) > MOST_NAMED else "")
