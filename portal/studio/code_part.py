"""“View as code” of the dialogs: one part, filled on each visit, and again while somebody types."""

from __future__ import annotations

from uuid import uuid4

from django.conf import settings
from django.http import HttpResponse

from api.clouds import origin_of
from portal.certificates import authority_path
from portal.pages import render_part
from portal.studio.as_code.forms import Forms
from portal.studio.as_code.place import Place
from portal.studio.scope import StudioRequest

ASKED = "only_code"
"""The field of a form that asks for its code and for nothing else."""

Samples = list[dict[str, str]]


def asks_for_code(request: StudioRequest) -> bool:
    return request.method == "POST" and ASKED in request.POST


def trusted_authority() -> str:
    """The certificate that clients must be told to trust; empty if the operator brought one of their own."""
    return "" if settings.TLS_CERTIFICATE else str(authority_path(settings.CERTIFICATES_DIR))


def place_of(request: StudioRequest) -> Place:
    """Where the code of this page goes: over TLS, whichever way the page itself came."""
    workspace = request.workspace
    return Place(
        url=origin_of(request),
        subscription=str(workspace.subscription_id),
        resource_group=workspace.resource_group,
        workspace=workspace.name,
        ca_path=trusted_authority(),
        upload=f"studio-{uuid4().hex[:12]}",
    )


def samples_of(request: StudioRequest, forms: Forms) -> Samples:
    return forms.samples(place_of(request))


def code_part(request: StudioRequest, forms: Forms) -> HttpResponse:
    """What the open fold of a form shows now."""
    context = {"code_samples": samples_of(request, forms)}
    return render_part(request, "parts/_code_samples.html", context)
