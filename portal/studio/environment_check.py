"""Looking at an environment before anything is built, in the dialogs and on the page of an environment."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST

from deployments import environment_checks
from deployments.environments.failures import BuildFailed
from portal.studio.scope import StudioRequest, studio_page
from workspaces import catalog
from workspaces.errors import UserError
from workspaces.models import EnvironmentVersion


@studio_page("environments/versions/write")
@require_POST
def check_environment(request: StudioRequest) -> HttpResponse:
    """The packages of what is typed or chosen; with `resolve`, their versions. Nothing is registered or built."""
    context: dict[str, Any] = {"workspace": request.workspace, "is_checked": True}
    status = 200
    try:
        wanted = _wanted(request)
        is_image = request.POST.get("environment_source") == "image"
        if wanted is None:
            told = {"is_checked": True, "brings_packages": True} if is_image else {}
            return render(request, "workspaces/_environment_check.html", told)
        checked = environment_checks.check_environment(wanted)
        context |= {
            "translation": checked.translation,
            # What is built is known of a folder of this machine, not of packages on top of an image.
            "is_built": checked.is_built and not is_image,
            "is_on_image": is_image,
            "brings_packages": checked.translation is None,
        }
        if request.POST.get("resolve"):
            context["lock"] = environment_checks.check_environment(wanted, resolves=True).lock
    except BuildFailed as error:
        context |= {"problem": error.message, "evidence": error.failure.evidence}
        status = 422
    except UserError as error:
        context["problem"] = error.message
        status = 422
    return render(request, "workspaces/_environment_check.html", context, status=status)


def _wanted(request: StudioRequest) -> EnvironmentVersion | None:
    """The environment that the form describes; None while nothing is typed or chosen."""
    source = request.POST.get("environment_source") or request.POST.get("kind", "registered")
    if source in {"registered", "keep"}:
        reference = request.POST.get("environment_version", "")
        return catalog.resolve_environment(request.workspace, reference) if reference else None
    if source == "image":
        # Its packages on top; the image itself is not looked into.
        text = request.POST.get("image_conda_file", "").replace("\r\n", "\n")
        return catalog.unsaved_environment(conda_file=text) if text.strip() else None
    field = {"conda": "conda_file", "requirements": "requirements", "curated": "curated"}.get(
        source
    )
    text = request.POST.get(field, "").replace("\r\n", "\n") if field else ""
    return catalog.unsaved_environment(**{field: text}) if field and text.strip() else None
