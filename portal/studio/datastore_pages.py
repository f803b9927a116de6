"""Datastores: a list, recording one, making it the default, forgetting it. Secrets go in here and never come out."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from portal.pages import go, toast
from portal.studio.as_code import datastores as as_code
from portal.studio.as_code.forms import Forms
from portal.studio.as_code.place import Place
from portal.studio.catalog_pages import form_page
from portal.studio.code_part import asks_for_code, code_part, place_of, samples_of
from portal.studio.data_pages import tabs_of
from portal.studio.scope import StudioRequest, studio_page
from workspaces import access, datastores
from workspaces.errors import UserError
from workspaces.models import Datastore

IDENTITY = ("tenant_id", "client_id", "authority_url", "resource_url", "thumbprint")


@studio_page("datastores/read")
def datastore_list(request: StudioRequest) -> HttpResponse:
    """The built-in ones and the records."""
    rows = list(datastores.rows(request.workspace))
    place = place_of(request)
    default = datastores.default_name(request.workspace)
    context = {
        "built_in": datastores.BUILT_IN,
        "main": datastores.MAIN,
        "rows": rows,
        "default": default,
        "default_samples": _default_code(place, rows).samples(place),
        "delete_samples": [
            (row, as_code.delete(place, _values(row)).samples(place)) for row in rows
        ],
        "tabs": tabs_of(request, "datastores"),
        "may_write": access.role_may(request.role, "datastores/write"),
        "may_delete": access.role_may(request.role, "datastores/delete"),
        "workspace": request.workspace,
    }
    return render(request, "workspaces/datastore_list.html", context)


@studio_page("datastores/write")
def register_datastore(request: StudioRequest) -> HttpResponse:
    """Record a datastore; a name that exists is changed, and an empty secret keeps the present one."""
    problem: UserError | None = None
    code = _code(request)
    if asks_for_code(request):
        return code_part(request, code)
    if request.method == "POST":
        try:
            name = _typed(request, "name")
            made, _is_new = datastores.save(
                request.workspace, name, _wish(request), by=request.user
            )
        except UserError as error:
            problem = error
        else:
            toast(request, _("Recorded %(name)s.") % {"name": made.name})
            return go(request, _list_url(request))
    extra: dict[str, Any] = {
        "types": Datastore.Type.choices,
        "kinds": Datastore.Credentials.choices,
        "code_samples": samples_of(request, code),
        "code_url": request.path,
    }
    return form_page(request, "workspaces/datastore_form.html", problem, extra)


@studio_page("datastores/write")
@require_POST
def set_default_datastore(request: StudioRequest, name: str) -> HttpResponse:
    datastores.set_default(request.workspace, name, by=request.user)
    toast(request, _("%(name)s is the default now.") % {"name": name})
    return go(request, _list_url(request))


@studio_page("datastores/delete")
@require_POST
def delete_datastore(request: StudioRequest, name: str) -> HttpResponse:
    datastores.delete(request.workspace, name, by=request.user)
    toast(request, _("Removed the record of %(name)s.") % {"name": name})
    return go(request, _list_url(request))


def _wish(request: StudioRequest) -> datastores.Wish:
    return datastores.Wish(
        type=_typed(request, "type"),
        account_name=_typed(request, "account_name"),
        container=_typed(request, "container"),
        endpoint=_typed(request, "endpoint") or "core.windows.net",
        credentials=_typed(request, "credentials") or Datastore.Credentials.NONE,
        identity={key: value for key in IDENTITY if (value := _typed(request, key)[:1000])},
        secret=_typed(request, "secret")[: datastores.LONGEST_SECRET],
        description=_typed(request, "description"),
    )


def _code(request: StudioRequest) -> Forms:
    """What stands in the form, right or not; never the secret."""
    wish = _wish(request)
    kinds = as_code.CREDENTIALS
    typed = as_code.Datastore(
        name=_typed(request, "name") or "my_datastore",
        type=wish.type if wish.type in as_code.KINDS else Datastore.Type.BLOB,
        container=wish.container or "my-container",
        account_name=wish.account_name,
        endpoint="" if wish.endpoint == "core.windows.net" else wish.endpoint,
        credentials=wish.credentials if wish.credentials in kinds else "none",
        identity=wish.identity if wish.credentials in {"service_principal", "certificate"} else {},
        description=wish.description,
    )
    return as_code.write(place_of(request), typed)


def _default_code(place: Place, rows: list[Datastore]) -> Forms:
    """Of a datastore that is not the default, where there is one."""
    row = next((row for row in rows if not row.is_default), None)
    if row is None:
        return as_code.set_default(place, datastores.MAIN, None)
    return as_code.set_default(place, row.name, _values(row))


def _values(row: Datastore) -> as_code.Datastore:
    return as_code.Datastore(
        name=row.name,
        type=row.type,
        container=row.container,
        account_name=row.account_name,
        endpoint=row.endpoint,
        protocol=row.protocol,
        credentials=row.credentials,
        identity=row.identity,
        description=row.description,
        tags=row.tags,
    )


def _typed(request: StudioRequest, name: str) -> str:
    return request.POST.get(name, "").strip()


def _list_url(request: StudioRequest) -> str:
    return reverse("studio:datastores", kwargs={"workspace": request.workspace.name})
