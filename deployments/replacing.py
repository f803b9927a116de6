"""Restarting and draining single instances: what somebody wants of one, which `deployments.instances` then does."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from deployments.doorbell import ring
from deployments.models import Instance, OnlineDeployment
from workspaces.activity import record
from workspaces.errors import Conflict, NotFound
from workspaces.models import User


def restart_instance(deployment: OnlineDeployment, name: str, *, by: User | None) -> Instance:
    """Want it stopped and started again: out of the routes first, with time for the requests that it has.

    Asked twice it is restarted once. `NotFound`; `Conflict` while an operation runs or when it is leaving.
    """
    with transaction.atomic():
        row = _wanted(deployment, name)
        if row.is_leaving:
            raise Conflict(f"{_title(row)} is being replaced already.", target="instance")
        if row.restart_requested_at is None:
            _want(row, "restart instance", by=by, restart_requested_at=timezone.now())
    return row


def drain_instance(deployment: OnlineDeployment, name: str, *, by: User | None) -> Instance:
    """Want a fresh one in its place: it leaves the routes, ends what it has in hand, and goes.

    The only one that serves stays in the routes until the fresh one is ready. Asked twice is success. `NotFound`;
    `Conflict` while an operation runs.
    """
    with transaction.atomic():
        row = _wanted(deployment, name)
        if not row.is_leaving:
            _want(row, "drain instance", by=by, is_leaving=True)
    return row


def want_replaced(row: Instance, *, by: User | None) -> bool:
    """The same for one of many; False for one that must be left alone: it is leaving, or its deployment is busy."""
    try:
        drain_instance(row.deployment, row.name, by=by)
    except (Conflict, NotFound):
        return False
    return True


def find_instance(deployment: OnlineDeployment, name: str) -> Instance:
    """By its whole name, or by its number among those of the revision that serves. `NotFound` names what there is."""
    rows = list(deployment.instances.select_related("revision__instance_type"))
    for row in rows:
        if row.name.lower() == name.lower():
            return row
    for row in rows:
        if str(row.number) == name and row.revision_id == deployment.serving_revision_id:
            return row
    there = ", ".join(str(row.number) for row in rows) or "none"
    raise NotFound(
        f"Deployment '{deployment.name}' has no instance '{name}'; its instances are: {there}.",
        target="instance",
    )


def _wanted(deployment: OnlineDeployment, name: str) -> Instance:
    """The instance of which something may be wanted now."""
    locked = OnlineDeployment.objects.select_for_update().filter(pk=deployment.pk).first()
    if locked is None:
        raise NotFound(f"Deployment '{deployment.name}' was deleted.", target="deployment")
    row = find_instance(locked, name)
    if locked.is_busy:
        raise Conflict(
            f"Deployment '{locked.name}' is {locked.state}, which looks after its instances. Wait until that ends, "
            "or cancel it.",
            target="state",
        )
    is_going = row.state == Instance.State.DRAINING and not row.is_leaving
    if is_going or row.revision_id != locked.serving_revision_id:
        raise Conflict(f"{_title(row)} is being removed.", target="instance")
    return row


def _want(row: Instance, verb: str, *, by: User | None, **wish: object) -> None:
    for name, value in wish.items():
        setattr(row, name, value)
    row.save(update_fields=list(wish))
    deployment = row.deployment
    OnlineDeployment.objects.filter(pk=deployment.pk).update(due_at=timezone.now())
    ring(deployment.pk)
    record(
        deployment.endpoint.workspace,
        verb,
        deployment,
        by=by,
        endpoint_name=deployment.endpoint.name,
        after={"instance": row.name},
    )


def _title(row: Instance) -> str:
    return f"Instance {row.number} of revision {row.revision.number}"
