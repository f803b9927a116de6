"""Data and components: lists, pages, registering data, archiving."""

from __future__ import annotations

from typing import Any

import yaml
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.pages import go, toast
from portal.studio import intake
from portal.studio.as_code import assets
from portal.studio.catalog_pages import (
    LISTED_FILES,
    archive_or_restore,
    asset_list,
    asset_url,
    files_of,
    find_asset,
    form_page,
    shown_version,
)
from portal.studio.code_assets import archive_part, typed_data
from portal.studio.code_part import asks_for_code, code_part, place_of, samples_of
from portal.studio.scope import StudioRequest, studio_page
from workspaces import access, catalog, components, data
from workspaces.errors import UserError
from workspaces.models import Component, Data, DataVersion

TYPE_WORDS = {
    "": gettext_lazy("As it is: a file or a folder"),
    DataVersion.Type.TABLE: gettext_lazy("Table: a folder with a file MLTable"),
}


@studio_page("data/read")
def data_list(request: StudioRequest) -> HttpResponse:
    """`?q=` searches names, `?archived=1` shows what was put away."""
    extra = {
        "list_title": _("Data"),
        "register_url": reverse("studio:register_data", args=[request.workspace.name]),
        "tabs": tabs_of(request, "data"),
    }
    return asset_list(request, Data, "workspaces/_data_table.html", "data", extra)


@studio_page("data/versions/read")
def data_detail(request: StudioRequest, name: str) -> HttpResponse:
    """One data asset: its versions, where it is, its files."""
    found = find_asset(request, Data, name)
    versions = list(found.versions.select_related("created_by"))
    shown = shown_version(versions, request.GET.get("version", ""))
    if shown is not None:
        shown.data = found
    files, is_lost = files_of(shown)
    context = {
        "asset": found,
        "versions": versions,
        "version": shown,
        "files": files[:LISTED_FILES],
        "hidden_files": max(0, len(files) - LISTED_FILES),
        "is_lost": is_lost,
        "may_write": access.role_may(request.role, "data/versions/write"),
        "workspace": request.workspace,
    }
    if context["may_write"]:
        context |= archive_part(request, "data", found)
    return render(request, "workspaces/data_detail.html", context)


@studio_page("data/versions/write")
def register_data(request: StudioRequest) -> HttpResponse:
    """Register files, or an address of data that stays where it is."""
    problem: UserError | None = None
    code = assets.register_data(place_of(request), typed_data(request))
    if asks_for_code(request):
        return code_part(request, code)
    if request.method == "POST":
        try:
            registered = _register(request)
        except UserError as error:
            problem = error
        else:
            toast(request, _("Registered %(name)s.") % {"name": registered})
            return go(request, asset_url(request, "data_asset", registered.data.name))
    extra = {"types": TYPE_WORDS.items(), "code_samples": samples_of(request, code)}
    return form_page(request, "workspaces/data_form.html", problem, extra)


@studio_page("data/versions/write")
def archive_data(request: StudioRequest, name: str) -> HttpResponse:
    return archive_or_restore(request, Data, name, page="data_asset")


@studio_page("components/read")
def component_list(request: StudioRequest) -> HttpResponse:
    table = "workspaces/_component_table.html"
    return asset_list(request, Component, table, "components", {"list_title": _("Components")})


@studio_page("components/versions/read")
def component_detail(request: StudioRequest, name: str) -> HttpResponse:
    """One component: what goes in and out, and its YAML."""
    found = find_asset(request, Component, name)
    versions = list(found.versions.select_related("created_by"))
    shown = shown_version(versions, request.GET.get("version", ""))
    context = {
        "asset": found,
        "versions": versions,
        "version": shown,
        "may_write": access.role_may(request.role, "components/versions/write"),
        "workspace": request.workspace,
    }
    if shown is not None:
        shown.component = found
        told = components.specification_of(shown)
        context |= {
            "inputs": list((told.get("inputs") or {}).items()),
            "outputs": list((told.get("outputs") or {}).items()),
            "text": yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=100),
        }
    if context["may_write"]:
        context |= archive_part(request, "component", found)
    return render(request, "workspaces/component_detail.html", context)


@studio_page("components/versions/write")
def archive_component(request: StudioRequest, name: str) -> HttpResponse:
    return archive_or_restore(request, Component, name)


def tabs_of(request: StudioRequest, current: str) -> list[dict[str, Any]]:
    """Data assets and the places where they are, side by side."""
    return [
        {
            "label": label,
            "url": reverse(f"studio:{name}", kwargs={"workspace": request.workspace.name}),
            "is_current": name == current,
        }
        for name, label in (("data", _("Data assets")), ("datastores", _("Datastores")))
    ]


def _register(request: StudioRequest) -> DataVersion:
    name = request.POST.get("name", "").strip()
    # Before the files are stored: they may be large.
    catalog.check_name("data", name)
    kind = request.POST.get("type", "")
    version = request.POST.get("version", "").strip()
    labels = catalog.Labels(description=request.POST.get("description", "").strip())
    if request.POST.get("source") == "address":
        uri = request.POST.get("address", "").strip()
        try:
            return data.register_address(
                request.workspace,
                name,
                uri,
                type=kind or _natural_type(uri.endswith("/")),
                by=request.user,
                version=version,
                labels=labels,
            )
        except UserError as error:
            target = "address" if error.target == "path" else error.target
            raise UserError(
                error.message, code=error.code, target=target, status=error.status
            ) from error
    handed = intake.take(request, "files", leaf="data")
    if handed is None:
        raise UserError(_("Choose a file or a folder, or give an address."), target="files")
    return data.register_files(
        request.workspace,
        name,
        handed.content,
        type=kind or _natural_type(handed.is_folder),
        leaf=handed.leaf,
        is_folder=handed.is_folder,
        by=request.user,
        version=version,
        labels=labels,
    )


def _natural_type(is_folder: bool) -> str:
    return DataVersion.Type.FOLDER if is_folder else DataVersion.Type.FILE
