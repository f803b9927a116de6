"""Operators' view of what runs; actions call the same verbs as every other door."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from deployments import batch, changes, debugging
from deployments.doorbell import ring
from deployments.environment_builds import cancel_build
from deployments.models import (
    BatchDeployment,
    DebugSession,
    EnvironmentBuild,
    Instance,
    InstanceSpan,
    OnlineDeployment,
    Operation,
    Phase,
    Revision,
    SampleLoad,
)
from deployments.replacing import drain_instance, restart_instance
from endpoints.admin import confirm
from workspaces.admin import ReadOnlyAdmin
from workspaces.errors import UserError
from workspaces.models import User


class KeptAdmin(ReadOnlyAdmin):
    """Read-only rows that only verbs remove."""

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(OnlineDeployment)
class OnlineDeploymentAdmin(KeptAdmin):
    list_display = (
        "name",
        "endpoint",
        "state",
        "instance_count",
        "state_changed_at",
        "due_at",
        "lease_until",
    )
    list_filter = ("state", "type")
    search_fields = ("name", "endpoint__name", "endpoint__workspace__name")
    list_select_related = ("endpoint",)
    exclude = ("lease_token",)
    actions = ("look_now", "try_again", "cancel_operation", "delete_deployments")

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("deployments.change_onlinedeployment")

    @admin.action(description="Look at it now", permissions=["operate"])
    def look_now(self, request: HttpRequest, queryset: QuerySet[OnlineDeployment]) -> None:
        for deployment in queryset:
            ring(deployment.pk)
        messages.success(request, "The worker was woken.")

    @admin.action(description="Try the failed operation again", permissions=["operate"])
    def try_again(self, request: HttpRequest, queryset: QuerySet[OnlineDeployment]) -> None:
        for deployment in queryset:
            _do(request, changes.retry, deployment)

    @admin.action(description="Cancel the running operation", permissions=["operate"])
    def cancel_operation(self, request: HttpRequest, queryset: QuerySet[OnlineDeployment]) -> None:
        for deployment in queryset:
            _do(request, changes.cancel, deployment)

    @admin.action(description="Delete…", permissions=["operate"])
    def delete_deployments(
        self, request: HttpRequest, queryset: QuerySet[OnlineDeployment]
    ) -> HttpResponse | None:
        consequence = "Their instances are stopped and their files removed. One with live traffic is refused."
        if not request.POST.get("confirmed"):
            return confirm(
                self, request, queryset, "delete_deployments", "Delete deployments", consequence
            )
        for deployment in queryset:
            _do(request, changes.delete_deployment, deployment)
        return None


@admin.register(Revision)
class RevisionAdmin(KeptAdmin):
    list_display = (
        "deployment",
        "number",
        "model_version",
        "environment_version",
        "instance_type",
        "runtime",
        "image",
        "created_at",
    )
    list_filter = ("runtime", "app_insights_enabled")
    search_fields = ("deployment__name", "deployment__endpoint__name")
    list_select_related = (
        "deployment",
        "model_version__model",
        "environment_version__environment",
        "instance_type",
    )
    exclude = ("environment_variables_sealed",)


class PhaseInline(admin.TabularInline[Phase, Operation]):
    model = Phase
    extra = 0
    fields = readonly_fields = ("name", "state", "started_at", "ended_at", "expected_seconds")
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Operation)
class OperationAdmin(KeptAdmin):
    list_display = ("kind", "deployment", "state", "started_at", "ended_at", "started_by")
    list_filter = ("state", "kind")
    search_fields = ("deployment__name", "deployment__endpoint__name")
    list_select_related = ("deployment", "started_by")
    inlines = (PhaseInline,)
    show_full_result_count = False


@admin.register(Phase)
class PhaseAdmin(KeptAdmin):
    list_display = ("name", "operation", "state", "started_at", "ended_at")
    list_filter = ("state", "name")
    search_fields = ("operation__deployment__name",)
    list_select_related = ("operation__deployment",)
    show_full_result_count = False


@admin.register(Instance)
class InstanceAdmin(KeptAdmin):
    list_display = (
        "name",
        "deployment",
        "state",
        "runtime",
        "node",
        "address",
        "restarts",
        "ready_at",
        "code",
    )
    list_filter = ("state", "code", "revision__runtime", "node")
    search_fields = ("name", "deployment__name", "deployment__endpoint__name")
    list_select_related = ("deployment__endpoint__workspace", "revision")
    actions = ("restart_instances", "drain_instances")

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("deployments.change_instance")

    @admin.display(ordering="revision__runtime")
    def runtime(self, row: Instance) -> str:
        return row.revision.runtime

    @admin.action(description="Restart…", permissions=["operate"])
    def restart_instances(
        self, request: HttpRequest, queryset: QuerySet[Instance]
    ) -> HttpResponse | None:
        consequence = (
            "Each leaves the routes, ends what it has in hand, is stopped and started again."
        )
        if not request.POST.get("confirmed"):
            return confirm(
                self, request, queryset, "restart_instances", "Restart instances", consequence
            )
        for row in queryset:
            _do_to_instance(request, restart_instance, row)
        return None

    @admin.action(description="Drain…", permissions=["operate"])
    def drain_instances(
        self, request: HttpRequest, queryset: QuerySet[Instance]
    ) -> HttpResponse | None:
        consequence = "A fresh instance takes the place of each."
        if not request.POST.get("confirmed"):
            return confirm(
                self, request, queryset, "drain_instances", "Drain instances", consequence
            )
        for row in queryset:
            _do_to_instance(request, drain_instance, row)
        return None


@admin.register(DebugSession)
class DebugSessionAdmin(KeptAdmin):
    list_display = (
        "name",
        "deployment",
        "state",
        "created_by",
        "created_at",
        "expires_at",
        "debug_host",
        "debug_port",
        "code",
    )
    list_filter = ("state", "code")
    search_fields = ("name", "deployment__name", "deployment__endpoint__name")
    list_select_related = ("deployment__endpoint__workspace", "created_by")
    exclude = ("lease_token",)
    actions = ("stop_sessions",)

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("deployments.change_debugsession")

    @admin.action(description="Stop", permissions=["operate"])
    def stop_sessions(self, request: HttpRequest, queryset: QuerySet[DebugSession]) -> None:
        for session in queryset:
            _do(request, _stop_session, session)


@admin.register(InstanceSpan)
class InstanceSpanAdmin(KeptAdmin):
    list_display = (
        "instance_name",
        "workspace",
        "instance_type",
        "price_per_hour",
        "started_at",
        "ended_at",
    )
    list_filter = ("instance_type",)
    search_fields = ("instance_name", "endpoint_name", "deployment_name")
    list_select_related = ("workspace",)
    date_hierarchy = "started_at"
    show_full_result_count = False


@admin.register(BatchDeployment)
class BatchDeploymentAdmin(KeptAdmin):
    list_display = (
        "name",
        "endpoint",
        "type",
        "model_version",
        "compute",
        "instance_count",
        "created_by",
        "updated_at",
    )
    list_filter = ("type", "output_action", "logging_level")
    search_fields = ("name", "endpoint__name", "endpoint__workspace__name", "compute")
    list_select_related = ("endpoint", "model_version__model", "created_by")
    exclude = ("environment_variables_sealed",)
    actions = ("delete_deployments",)

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("deployments.change_batchdeployment")

    @admin.action(description="Delete…", permissions=["operate"])
    def delete_deployments(
        self, request: HttpRequest, queryset: QuerySet[BatchDeployment]
    ) -> HttpResponse | None:
        consequence = "An endpoint whose default is among them has none afterwards."
        if not request.POST.get("confirmed"):
            return confirm(
                self,
                request,
                queryset,
                "delete_deployments",
                "Delete batch deployments",
                consequence,
            )
        for deployment in queryset:
            _do(request, batch.delete_batch_deployment, deployment)
        return None


@admin.register(SampleLoad)
class SampleLoadAdmin(KeptAdmin):
    list_display = ("workspace", "state", "message", "wanted_by", "state_changed_at")
    list_filter = ("state",)
    search_fields = ("workspace__name",)
    list_select_related = ("workspace", "wanted_by")
    exclude = ("lease_token",)


@admin.register(EnvironmentBuild)
class EnvironmentBuildAdmin(KeptAdmin):
    list_display = (
        "pk",
        "environment_version",
        "state",
        "runtime",
        "python_version",
        "size_bytes",
        "attempts",
        "created_at",
        "ended_at",
        "created_by",
    )
    list_filter = ("state", "runtime", "was_cached")
    search_fields = ("environment_version__environment__name", "image", "key")
    list_select_related = ("environment_version__environment", "created_by")
    exclude = ("lease_token",)
    actions = ("cancel_builds",)

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("deployments.change_environmentbuild")

    @admin.action(description="Cancel", permissions=["operate"])
    def cancel_builds(self, request: HttpRequest, queryset: QuerySet[EnvironmentBuild]) -> None:
        for build in queryset.select_related("environment_version__environment__workspace"):
            _do(request, cancel_build, build)


def _stop_session(session: DebugSession, *, by: User) -> None:
    debugging.stop(session.deployment, by=by)


def _do_to_instance(request: HttpRequest, verb: Any, row: Instance) -> None:
    _do(request, lambda _row, *, by: verb(row.deployment, row.name, by=by), row)


def _do(request: HttpRequest, verb: Any, row: Any) -> None:
    assert isinstance(request.user, User)
    try:
        verb(row, by=request.user)
    except UserError as error:
        messages.error(request, f"{row}: {error.message}")
    else:
        messages.success(request, f"{row}: done.")
