"""The page “Debug” of a deployment: starting a debug session, how to attach to it, and stopping it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from django.http import HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST
from django_htmx.http import HTMX_STOP_POLLING

from deployments import debugging
from deployments.models import DebugSession, OnlineDeployment
from deployments.staging import runs_as_container
from portal.pages import go, is_swap, render_page, toast
from portal.studio.as_code import debugging as as_code
from portal.studio.as_code.forms import Forms
from portal.studio.code_part import (
    asks_for_code,
    code_part,
    place_of,
    samples_of,
    trusted_authority,
)
from portal.studio.consume import placeholder_of
from portal.studio.samples_code import DEPLOYMENT_HEADER, patient_curl
from portal.studio.scope import StudioRequest, find_deployment, studio_page
from portal.studio.scoring_body import FALLBACK
from workspaces.errors import UserError

# Whoever can attach can run code: readers do not even learn where.
WRITE = "onlineEndpoints/deployments/write"
HOURS = range(1, debugging.LONGEST // timedelta(hours=1) + 1)
USUAL_HOURS = debugging.USUAL // timedelta(hours=1)


@studio_page(WRITE)
@never_cache
def debug(request: StudioRequest, endpoint: str, deployment: str) -> HttpResponse:
    """A GET shows the session, or asks for how long one is to be; a POST starts it or gives it more time."""
    found = find_deployment(request, endpoint, deployment)
    hours = _hours_of(request)
    if asks_for_code(request):
        return code_part(request, _start_code(request, found, hours))
    if request.method == "POST":
        if hours is None:
            toast(request, _("A debug session lasts from 1 to 8 hours."), level="error")
        else:
            _start(request, found, hours)
        return go(request, _url_of(request, found))
    session = DebugSession.objects.filter(deployment=found).select_related("revision").first()
    if is_swap(request) and (session is None or session.state == DebugSession.State.FAILED):
        # What the rest of the page offers is another thing then.
        if session is None:
            toast(request, _("The debug session is over."), level="info")
        return go(request, _url_of(request, found))
    # A morph keeps the element, and with it htmx's timer: this status is what ends the polling.
    is_busy = session is not None and session.is_busy
    status = HTMX_STOP_POLLING if is_swap(request) and not is_busy else 200
    page, part = "deployments/debug.html", "deployments/_debug_session.html"
    return render_page(request, page, part, _context(request, found, session), status=status)


@studio_page(WRITE)
@require_POST
def stop(request: StudioRequest, endpoint: str, deployment: str) -> HttpResponse:
    """That there is none is success."""
    found = find_deployment(request, endpoint, deployment)
    debugging.stop(found, by=request.user)
    toast(request, _("The debug session is removed."))
    return go(request, _url_of(request, found))


def _start(request: StudioRequest, deployment: OnlineDeployment, hours: int) -> None:
    try:
        debugging.start(deployment, by=request.user, lasts=timedelta(hours=hours))
    except UserError as error:
        toast(request, error.message, level="error")


def _hours_of(request: StudioRequest) -> int | None:
    """What the form says; none for what cannot be."""
    return {str(hours): hours for hours in HOURS}.get(request.POST.get("hours", ""))


def _start_code(request: StudioRequest, deployment: OnlineDeployment, hours: int | None) -> Forms:
    minutes = (hours or USUAL_HOURS) * 60
    return as_code.start_debug(
        place_of(request), deployment.endpoint.name, deployment.name, minutes
    )


def _context(
    request: StudioRequest, deployment: OnlineDeployment, session: DebugSession | None
) -> dict[str, Any]:
    revision = deployment.serving_revision
    stopping = as_code.stop_debug(place_of(request), deployment.endpoint.name, deployment.name)
    context: dict[str, Any] = {
        "workspace": request.workspace,
        "endpoint": deployment.endpoint,
        "deployment": deployment,
        "session": session,
        "refusal": "" if session else debugging.refusal(deployment),
        "is_in_container": bool(revision and runs_as_container(revision)),
        "hours": HOURS,
        "usual_hours": USUAL_HOURS,
        "code_url": _url_of(request, deployment),
        "start_samples": samples_of(request, _start_code(request, deployment, None)),
        "stop_samples": samples_of(request, stopping),
    }
    if session is not None and session.state == DebugSession.State.RUNNING:
        context |= _attaching(session)
        context["attach"] = as_code.attach(
            place_of(request), deployment.endpoint.name, deployment.name
        )
    return context


def _attaching(session: DebugSession) -> dict[str, str]:
    endpoint = session.deployment.endpoint
    return {
        "launch_entry": json.dumps(debugging.launch_entry(session), indent=2),
        "tunnel": debugging.tunnel(session),
        "header": f"{DEPLOYMENT_HEADER}: {session.upstream_name}",
        "curl": patient_curl(
            endpoint,
            key=placeholder_of(endpoint),
            body=FALLBACK,
            ca_path=trusted_authority(),
            deployment=session.upstream_name,
        ),
    }


def _url_of(request: StudioRequest, deployment: OnlineDeployment) -> str:
    names = [request.workspace.name, deployment.endpoint.name, deployment.name]
    return reverse("studio:debug_deployment", args=names)
