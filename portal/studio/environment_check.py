"""Looking at an environment before anything is built: what the file means at once, which versions fit on demand."""

from __future__ import annotations

import threading
import time
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from deployments.environments.failures import BuildFailed
from deployments.environments.process import Cancelled
from deployments.environments.specification import EnvironmentSpec, hash_of, translate
from deployments.installation import environments
from deployments.staging import environment_spec_of
from portal.studio.scope import StudioRequest, studio_page
from workspaces import catalog
from workspaces.errors import UserError
from workspaces.models import EnvironmentVersion

CHECK_SECONDS = 25
"""A page waits thirty; the build itself may take longer."""
# Resolving takes a core: two at a time leave the pages theirs.
_room = threading.BoundedSemaphore(2)


@studio_page("environments/versions/write")
@require_POST
def check_environment(request: StudioRequest) -> HttpResponse:
    """The packages of what is typed or chosen; with `resolve`, their versions. Nothing is registered or built."""
    context: dict[str, Any] = {"workspace": request.workspace, "is_checked": True}
    status = 200
    try:
        wanted = _wanted(request)
        if wanted is None:
            return render(request, "workspaces/_environment_check.html", {})
        spec = environment_spec_of(wanted)
        translation = translate(spec)
        context["translation"] = translation
        context["is_built"] = environments().find(hash_of(translation)) is not None
        if request.POST.get("resolve"):
            context["lock"] = resolve(spec)
    except BuildFailed as error:
        context |= {"problem": error.message, "evidence": error.failure.evidence}
        status = 422
    except UserError as error:
        context["problem"] = error.message
        status = 422
    return render(request, "workspaces/_environment_check.html", context, status=status)


def resolve(spec: EnvironmentSpec) -> Any:
    """The lock of the environment, found within `CHECK_SECONDS`; it is kept for the build."""
    if not _room.acquire(timeout=1):
        raise UserError(_("Other checks are running. Try again in a few seconds."), status=409)
    until = time.monotonic() + CHECK_SECONDS
    try:
        return environments().lock(spec, cancel=lambda: time.monotonic() > until)
    except Cancelled:
        raise UserError(
            _(
                "Finding versions takes longer than %(seconds)s s here. The build has more time: deploy it and "
                "follow the log."
            )
            % {"seconds": CHECK_SECONDS}
        ) from None
    finally:
        _room.release()


def _wanted(request: StudioRequest) -> EnvironmentVersion | None:
    """The environment that the form describes; None while nothing is typed or chosen."""
    source = request.POST.get("environment_source") or request.POST.get("kind", "registered")
    if source in {"registered", "keep"}:
        reference = request.POST.get("environment_version", "")
        return catalog.resolve_environment(request.workspace, reference) if reference else None
    field = {"conda": "conda_file", "requirements": "requirements", "curated": "curated"}.get(
        source
    )
    text = request.POST.get(field, "").replace("\r\n", "\n") if field else ""
    return catalog.unsaved_environment(**{field: text}) if field and text.strip() else None
