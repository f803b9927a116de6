"""Operators' view of tenancy, assets and compute."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.db.models import QuerySet
from django.http import HttpRequest

from workspaces import catalog
from workspaces.models import (
    Activity,
    Code,
    CodeVersion,
    Component,
    ComponentVersion,
    Compute,
    Data,
    DataVersion,
    Environment,
    EnvironmentVersion,
    InstanceType,
    Membership,
    Model,
    ModelVersion,
    PersonalToken,
    Quota,
    SignInLink,
    UploadedFile,
    UploadedPiece,
    User,
    Workspace,
)

admin.site.site_header = "Portico administration"
admin.site.site_title = "Portico"
admin.site.index_title = "Operations"
admin.site.site_url = "/"


class ReadOnlyAdmin(admin.ModelAdmin[Any]):
    """Rows that verbs write and people only look at."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(User)
class PersonAdmin(UserAdmin[User]):
    list_display = ("username", "email", "is_active", "is_staff", "is_superuser", "last_login")
    list_filter = ("is_active", "is_staff", "is_superuser")
    search_fields = ("username", "email", "first_name", "last_name")


class MembershipInline(admin.TabularInline[Membership, Workspace]):
    model = Membership
    extra = 0
    raw_id_fields = ("user",)


class QuotaInline(admin.TabularInline[Quota, Workspace]):
    model = Quota
    extra = 0


@admin.register(Workspace)
class WorkspaceAdmin(admin.ModelAdmin[Workspace]):
    list_display = ("name", "resource_group", "subscription_id", "location", "created_at")
    list_filter = ("location", "resource_group")
    search_fields = ("name", "resource_group", "subscription_id", "display_name")
    inlines = (MembershipInline, QuotaInline)
    readonly_fields = ("created_at",)


@admin.register(Membership)
class MembershipAdmin(admin.ModelAdmin[Membership]):
    list_display = ("workspace", "user", "role")
    list_filter = ("role",)
    search_fields = ("workspace__name", "user__username")
    list_select_related = ("workspace", "user")
    raw_id_fields = ("workspace", "user")


@admin.register(Quota)
class QuotaAdmin(admin.ModelAdmin[Quota]):
    list_display = ("workspace", "resource", "limit")
    list_filter = ("resource",)
    search_fields = ("workspace__name",)
    list_select_related = ("workspace",)
    raw_id_fields = ("workspace",)


@admin.register(InstanceType)
class InstanceTypeAdmin(admin.ModelAdmin[InstanceType]):
    list_display = (
        "name",
        "family",
        "cores",
        "memory_bytes",
        "gpu_count",
        "gpu_model",
        "price_per_hour",
        "is_enabled",
    )
    list_editable = ("price_per_hour", "is_enabled")
    list_filter = ("is_enabled", "family")
    search_fields = ("name", "family")


@admin.register(Compute)
class ComputeAdmin(ReadOnlyAdmin):
    list_display = (
        "name",
        "workspace",
        "kind",
        "instance_type",
        "tier",
        "min_instances",
        "max_instances",
        "created_by",
    )
    list_filter = ("kind", "tier")
    search_fields = ("name", "workspace__name", "instance_type__name")
    list_select_related = ("workspace", "instance_type", "created_by")


