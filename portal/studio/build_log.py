"""The tab “Build log” of a deployment: what its builds of environments wrote, live while one runs, and as a file."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpResponse
from django.urls import reverse
from django.utils.text import get_valid_filename
from django.views.decorators.http import require_safe

from deployments.models import OnlineDeployment, Phase
from deployments.phases import builds_of
from portal.studio.fixes import fix_links
from portal.studio.logs import READ
from portal.studio.scope import StudioRequest, find_deployment, studio_page

MOST_BUILDS = 20
LINES = 2000


def build_log(request: StudioRequest, deployment: OnlineDeployment) -> dict[str, Any]:
    """For the tab: the builds, newest first, and the log of the one that `?build=` names; else of the newest."""
    builds = list(builds_of(deployment).defer("log")[:MOST_BUILDS])
    shown = _chosen(request, deployment)
    if shown is None:
        return {"builds": builds, "build": None}
    lines = shown.log.splitlines()
    names = [request.workspace.name, deployment.endpoint.name, deployment.name]
    failure = shown.operation.failure if shown.state == Phase.State.FAILED else {}
    is_last = failure and failure == deployment.failure
    return {
        "builds": builds,
        "build": shown,
        "log": "\n".join(lines[-LINES:]),
        "is_cut": len(lines) > LINES,
        "failure": failure,
        "fixes": fix_links(deployment, failure) if is_last else [],
        "download_url": f"{reverse('studio:download_build_log', args=names)}?build={shown.pk}",
    }


@studio_page(READ)
@require_safe
def download(request: StudioRequest, endpoint: str, deployment: str) -> HttpResponse:
    """The whole log of one build."""
    found = find_deployment(request, endpoint, deployment)
    shown = _chosen(request, found)
    if shown is None:
        raise Http404(f"Deployment '{found.name}' has no such build.")
    number = shown.operation.revision_number
    name = get_valid_filename(f"{found.endpoint.name}-{found.name}-revision-{number}-build.log")
    return HttpResponse(
        shown.log,
        content_type="text/plain; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _chosen(request: StudioRequest, deployment: OnlineDeployment) -> Phase | None:
    rows = builds_of(deployment)
    number = request.GET.get("build", "")
    if number.isascii() and number.isdecimal() and len(number) < 19:
        return rows.filter(pk=int(number)).first()
    return rows.first()
