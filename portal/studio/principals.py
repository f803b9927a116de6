"""Programs that sign in by themselves: the owners of the workspace make them and exchange their secrets."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from portal.pages import go, toast
from portal.studio.as_code import access as as_code
from portal.studio.as_code.forms import Forms
from portal.studio.code_part import asks_for_code, code_part, place_of, samples_of
from portal.studio.members import ROLE_WORDS
from portal.studio.scope import StudioRequest, studio_page
from workspaces import access, federation, lifetimes, principals
from workspaces.errors import NotFound, UserError
from workspaces.models import Role, ServicePrincipal

LIFETIMES = (30, 90, 180, 365)


@studio_page("members/read")
def principal_list(request: StudioRequest) -> HttpResponse:
    """All of them with their secrets, and for owners the ways to change them."""
    return _page(request)


@studio_page("members/write")
@require_POST
def add(request: StudioRequest) -> HttpResponse:
    """A new one; its first secret is shown this once."""
    if asks_for_code(request):
        return code_part(request, _add_code(request))
    name, role = request.POST.get("name", "").strip(), request.POST.get("role", "")
    try:
        with transaction.atomic():
            principal = principals.create_principal(request.workspace, name, role, by=request.user)
            lifetime = _lifetime(request)
            _secret, text = principals.add_secret(principal, lifetime=lifetime, by=request.user)
    except UserError as error:
        return _page(request, error)
    return _page(request, shown=(principal, text))


@studio_page("members/write")
@require_POST
def add_secret(request: StudioRequest, client: uuid.UUID) -> HttpResponse:
    """Another secret, shown this once, so that the old one can be removed later."""
    principal = _find(request, client)
    if asks_for_code(request):
        return code_part(request, _secret_code(request, principal))
    try:
        _secret, text = principals.add_secret(
            principal,
            request.POST.get("name", "").strip(),
            lifetime=_lifetime(request),
            by=request.user,
        )
    except UserError as error:
        return _page(request, error)
    return _page(request, shown=(principal, text))


@studio_page("members/write")
@require_POST
def remove_secret(request: StudioRequest, client: uuid.UUID, pk: int) -> HttpResponse:
    """The secret, and access tokens given for it, stop working."""
    try:
        principals.remove_secret(_find(request, client), pk, by=request.user)
    except NotFound as error:
        return _page(request, error)
    toast(request, _("The secret was removed. Whoever uses it gets 401 from now on."))
    return go(request, _url(request))


@studio_page("members/write")
@require_POST
def delete(request: StudioRequest, client: uuid.UUID) -> HttpResponse:
    """It is out of all workspaces; what it made stays."""
    principal = _find(request, client)
    principals.delete_principal(principal, by=request.user)
    toast(request, _("Service principal %(name)s was deleted.") % {"name": principal.name})
    return go(request, _url(request))


@studio_page("members/write")
@require_POST
def add_federated(request: StudioRequest, client: uuid.UUID) -> HttpResponse:
    """Believe tokens of a foreign issuer, in place of a secret."""
    principal = _find(request, client)
    if asks_for_code(request):
        return code_part(request, _federated_code(request, principal))
    sent = {name: request.POST.get(name, "") for name in ("issuer", "subject", "audience")}
    try:
        federation.add_federated(
            principal,
            request.POST.get("name", ""),
            **sent,
            keys=_key_set(request.POST.get("keys", "")),
            by=request.user,
        )
    except UserError as error:
        return _page(request, error, open_for=principal)
    toast(request, _("Tokens of %(issuer)s are believed now.") % {"issuer": sent["issuer"]})
    return go(request, _url(request))


@studio_page("members/write")
@require_POST
def remove_federated(request: StudioRequest, client: uuid.UUID, pk: int) -> HttpResponse:
    """The issuer's tokens, and access tokens given for them, stop working."""
    try:
        federation.remove_federated(_find(request, client), pk, by=request.user)
    except NotFound as error:
        return _page(request, error)
    toast(request, _("The federated credential was removed."))
    return go(request, _url(request))