class AssetAdmin(admin.ModelAdmin[Any]):
    list_display = ("name", "workspace", "is_anonymous", "archived_at", "created_at")
    list_filter = ("is_anonymous", ("archived_at", admin.EmptyFieldListFilter))
    search_fields = ("name", "workspace__name")
    list_select_related = ("workspace",)
    raw_id_fields = ("workspace",)
    readonly_fields = ("workspace", "name", "is_anonymous", "archived_at", "created_at")
    actions = ("archive", "restore")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.action(
        description="Archive (hide from lists; what runs goes on)", permissions=["change"]
    )
    def archive(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for asset in queryset.select_related("workspace"):
            catalog.archive(asset, by=_operator(request))
        messages.success(request, "Archived.")

    @admin.action(description="Restore", permissions=["change"])
    def restore(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for asset in queryset.select_related("workspace"):
            catalog.restore(asset, by=_operator(request))
        messages.success(request, "Restored.")


admin.site.register([Model, Environment, Code, Data, Component], AssetAdmin)


class VersionAdmin(ReadOnlyAdmin):
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(ModelVersion)
class ModelVersionAdmin(VersionAdmin):
    list_display = (
        "model",
        "version",
        "type",
        "size_bytes",
        "file_count",
        "created_at",
        "created_by",
    )
    list_filter = ("type", ("archived_at", admin.EmptyFieldListFilter))
    search_fields = ("model__name", "version", "content_hash")
    list_select_related = ("model", "created_by")


@admin.register(EnvironmentVersion)
class EnvironmentVersionAdmin(VersionAdmin):
    list_display = ("environment", "version", "image", "created_at", "created_by")
    list_filter = (("archived_at", admin.EmptyFieldListFilter),)
    search_fields = ("environment__name", "version", "image")
    list_select_related = ("environment", "created_by")


@admin.register(CodeVersion)
class CodeVersionAdmin(VersionAdmin):
    list_display = ("code", "version", "size_bytes", "file_count", "created_at", "created_by")
    list_filter = (("archived_at", admin.EmptyFieldListFilter),)
    search_fields = ("code__name", "version", "content_hash")
    list_select_related = ("code", "created_by")


@admin.register(DataVersion)
class DataVersionAdmin(VersionAdmin):
    list_display = ("data", "version", "type", "uri", "size_bytes", "created_at", "created_by")
    list_filter = ("type", ("archived_at", admin.EmptyFieldListFilter))
    search_fields = ("data__name", "version", "uri", "content_hash")
    list_select_related = ("data", "created_by")


@admin.register(ComponentVersion)
class ComponentVersionAdmin(VersionAdmin):
    list_display = ("component", "version", "type", "display_name", "created_at", "created_by")
    list_filter = ("type", ("archived_at", admin.EmptyFieldListFilter))
    search_fields = ("component__name", "version", "display_name")
    list_select_related = ("component", "created_by")


@admin.register(Activity)
class ActivityAdmin(ReadOnlyAdmin):
    list_display = ("at", "actor", "verb", "subject_type", "subject", "endpoint_name", "workspace")
    list_filter = ("verb", "subject_type")
    search_fields = ("subject", "endpoint_name", "actor__username")
    list_select_related = ("actor", "workspace")
    date_hierarchy = "at"
    show_full_result_count = False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(PersonalToken)
class PersonalTokenAdmin(ReadOnlyAdmin):
    list_display = (
        "name",
        "user",
        "scope",
        "workspace",
        "created_at",
        "expires_at",
        "last_used_at",
    )
    list_filter = ("scope", ("expires_at", admin.EmptyFieldListFilter))
    search_fields = ("name", "user__username")
    list_select_related = ("user", "workspace")
    exclude = ("digest",)


@admin.register(SignInLink)
class SignInLinkAdmin(ReadOnlyAdmin):
    list_display = ("user", "created_at", "used_at")
    list_filter = (("used_at", admin.EmptyFieldListFilter),)
    search_fields = ("user__username",)
    list_select_related = ("user",)
    exclude = ("digest",)


@admin.register(UploadedFile)
class UploadedFileAdmin(ReadOnlyAdmin):
    list_display = ("path", "container", "workspace", "size_bytes", "changed_at")
    list_filter = ("container",)
    search_fields = ("path", "workspace__name")
    list_select_related = ("workspace",)
    show_full_result_count = False


@admin.register(UploadedPiece)
class UploadedPieceAdmin(ReadOnlyAdmin):
    list_display = ("path", "piece_id", "workspace", "size_bytes", "uploaded_at")
    list_filter = ("container",)
    search_fields = ("path", "workspace__name")
    list_select_related = ("workspace",)
    show_full_result_count = False


def _operator(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user
