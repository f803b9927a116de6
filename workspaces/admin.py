"""Operators' view of tenancy, assets and compute."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from workspaces import catalog, principals
from workspaces.errors import UserError
from workspaces.models import (
    Activity,
    Code,
    CodeVersion,
    Component,
    ComponentVersion,
    Compute,
    ComputeEngine,
    Data,
    Datastore,
    DataVersion,
    Environment,
    EnvironmentVersion,
    FederatedCredential,
    InstanceType,
    Membership,
    Model,
    ModelVersion,
    PersonalToken,
    PrincipalSecret,
    Quota,
    Role,
    ServicePrincipal,
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
        "runtime",
        "instance_type",
        "tier",
        "min_instances",
        "max_instances",
        "created_by",
    )
    list_filter = ("kind", "tier")
    search_fields = ("name", "workspace__name", "instance_type__name")
    list_select_related = ("workspace", "instance_type", "created_by")


@admin.register(ComputeEngine)
class ComputeEngineAdmin(ReadOnlyAdmin):
    """Changed on the compute's page in the studio, which looks after what runs there."""

    list_display = ("name", "compute", "url", "most_cores", "most_memory_bytes", "is_schedulable")
    list_filter = ("is_schedulable",)
    search_fields = ("name", "compute__name", "compute__workspace__name", "url")
    list_select_related = ("compute",)


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


@admin.register(Datastore)
class DatastoreAdmin(ReadOnlyAdmin):
    list_display = ("name", "workspace", "type", "account_name", "container", "is_default")
    list_filter = ("type", "credentials")
    search_fields = ("name", "workspace__name", "account_name", "container")
    list_select_related = ("workspace",)
    exclude = ("secret_sealed",)


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


class NewPrincipalForm(forms.ModelForm[ServicePrincipal]):
    """What one needs to say of a new service principal; the verb checks it."""

    role = forms.ChoiceField(choices=Role.choices, initial=Role.READER)

    class Meta:
        model = ServicePrincipal
        fields = ("workspace", "name")

    def clean(self) -> dict[str, Any]:
        found: dict[str, Any] = super().clean() or {}
        if not self.errors:
            try:
                principals.check_name(found["workspace"], found["name"])
            except UserError as error:
                self.add_error("name", error.message)
        return found


@admin.register(ServicePrincipal)
class ServicePrincipalAdmin(admin.ModelAdmin[ServicePrincipal]):
    list_display = ("name", "workspace", "client_id", "user", "created_at", "created_by")
    list_filter = ("workspace",)
    search_fields = ("name", "client_id", "user__username", "workspace__name")
    list_select_related = ("workspace", "user", "created_by")
    actions = ("new_secret",)

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **options: Any
    ) -> Any:
        if obj is None:
            options["form"] = NewPrincipalForm
        return super().get_form(request, obj, change, **options)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ("workspace", "name", "client_id", "user") if obj else ("workspace", "name", "role")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is None and super().has_change_permission(request, obj)

    def save_model(
        self, request: HttpRequest, obj: ServicePrincipal, form: Any, change: bool
    ) -> None:
        made = principals.create_principal(
            obj.workspace, obj.name, form.cleaned_data["role"], by=_operator(request)
        )
        obj.__dict__.update(made.__dict__)
        messages.info(request, "Select it and choose 'New secret' for what it signs in with.")

    def delete_model(self, request: HttpRequest, obj: ServicePrincipal) -> None:
        principals.delete_principal(obj, by=_operator(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ServicePrincipal]) -> None:
        for principal in queryset.select_related("user", "workspace"):
            principals.delete_principal(principal, by=_operator(request))

    @admin.action(description="New secret (shown once)", permissions=["add"])
    def new_secret(
        self, request: HttpRequest, queryset: QuerySet[ServicePrincipal]
    ) -> HttpResponse | None:
        try:
            shown = [
                (principal, principals.add_secret(principal, by=_operator(request))[1])
                for principal in queryset.select_related("user", "workspace")
            ]
        except UserError as error:
            messages.error(request, error.message)
            return None
        context = {
            **self.admin_site.each_context(request),
            "title": "New secrets",
            "shown": shown,
            "opts": self.model._meta,
        }
        headers = {"Cache-Control": "no-store"}
        return TemplateResponse(request, "admin/new_secrets.html", context, headers=headers)


@admin.register(PrincipalSecret)
class PrincipalSecretAdmin(ReadOnlyAdmin):
    list_display = ("principal", "name", "created_at", "expires_at", "last_used_at")
    list_filter = (("expires_at", admin.EmptyFieldListFilter),)
    search_fields = ("principal__name", "name")
    list_select_related = ("principal",)
    exclude = ("digest",)


@admin.register(FederatedCredential)
class FederatedCredentialAdmin(ReadOnlyAdmin):
    list_display = ("principal", "name", "issuer", "subject", "created_at", "last_used_at")
    search_fields = ("principal__name", "name", "issuer", "subject")
    list_select_related = ("principal",)


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
