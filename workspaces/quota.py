"""Limits of a workspace and what is used of them (facts 3.2, 3.3, 12).

Floors above say what they use by handing their counts in; this module knows the limits and the sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from django.db import transaction

from workspaces.activity import record
from workspaces.errors import Forbidden, UserError
from workspaces.models import Quota, User, Workspace

LARGEST = 1_000_000

DEFAULTS: dict[str, int] = {
    "endpoints": 100,
    "deployments": 500,
    "deployments_per_endpoint": 20,
    "instances_per_deployment": 50,
    "cores": 300,
    "low_priority_cores": 300,
    "computes": 500,
    "nodes_per_compute": 100,
}
LABELS: dict[str, str] = {
    "endpoints": "endpoints",
    "deployments": "deployments",
    "deployments_per_endpoint": "deployments of one endpoint",
    "instances_per_deployment": "instances of one deployment",
    "cores": "cores",
    "low_priority_cores": "low-priority cores",
    "computes": "computes",
    "nodes_per_compute": "nodes of one compute",
}
ONE: dict[str, str] = {
    "endpoints": "endpoint",
    "deployments": "deployment",
    "deployments_per_endpoint": "deployment of one endpoint",
    "instances_per_deployment": "instance of one deployment",
    "cores": "core",
    "low_priority_cores": "low-priority core",
    "computes": "compute",
    "nodes_per_compute": "node of one compute",
}


@dataclass(frozen=True)
class Usage:
    resource: str
    used: int
    limit: int


def limit_of(workspace: Workspace, resource: str) -> int:
    """The workspace's own limit, else the default."""
    own = workspace.quotas.filter(resource=resource).values_list("limit", flat=True).first()
    return DEFAULTS[resource] if own is None else own


def in_words(resource: str, count: int) -> str:
    """`1 core`, `300 cores`."""
    return f"{count} {ONE[resource] if count == 1 else LABELS[resource]}"


def limits_of(workspace_ids: Sequence[int]) -> dict[int, dict[str, int]]:
    """Workspace id → every limit there, in one query."""
    found = {pk: dict(DEFAULTS) for pk in workspace_ids}
    own = Quota.objects.filter(workspace__in=workspace_ids, resource__in=DEFAULTS)
    for pk, resource, limit in own.values_list("workspace", "resource", "limit"):
        found[pk][resource] = limit
    return found


def reserved_cores(instance_count: int, cores: float) -> int:
    """Cores that a deployment holds, with the reserve for rolling updates (facts 3.3).

    That is a fifth more instances, rounded up: one instance holds twice its cores, as in Azure.
    """
    return ceil(ceil(1.2 * instance_count) * cores)


@transaction.atomic
def set_limit(workspace: Workspace, resource: str, limit: int | None, *, by: User) -> int:
    """Give the workspace a limit of its own, None for the default again; returns what holds from now on.

    What is used already stays, even above it. Owners may only lower a limit, administrators set any.
    """
    if limit is not None and not 0 <= limit <= LARGEST:
        raise UserError(
            f"The limit of {LABELS[resource]} is {limit}. It must be from 0 to {LARGEST}.",
            code="InvalidQuota",
            target="limit",
        )
    Workspace.objects.select_for_update().get(pk=workspace.pk)
    before = limit_of(workspace, resource)
    after = DEFAULTS[resource] if limit is None else limit
    if after > before and not by.is_superuser:
        raise Forbidden(
            f"Workspace '{workspace.name}' may have {in_words(resource, before)}. Owners can lower that; ask an "
            f"administrator to raise it to {after}.",
            target="limit",
        )
    if limit is None:
        workspace.quotas.filter(resource=resource).delete()
    elif after != before:
        workspace.quotas.update_or_create(resource=resource, defaults={"limit": limit})
    if after != before:
        old, new = {resource: before}, {resource: after}
        record(workspace, "set quota", workspace, by=by, before=old, after=new)
    return after


def check(
    workspace: Workspace,
    resource: str,
    *,
    used: int,
    wanted: int,
    target: str = "",
    hint: str = "",
) -> None:
    """Raise OutOfQuota when `used + wanted` goes over the limit; `hint` says how that is counted."""
    limit = limit_of(workspace, resource)
    if used + wanted <= limit:
        return
    raise UserError(
        f"Workspace '{workspace.name}' may have {in_words(resource, limit)}; {used} {_are(used)} used and "
        f"{wanted} more {_are(wanted)} wanted{hint}. Delete what is not needed, or ask an administrator to raise "
        "the quota.",
        code="OutOfQuota",
        target=target or resource,
    )


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
