"""Builds of registered environments: begun on the page of the environment, each with a page that follows its log."""

from __future__ import annotations

from django.http import Http404, HttpResponse
from django.urls import reverse
from django.utils.text import get_valid_filename
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import HTMX_STOP_POLLING

from deployments.environment_builds import cancel_build, start_build
from deployments.fixes import fixes_of, in_words
from deployments.models import EnvironmentBuild
from portal.pages import go, is_swap, render_page, toast
from portal.studio.catalog_pages import find_asset, shown_version
from portal.studio.instances import short_image
from portal.studio.scope import StudioRequest, studio_page
from workspaces import access
from workspaces.errors import UserError
from workspaces.models import Environment

READ_LOG = "environments/versions/getLogs/action"
LINES = 2000


@studio_page("environments/versions/write")
@require_POST
def build_environment(request: StudioRequest, name: str) -> HttpResponse:
    """Build the version of the form's field `version`, and follow it on its page."""
    found = find_asset(request, Environment, name)
    wanted = request.POST.get("version", "")
    version = shown_version(list(found.versions.all()), wanted)
    if version is None or version.version != wanted:
        raise Http404(f"Environment '{name}' has no version '{wanted}'.")
    version.environment = found
    return go(request, _url_of(request, start_build(version, by=request.user)))


@studio_page(READ_LOG)
def build(request: StudioRequest, name: str, build: int) -> HttpResponse:
    """How far it is, and its log; asks again while it is under way."""
    found = _find(request, name, build)
    lines = found.log.splitlines()
    context = {
        "workspace": request.workspace,
        "environment": found.environment_version.environment,
        "version": found.environment_version,
        "build": found,
        "image": short_image(found.image),
        "log": "\n".join(lines[-LINES:]),
        "fixes": [in_words(fix, None) for fix in fixes_of(found.failure, None)],
        "is_cut": len(lines) > LINES,
        "may_write": access.role_may(request.role, "environments/versions/write"),
    }
    status = HTMX_STOP_POLLING if is_swap(request) and not found.is_busy else 200
    page, part = "workspaces/environment_build.html", "workspaces/_environment_build.html"
    return render_page(request, page, part, context, status=status)


@studio_page("environments/versions/write")
@require_POST
def cancel(request: StudioRequest, name: str, build: int) -> HttpResponse:
    found = _find(request, name, build)
    try:
        cancel_build(found, by=request.user)
    except UserError as error:
        toast(request, error.message, level="error")
    else:
        toast(request, _("Canceling the build."))
    return go(request, _url_of(request, found))


@studio_page(READ_LOG)
@require_safe
def download(request: StudioRequest, name: str, build: int) -> HttpResponse:
    found = _find(request, name, build)
    version = found.environment_version
    file_name = get_valid_filename(f"{name}-{version.version}-build-{found.pk}.log")
    return HttpResponse(
        found.log,
        content_type="text/plain; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{file_name}"'},
    )


def _find(request: StudioRequest, name: str, number: int) -> EnvironmentBuild:
    rows = EnvironmentBuild.objects.filter(
        environment_version__environment__workspace=request.workspace,
        environment_version__environment__name=name,
    ).select_related("environment_version__environment__workspace", "created_by")
    found = rows.filter(pk=number).first()
    if found is None:
        raise Http404(f"Environment '{name}' has no build {number}.")
    return found


def _url_of(request: StudioRequest, build: EnvironmentBuild) -> str:
    name = build.environment_version.environment.name
    return reverse("studio:environment_build", args=[request.workspace.name, name, build.pk])
