"""The Docker engines and the images on them: part of the page Compute, and the warning of the overview."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST, require_safe

from deployments.engine_surveys import survey_compute, survey_engines
from deployments.engines import runtime_name
from deployments.image_surveys import survey_images
from deployments.tidying import remove_unused_images
from portal.pages import go, render_page, toast
from portal.studio.instances import short_image
from portal.studio.scope import StudioRequest, studio_page
from workspaces import access
from workspaces.errors import UserError


@studio_page("computes/read")
@require_safe
def engine_list(request: StudioRequest) -> HttpResponse:
    """All engines, and the images; the page Compute fetches it, since an engine may be slow or away."""
    has_engines = runtime_name() == "docker"
    engines = survey_engines() if has_engines else []
    # The first one builds. Away, it is not asked twice.
    has_images = bool(engines) and not engines[0].away
    context: dict[str, Any] = {
        "workspace": request.workspace,
        "has_engines": has_engines,
        "engines": engines,
        "takes_everything": not settings.DOCKER_ENGINES,
        "has_images": has_images,
    }
    if has_images:
        context |= _images(request)
    page, part = "workspaces/engines.html", "workspaces/_engines.html"
    return render_page(request, page, part, context)


@studio_page("read")
@require_safe
def away(request: StudioRequest) -> HttpResponse:
    """A warning for each engine that does not answer; empty when all do."""
    engines = survey_engines() if runtime_name() == "docker" else []
    for compute in request.workspace.computes.filter(engines__isnull=False).distinct():
        # Addresses are for administrators, and what is said of a silent one has them in it.
        sees_all = access.reaches_all(request.user)
        for each in survey_compute(compute):
            name, url = f"{compute} / {each.spec.name}", each.spec.url if sees_all else ""
            engines.append(replace(each.survey, name=name, url=url))
    silent = [engine for engine in engines if engine.away]
    return render(request, "workspaces/_engines_away.html", {"engines": silent})


@studio_page("quotas/write")
@require_POST
def remove_images(request: StudioRequest) -> HttpResponse:
    """Administrators of the installation only: images are every workspace's."""
    count = len(remove_unused_images(by=request.user))
    words = ngettext("%(count)s unused image is gone.", "%(count)s unused images are gone.", count)
    toast(request, words % {"count": count} if count else _("No image was unused."))
    return go(request, reverse("studio:compute", args=[request.workspace.name]))


def _images(request: StudioRequest) -> dict[str, Any]:
    """Totals for everybody; of other workspaces' images only administrators see more."""
    try:
        found = survey_images(request.workspace)
    except UserError as error:
        return {"images_error": error.message}
    sees_all = access.reaches_all(request.user)
    return {
        "image_count": len(found),
        "image_bytes": sum(image.size_bytes for image in found),
        "unused_count": sum(not image.is_used for image in found),
        "images": [
            (image, short_image(image.reference)) for image in found if sees_all or image.made_for
        ],
        "may_remove": sees_all,
    }
