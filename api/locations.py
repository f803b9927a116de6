"""What a region offers: sizes, limits, and what is used of them. An installation is one region."""

from __future__ import annotations

import re
from collections.abc import Callable
from math import ceil
from typing import cast

from django.db import transaction
from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from api.arm import (
    PROVIDER,
    Json,
    Scope,
    open_workspace,
    page,
    parse_body,
    refusal_of_stranger,
    type_of,
)
from api.bodies import Body
from deployments.usages import usages_of
from workspaces import quota
from workspaces.errors import UserError
from workspaces.models import InstanceType, User, Workspace

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

QUOTA_ID = re.compile(
    rf"/subscriptions/([^/]+)/resourceGroups/([^/]+)/providers/{re.escape(PROVIDER)}/workspaces/([^/]+)/quotas/(\w+)",
    re.IGNORECASE,
)
RESET = -1


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
    """The limits of each of the caller's workspaces."""

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


class UpdateQuotas(APIView):
    """Sets limits of the caller's workspaces, all of the request or none."""

    metadata_class = None

    def post(self, request: Request, subscription: str, location: str) -> Response:
        rows = Body(parse_body(request._request)).records("value")
        wishes = [_wish_of(row) for row in rows]
        for row in rows:
            row.finish()
        user = cast(User, request.user)
        with transaction.atomic():
            told = []
            for scope, resource, limit in wishes:
                workspace, _role = open_workspace(user, scope, "quotas/write")
                if workspace.location.lower() != location.lower():
                    raise refusal_of_stranger(user, "quotas/write", scope)
                now = quota.set_limit(workspace, resource, limit, by=user)
                here = _present(workspace, "quotas", resource, now)
                told.append(
                    {key: here[key] for key in ("id", "type", "limit", "unit")}
                    | {"status": "Success"}
                )
        return Response({"value": told})


def _wish_of(row: Body) -> tuple[Scope, str, int | None]:
    """Of which workspace, which of our quotas, and the limit; None takes the default again."""
    found = QUOTA_ID.fullmatch(row.text("id", longest=500))
    words = {word.lower(): resource for resource, word in WORDS.items()}
    resource = words.get(found[4].lower(), "") if found else ""
    if found is None or not resource:
        row.errors.append(
            UserError(
                f"{row.path}.id must be the id of a quota as the list of quotas tells it: …/workspaces/main/quotas/"
                f"dedicatedCores. The quotas are {', '.join(WORDS.values())}.",
                code="InvalidQuota",
                target=f"{row.path}.id",
            )
        )
    if not row.has("limit"):
        row.errors.append(
            UserError(
                f"{row.path}.limit is missing. Give a whole number; -1 takes the default.",
                target=f"{row.path}.limit",
            )
        )
    limit = row.whole("limit", 0)
    scope = Scope(found[1], found[2], found[3]) if found else Scope("", "", "")
    return scope, resource, None if limit == RESET else limit


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
