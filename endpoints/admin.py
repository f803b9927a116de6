"""Operators' view of endpoints; actions call the same verbs as every other door."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from endpoints import batch, changes, keys
from endpoints.gateway import publish
from endpoints.models import BatchEndpoint, OnlineEndpoint, Upstream
from workspaces.admin import ReadOnlyAdmin
from workspaces.errors import UserError
from workspaces.models import User


@admin.register(OnlineEndpoint)
class OnlineEndpointAdmin(ReadOnlyAdmin):
    list_display = (
        "name",
        "workspace",
        "state",
        "auth_mode",
        "traffic",
        "created_by",
        "updated_at",
    )
    list_filter = ("state", "auth_mode", "public_network_access")
    search_fields = ("name", "workspace__name", "created_by__username")
    list_select_related = ("workspace", "created_by")
    raw_id_fields = ("workspace", "created_by")
    exclude = ("primary_key_sealed", "secondary_key_sealed", "lease_token")
    actions = ("publish_again", "regenerate_both_keys", "delete_endpoints")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("endpoints.change_onlineendpoint")

    @admin.action(description="Publish to the gateway again", permissions=["operate"])
    def publish_again(self, request: HttpRequest, queryset: QuerySet[OnlineEndpoint]) -> None:
        for endpoint in queryset:
            publish.touch(endpoint)
        messages.success(request, "Published.")

    @admin.action(description="Regenerate both keys…", permissions=["operate"])
    def regenerate_both_keys(
        self, request: HttpRequest, queryset: QuerySet[OnlineEndpoint]
    ) -> HttpResponse | None:
        consequence = "Clients that use their keys stop working at once."
        if not request.POST.get("confirmed"):
            return confirm(
                self,
                request,
                queryset,
                "regenerate_both_keys",
                "Regenerate both keys",
                consequence,
            )
        for endpoint in queryset.select_related("workspace"):
            for key_type in ("primary", "secondary"):
                _do(request, keys.regenerate_key, endpoint, key_type)
        return None

    @admin.action(description="Delete with all deployments…", permissions=["operate"])
    def delete_endpoints(
        self, request: HttpRequest, queryset: QuerySet[OnlineEndpoint]
    ) -> HttpResponse | None:
        consequence = "Their URLs stop answering at once, and all their deployments are removed."
        if not request.POST.get("confirmed"):
            return confirm(
                self, request, queryset, "delete_endpoints", "Delete endpoints", consequence
            )
        for endpoint in queryset.select_related("workspace"):
            _do(request, changes.delete_endpoint, endpoint)
        return None


@admin.register(BatchEndpoint)
class BatchEndpointAdmin(ReadOnlyAdmin):
    list_display = ("name", "workspace", "default_deployment", "created_by", "updated_at")
    list_filter = ("location",)
    search_fields = ("name", "workspace__name", "created_by__username")
    list_select_related = ("workspace", "created_by")
    actions = ("delete_endpoints",)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("endpoints.change_batchendpoint")

    @admin.action(description="Delete with all deployments…", permissions=["operate"])
    def delete_endpoints(
        self, request: HttpRequest, queryset: QuerySet[BatchEndpoint]
    ) -> HttpResponse | None:
        consequence = "They take no more jobs, and all their deployments are removed."
        if not request.POST.get("confirmed"):
            return confirm(
                self, request, queryset, "delete_endpoints", "Delete batch endpoints", consequence
            )
        for endpoint in queryset.select_related("workspace"):
            _do(request, batch.delete_batch_endpoint, endpoint)
        return None


@admin.register(Upstream)
class UpstreamAdmin(ReadOnlyAdmin):
    list_display = (
        "endpoint",
        "deployment_name",
        "instance_count",
        "request_timeout_ms",
        "addresses",
    )
    list_filter = ("scoring_path",)
    search_fields = ("endpoint__name", "deployment_name")
    list_select_related = ("endpoint",)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def confirm(
    model_admin: admin.ModelAdmin[Any],
    request: HttpRequest,
    queryset: QuerySet[Any],
    action: str,
    title: str,
    consequence: str,
) -> HttpResponse:
    """Ask before an action that destroys something."""
    context = {
        **model_admin.admin_site.each_context(request),
        "title": title,
        "consequence": consequence,
        "rows": queryset,
        "action": action,
        "action_checkbox_name": ACTION_CHECKBOX_NAME,
        "opts": model_admin.model._meta,
    }
    return TemplateResponse(request, "admin/confirm_action.html", context)


def _do(
    request: HttpRequest, verb: Any, endpoint: OnlineEndpoint | BatchEndpoint, *arguments: Any
) -> None:
    assert isinstance(request.user, User)
    try:
        verb(endpoint, *arguments, by=request.user)
    except UserError as error:
        messages.error(request, f"{endpoint}: {error.message}")
    else:
        messages.success(request, f"{endpoint}: done.")
