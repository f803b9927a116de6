"""What a region offers: sizes, limits, and what is used of them. An installation is one region."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import cast

from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from api.arm import Json, page, type_of
from deployments.usages import usages_of
from workspaces import quota
from workspaces.models import InstanceType, Workspace

WORDS = {
    "endpoints": "endpoints",
    "deployments": "deployments",
    "deployments_per_endpoint": "deploymentsPerEndpoint",
    "instances_per_deployment": "instancesPerDeployment",
    "cores": "dedicatedCores",
    "low_priority_cores": "lowPriorityCores",
    "computes": "computes",
    "nodes_per_compute": "nodesPerCompute",
}


class VmSizes(APIView):
    """The enabled instance types, for members of some workspace there; nobody else learns what there is."""

    metadata_class = None

    def get(self, request: Request, subscription: str, location: str) -> Response:
        if not _workspaces(request, subscription, location).exists():
            return Response({"value": []})
        rows = InstanceType.objects.filter(is_enabled=True)
        return Response({"value": [_present_size(row) for row in rows]})


class Usages(APIView):
    """What each of the caller's workspaces uses of its quotas."""

    metadata_class = None

    def get(self, request: Request, subscription: str, location: str) -> Response:
        def rows_of(workspaces: list[Workspace]) -> list[Json]:
            used = usages_of(workspaces)
            return [
                _present(workspace, "usages", item.resource, item.limit)
                | {"currentValue": item.used}
                for workspace in workspaces
                for item in used[workspace.pk]
            ]

        return _by_workspace(request, _workspaces(request, subscription, location), rows_of)


class Quotas(APIView):
    """The limits of each of the caller's workspaces; an operator sets them on the admin site."""

    metadata_class = None

    def get(self, request: Request, subscription: str, location: str) -> Response:
        def rows_of(workspaces: list[Workspace]) -> list[Json]:
            limits = quota.limits_of([workspace.pk for workspace in workspaces])
            return [
                _present(workspace, "quotas", resource, limits[workspace.pk][resource])
                for workspace in workspaces
                for resource in quota.DEFAULTS
            ]

        return _by_workspace(request, _workspaces(request, subscription, location), rows_of)


def _workspaces(request: Request, subscription: str, location: str) -> QuerySet[Workspace]:
    visible = Workspace.objects.visible_to(request.user)
    return visible.filter(subscription_id__iexact=subscription, location__iexact=location)


def _by_workspace(
    request: Request,
    workspaces: QuerySet[Workspace],
    rows_of: Callable[[list[Workspace]], list[Json]],
) -> Response:
    """A page of workspaces, each with all of its rows."""
    answer = page(request, workspaces, lambda workspace: {"": workspace})
    told = cast(Json, answer.data)
    told["value"] = rows_of([item[""] for item in told["value"]])
    return answer


def _present(workspace: Workspace, collection: str, resource: str, limit: int) -> Json:
    word = WORDS[resource]
    return {
        "id": f"{workspace.arm_id}/{collection}/{word}",
        "amlWorkspaceLocation": workspace.location,
        "type": type_of(f"{word}/{collection}"),
        "unit": "Count",
        "limit": limit,
        "name": {
            "value": word,
            "localizedValue": f"{quota.LABELS[resource].capitalize()} of workspace {workspace.name}",
        },
    }


def _present_size(row: InstanceType) -> Json:
    """Cores are whole numbers at Azure: a part of a core is told as one."""
    return {
        "name": row.name,
        "family": row.family,
        "vCPUs": ceil(row.cores),
        "gpus": row.gpu_count,
        "osVhdSizeMB": 0,
        "maxResourceVolumeMB": 0,
        "memoryGB": round(row.memory_bytes / 2**30, 3),
        "lowPriorityCapable": True,
        "premiumIO": False,
        "supportedComputeTypes": ["AmlCompute"],
    }