def _key_set(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        raise UserError(
            "The keys are not JSON. Paste the issuer's JSON Web Key Set.", target="keys"
        ) from None


def _page(
    request: StudioRequest,
    error: UserError | None = None,
    *,
    shown: tuple[ServicePrincipal, str] | None = None,
    open_for: ServicePrincipal | None = None,
) -> HttpResponse:
    rows = request.workspace.service_principals.select_related("user", "created_by")
    roles = dict(request.workspace.memberships.values_list("user_id", "role"))
    found = list(rows.prefetch_related("secrets", "federated_credentials"))
    may_change = access.role_may(request.role, "members/write")
    context = {
        "principals": [
            (row, roles.get(row.user_id, ""), _as_code(request, row) if may_change else {})
            for row in found
        ],
        "may_change": may_change,
        "code_samples": samples_of(request, _add_code(request)) if may_change else [],
        "code_url": reverse("studio:add_principal", kwargs={"workspace": request.workspace.name}),
        "roles": ROLE_WORDS.items(),
        "reader": Role.READER,
        "lifetimes": [days for days in LIFETIMES if timedelta(days=days) <= lifetimes.longest()],
        "usual_days": lifetimes.usual().days,
        "typed": request.POST if error else {},
        "problems": [{"field": error.target, "message": error.message}] if error else [],
        "shown": shown,
        "how_to": _how_to(*shown) if shown else "",
        "open_for": open_for,
        "usual_audience": federation.USUAL_AUDIENCE,
        "now": timezone.now(),
        "workspace": request.workspace,
    }
    status = 200 if error is None else error.status if error.status in {404, 409} else 422
    response = render(request, "workspaces/principal_list.html", context, status=status)
    if shown:
        response["Cache-Control"] = "no-store"
    return response


def _as_code(request: StudioRequest, principal: ServicePrincipal) -> dict[str, Any]:
    """What can be done to one of them, as code: for its forms, and row by row for its dialogs."""
    place, client = place_of(request), str(principal.client_id)
    return {
        "secret": samples_of(request, _secret_code(request, principal)),
        "federated": samples_of(request, _federated_code(request, principal)),
        "delete": as_code.delete_principal(place, client).samples(place),
        "secrets": [
            (row, as_code.remove_secret(place, client, row.pk).samples(place))
            for row in principal.secrets.all()
        ],
        "credentials": [
            (row, as_code.remove_federated(place, client, row.pk).samples(place))
            for row in principal.federated_credentials.all()
        ],
    }


def _add_code(request: StudioRequest) -> Forms:
    name = request.POST.get("name", "").strip() or "nightly-deploy"
    role = request.POST.get("role", "") or Role.READER
    return as_code.create_principal(place_of(request), name, role, days=_days(request))


def _secret_code(request: StudioRequest, principal: ServicePrincipal) -> Forms:
    name = request.POST.get("name", "").strip()
    client = str(principal.client_id)
    return as_code.add_secret(place_of(request), client, name, days=_days(request))


def _federated_code(request: StudioRequest, principal: ServicePrincipal) -> Forms:
    """Keys that are being typed may be anything; then a word stands in their place."""
    try:
        keys = json.loads(request.POST.get("keys", ""))
    except ValueError:
        keys = {"keys": []}
    fields = {
        "name": request.POST.get("name", "") or "cluster",
        "issuer": request.POST.get("issuer", "") or "https://kubernetes.default.svc.cluster.local",
        "subject": request.POST.get("subject", "") or "system:serviceaccount:default:nightly",
        "audience": request.POST.get("audience", ""),
        "keys": keys,
    }
    return as_code.add_federated(place_of(request), str(principal.client_id), fields)


def _how_to(principal: ServicePrincipal, secret: str) -> str:
    """The variables with which `DefaultAzureCredential()` and `MLClient` work."""
    origin = f"https://{settings.PORTICO_HOST}:{settings.PORTICO_TLS_PORT}"
    variables = {
        "REQUESTS_CA_BUNDLE": "ca.pem",
        "ARM_CLOUD_METADATA_URL": f"{origin}/metadata/endpoints?api-version=2019-05-01",
        "AZURE_AUTHORITY_HOST": origin,
        "AZURE_TENANT_ID": "adfs",
        "AZURE_CLIENT_ID": str(principal.client_id),
        "AZURE_CLIENT_SECRET": secret,
    }
    return "\n".join(f"export {name}='{value}'" for name, value in variables.items())


def _find(request: StudioRequest, client: uuid.UUID) -> ServicePrincipal:
    rows = request.workspace.service_principals.select_related("user", "workspace")
    return get_object_or_404(rows, client_id=client)


def _lifetime(request: StudioRequest) -> timedelta | None:
    """One of those offered; the usual one for anything else."""
    days = _days(request)
    return None if days is None else timedelta(days=days)


def _days(request: StudioRequest) -> int | None:
    days = request.POST.get("days", "")
    return int(days) if days in {str(item) for item in LIFETIMES} else None


def _url(request: StudioRequest) -> str:
    return reverse("studio:principals", kwargs={"workspace": request.workspace.name})
