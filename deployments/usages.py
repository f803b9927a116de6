"""How much of their quotas workspaces use (facts 12), counted for all of them at once."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from django.db.models import Count, QuerySet

from deployments.models import BatchDeployment, DebugSession, OnlineDeployment
from endpoints.models import BatchEndpoint, OnlineEndpoint
from workspaces import quota
from workspaces.models import Compute, Workspace

COUNTED = ("endpoints", "deployments", "cores", "low_priority_cores", "computes")


def usages_of(workspaces: Sequence[Workspace]) -> dict[int, list[quota.Usage]]:
    """Workspace id → what is used of each quota that counts something, in as many queries for many as for one."""
    ids = [workspace.pk for workspace in workspaces]
    limits = quota.limits_of(ids)
    batch = BatchDeployment.objects.filter(endpoint__workspace__in=ids)
    online = OnlineDeployment.objects.filter(endpoint__workspace__in=ids)
    used: dict[str, Counter[int]] = {
        "endpoints": _counted(OnlineEndpoint.objects.filter(workspace__in=ids), "workspace")
        + _counted(BatchEndpoint.objects.filter(workspace__in=ids), "workspace"),
        "deployments": _counted(online, "endpoint__workspace")
        + _counted(batch, "endpoint__workspace"),
        "cores": _cores(online),
        # Computes hold cores while their jobs run.
        "low_priority_cores": Counter(),
        "computes": _counted(Compute.objects.filter(workspace__in=ids), "workspace"),
    }
    return {
        pk: [quota.Usage(name, used[name][pk], limits[pk][name]) for name in COUNTED] for pk in ids
    }


def _counted(rows: QuerySet[Any], path: str) -> Counter[int]:
    found = rows.order_by().values_list(path).annotate(count=Count("pk"))
    return Counter({pk: count for pk, count in found if count})


def _cores(online: QuerySet[OnlineDeployment]) -> Counter[int]:
    found: Counter[int] = Counter()
    rows: Iterable[tuple[int, int, Any]] = online.filter(revision__isnull=False).values_list(
        "endpoint__workspace", "instance_count", "revision__instance_type__cores"
    )
    for pk, count, cores in rows:
        found[pk] += quota.reserved_cores(count, float(cores))
    debugged = DebugSession.objects.filter(deployment__in=online)
    for pk, cores in debugged.values_list(
        "deployment__endpoint__workspace", "revision__instance_type__cores"
    ):
        found[pk] += math.ceil(cores)
    return found
