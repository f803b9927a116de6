"""Workspaces: read only; they are made by the operator."""

from __future__ import annotations

import uuid

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from api.arm import ArmView, Json, instant, page, type_of
from api.clouds import origin_of
from workspaces.models import Workspace


class SubscriptionList(APIView):
    """Those that hold a workspace of the caller: how a client that has but an address finds its way."""

    metadata_class = None

    def get(self, request: Request) -> Response:
        rows = Workspace.objects.visible_to(request.user)
        found = rows.order_by("subscription_id").values_list("subscription_id", flat=True)
        return Response({"value": [present_subscription(one) for one in found.distinct()]})


class WorkspaceList(APIView):
    """Those the caller is a member of, in a subscription or in one of its resource groups."""

    metadata_class = None

    def get(self, request: Request, subscription: str, resource_group: str = "") -> Response:
        rows = Workspace.objects.visible_to(request.user).filter(
            subscription_id__iexact=subscription
        )
        if resource_group:
            rows = rows.filter(resource_group__iexact=resource_group)
        return page(request, rows, lambda row: present(row, origin_of(request)))


class WorkspaceDetail(ArmView):
    actions = {"GET": "read"}

    def get(self, request: Request) -> Response:
        return Response(present(self.workspace, origin_of(request)))


class Unsupported(ArmView):
    """Every other address below a subscription: an answer that clients of Azure can read."""

    def dispatch(self, request: HttpRequest, *args: object, **names: object) -> HttpResponseBase:
        return super().dispatch(request)

    def get(self, request: Request) -> Response:
        error = {
            "code": "InvalidResourceType",
            "message": f"There is no resource at '{request.path}' here. docs/api.md lists what there is.",
        }
        return Response({"error": error}, status=404)

    post = put = patch = delete = get


def present_subscription(subscription: str) -> Json:
    return {
        "id": f"/subscriptions/{subscription}",
        "subscriptionId": subscription,
        "displayName": "Portico",
        "state": "Enabled",
    }


def present(workspace: Workspace, origin: str) -> Json:
    """`origin`: `https://host:port` by which the caller reached us."""
    return {
        "id": workspace.arm_id,
        "name": workspace.name,
        "type": type_of("").rstrip("/"),
        "location": workspace.location,
        "kind": "Default",
        "tags": workspace.tags,
        "properties": {
            "friendlyName": workspace.display_name or workspace.name,
            "description": workspace.description,
            "workspaceId": str(uuid.uuid5(uuid.NAMESPACE_URL, workspace.arm_id.lower())),
            "discoveryUrl": f"{origin}/discovery",
            "provisioningState": "Succeeded",
            "publicNetworkAccess": "Enabled",
        },
        "systemData": {
            "createdAt": instant(workspace.created_at),
            "lastModifiedAt": instant(workspace.created_at),
        },
    }
