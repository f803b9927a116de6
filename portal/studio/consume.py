"""The tab “Consume”: where the endpoint answers, its keys and tokens, and client code that runs.

Nothing of a key is in a page before somebody asks for it; that they asked is recorded by the verb.
"""

from __future__ import annotations

from collections.abc import Mapping

from django.http import HttpResponse, JsonResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from endpoints import keys
from endpoints.models import OnlineEndpoint
from portal.pages import go, render_page, toast
from portal.studio import scoring_body
from portal.studio.as_code import online
from portal.studio.code_part import place_of, samples_of, trusted_authority
from portal.studio.endpoint_frame import AUTH_LABELS, frame
from portal.studio.figures import requests_last_day
from portal.studio.inference_protocol import client_code as repository_code
from portal.studio.inference_protocol import model_to_ask
from portal.studio.samples_code import LANGUAGES, sample_code
from portal.studio.scope import StudioRequest, find_endpoint, studio_page
from portal.studio.scoring import credential_of
from workspaces.errors import NotFound, UserError

KEY_LABELS = {"primary": gettext_lazy("primary key"), "secondary": gettext_lazy("secondary key")}


@studio_page("onlineEndpoints/read")
@require_safe
def consume_tab(request: StudioRequest, endpoint: str) -> HttpResponse:
    return _show(request, find_endpoint(request, endpoint))


@studio_page("onlineEndpoints/listKeys/action")
@require_POST
@never_cache
def show_key(request: StudioRequest, endpoint: str, key_type: str) -> HttpResponse:
    """One key in plain text: as JSON for a copy button, else in its place on the page."""
    found = find_endpoint(request, endpoint)
    if key_type not in KEY_LABELS:
        raise NotFound(f"There is no key '{key_type}'. Ask for primary or secondary.")
    value = getattr(keys.list_keys(found, by=request.user), key_type)
    if request.accepts("application/json") and not request.accepts("text/html"):
        return JsonResponse({"key": value})
    return _show(request, found, shown={key_type: value})


@studio_page("onlineEndpoints/regenerateKeys/action")
@require_POST
def regenerate(request: StudioRequest, endpoint: str) -> HttpResponse:
    """Replace a key; the page then shows it on demand, like any other."""
    found = find_endpoint(request, endpoint)
    key_type = request.POST.get("key_type", "")
    keys.regenerate_key(found, key_type, by=request.user)
    toast(
        request,
        _("The %(type)s key is new. Clients with the old one get 401 from now on.")
        % {"type": key_type},
    )
    return go(request, reverse("studio:consume", args=[request.workspace.name, found.name]))


@studio_page("onlineEndpoints/token/action")
@require_POST
@never_cache
def token(request: StudioRequest, endpoint: str) -> HttpResponse:
    """A fresh token with its expiry."""
    found = find_endpoint(request, endpoint)
    issued = keys.issue_token(found, by=request.user)
    if request.accepts("application/json") and not request.accepts("text/html"):
        return JsonResponse({"key": issued.access_token})
    return _show(request, found, token=issued)


def placeholder_of(endpoint: OnlineEndpoint) -> str:
    """What stands in samples for the key or token."""
    uses_keys = endpoint.auth_mode == OnlineEndpoint.AuthMode.KEY
    return "<your key>" if uses_keys else "<your token>"


def client_code(endpoint: OnlineEndpoint, body: str) -> list[dict[str, str]]:
    """The client code of every language, for `<c-code>`."""
    authority = trusted_authority()
    key = placeholder_of(endpoint)
    return [
        {
            "language": language.name,
            "label": language.label,
            "text": sample_code(endpoint, language.name, key=key, body=body, ca_path=authority),
        }
        for language in LANGUAGES.values()
    ]


def _show(
    request: StudioRequest,
    endpoint: OnlineEndpoint,
    *,
    shown: Mapping[str, str] | None = None,
    token: keys.EndpointToken | None = None,
) -> HttpResponse:
    context = {
        **frame(request, endpoint, "consume"),
        "auth_label": AUTH_LABELS[OnlineEndpoint.AuthMode(endpoint.auth_mode)],
        "key_rows": [
            (
                key_type,
                label,
                (shown or {}).get(key_type, ""),
                _new_key(request, endpoint, key_type),
            )
            for key_type, label in KEY_LABELS.items()
        ],
        "uses_keys": endpoint.auth_mode == OnlineEndpoint.AuthMode.KEY,
        "uses_tokens": endpoint.auth_mode == OnlineEndpoint.AuthMode.AML_TOKEN,
        "token": token,
        "requests_last_day": requests_last_day(endpoint),
        "samples": _samples(request, endpoint),
        "placeholder": placeholder_of(endpoint),
        "authority": trusted_authority(),
    }
    return render_page(request, "endpoints/consume.html", "endpoints/_consume.html", context)


def _samples(request: StudioRequest, endpoint: OnlineEndpoint) -> list[dict[str, str]]:
    model = model_to_ask(endpoint)
    if not model:
        return client_code(endpoint, _body(request, endpoint))
    return repository_code(
        endpoint.scoring_uri,
        model,
        key=placeholder_of(endpoint),
        ca_path=trusted_authority(),
    )


def _new_key(
    request: StudioRequest, endpoint: OnlineEndpoint, key_type: str
) -> list[dict[str, str]]:
    """The dialog “Regenerate” as code."""
    return samples_of(request, online.regenerate_key(place_of(request), endpoint.name, key_type))


def _body(request: StudioRequest, endpoint: OnlineEndpoint) -> str:
    try:
        credential = credential_of(endpoint, by=request.user)
    except UserError:
        return scoring_body.FALLBACK
    return scoring_body.first_body(endpoint, request.user, credential=credential, deployment="")
