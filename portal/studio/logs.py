"""The tab “Logs”: history from the server, new lines over the WebSocket, everything as a file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlencode

from django.http import Http404, HttpResponse
from django.urls import reverse
from django.utils.text import get_valid_filename
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_safe

from deployments.models import OnlineDeployment
from monitoring.filters import LEVELS
from monitoring.logs import (
    BUILD,
    CONSOLE,
    EVENTS,
    MOST_LINES,
    STORAGE_INITIALIZER,
    Line,
    Page,
    tail,
)
from portal.pages import render_page
from portal.studio.endpoint_frame import frame
from portal.studio.scope import StudioRequest, find_endpoint, studio_page
from workspaces.errors import UserError

READ = "onlineEndpoints/deployments/getLogs/action"
LINES = 500
MOST_DOWNLOADED_LINES = 100_000
SOURCES = (
    (CONSOLE, gettext_lazy("Inference server")),
    (STORAGE_INITIALIZER, gettext_lazy("Storage initializer")),
    (BUILD, gettext_lazy("Environment build")),
    (EVENTS, gettext_lazy("Events")),
)


@dataclass(frozen=True)
class Wanted:
    """The filter in the address; empty fields let every line pass."""

    source: str
    instance: str
    level: str
    text: str

    def query(self, **others: str) -> str:
        """The same filter as a query string."""
        fields = {
            "source": self.source,
            "instance": self.instance,
            "level": self.level,
            "q": self.text,
        }
        return urlencode({name: value for name, value in {**fields, **others}.items() if value})


@studio_page(READ)
@require_safe
def logs_tab(request: StudioRequest, endpoint: str) -> HttpResponse:
    """`?deployment= source= instance= level= q=` filter; `before=<cursor>` goes back."""
    found = find_endpoint(request, endpoint)
    context = frame(request, found, "logs")
    deployments = list(found.deployments.order_by("created_at", "pk"))
    deployment = _chosen(request, deployments)
    wanted = read_wanted(request)
    context |= {
        "deployments": deployments,
        "deployment": deployment,
        "sources": SOURCES,
        "levels": LEVELS,
        "wanted": wanted,
    }
    if deployment is None:
        return render_page(request, "endpoints/logs.html", "endpoints/_logs.html", context)
    query = wanted.query(deployment=deployment.name)
    address = [request.workspace.name, found.name]
    context |= {
        "instances": list(deployment.instances.values_list("name", flat=True)),
        "query": query,
        "download_url": f"{reverse('studio:download_logs', args=address)}?{query}",
    }
    status = 200
    try:
        before = _cursor(request.GET.get("before", ""))
        page = _page(deployment, wanted, before=before)
        is_followed = wanted.source == CONSOLE and before is None
        context |= {
            "page": page,
            "first": message_of(page),
            "reason": why_silent(deployment, wanted),
            "socket_url": _socket_url(request, deployment, wanted) if is_followed else "",
        }
    except UserError as error:
        context |= {"page": None, "error": error}
        status = 422
    return render_page(
        request, "endpoints/logs.html", "endpoints/_logs.html", context, status=status
    )


@studio_page(READ)
@require_safe
def download(request: StudioRequest, endpoint: str) -> HttpResponse:
    """The filtered log as a text file: the newest hundred thousand lines at most."""
    found = find_endpoint(request, endpoint)
    deployment = _chosen(request, list(found.deployments.order_by("created_at", "pk")))
    if deployment is None:
        raise Http404(f"Endpoint '{found.name}' has no deployment, so it has no log.")
    wanted = read_wanted(request)
    text = "".join(f"{written(line)}\n" for line in _all_lines(deployment, wanted))
    name = get_valid_filename(f"{found.name}-{deployment.name}-{wanted.source}.log")
    return HttpResponse(
        text,
        content_type="text/plain; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def read_wanted(request: StudioRequest) -> Wanted:
    fields = request.GET
    known = [source for source, _label in SOURCES]
    source = fields.get("source", CONSOLE)
    return Wanted(
        source=source if source in known else CONSOLE,
        instance=fields.get("instance", ""),
        level=fields.get("level", ""),
        text=fields.get("q", ""),
    )


def message_of(page: Page) -> dict[str, Any]:
    """The history in the form of the WebSocket's messages, for `<c-log>`."""
    return {"cursor": page.cursor, "lines": [asdict(line) for line in page.lines]}


def written(line: Line) -> str:
    """A line of the file: time, instance, text; a continued one is only its text."""
    if line.continues:
        return line.text
    return " ".join(
        filter(None, (line.time.isoformat(timespec="milliseconds"), line.instance, line.text))
    )


def why_silent(deployment: OnlineDeployment, wanted: Wanted) -> str:
    """Why there is no line to show: never just “no logs”."""
    if wanted.instance or wanted.level or wanted.text:
        return _("No line matches this filter.")
    if deployment.failure:
        return str(deployment.failure.get("cause", ""))
    if deployment.is_busy:
        operation = deployment.current_operation()
        phase = operation.phases.last() if operation else None
        name = phase.name if phase else deployment.state
        return _("Nothing is written yet: “%(phase)s” is running.") % {"phase": name}
    if wanted.source != CONSOLE:
        return _("This part of the last operations wrote nothing.")
    return _("The scoring script has printed nothing since the deployment was created.")


def _chosen(
    request: StudioRequest, deployments: list[OnlineDeployment]
) -> OnlineDeployment | None:
    """The one of the address; else a failed one, which is what people look for; else the first."""
    name = request.GET.get("deployment", "")
    if name:
        for deployment in deployments:
            if deployment.name.lower() == name.lower():
                return deployment
        raise Http404(f"There is no deployment '{name}' here.")
    failed = [item for item in deployments if item.failure]
    return next(iter(failed or deployments), None)


def _socket_url(request: StudioRequest, deployment: OnlineDeployment, wanted: Wanted) -> str:
    """Where new lines come from; `monitoring.consumers` reads the same filter."""
    fields = {"instance": wanted.instance, "level": wanted.level, "text": wanted.text}
    query = urlencode({name: value for name, value in fields.items() if value})
    names = [request.workspace.name, deployment.endpoint.name, deployment.name]
    path = f"/ws{reverse('studio:deployment', args=names)}/logs"
    return f"{path}?{query}" if query else path


def _page(
    deployment: OnlineDeployment, wanted: Wanted, *, before: int | None, lines: int = LINES
) -> Page:
    return tail(
        deployment,
        lines=lines,
        instance=wanted.instance,
        source=wanted.source,
        level=wanted.level,
        text=wanted.text,
        before=before,
    )


def _all_lines(deployment: OnlineDeployment, wanted: Wanted) -> list[Line]:
    """Oldest first; read backwards, so that the newest are those that are kept."""
    pages: list[list[Line]] = []
    count, before = 0, None
    while count < MOST_DOWNLOADED_LINES:
        page = _page(deployment, wanted, before=before, lines=MOST_LINES)
        pages.append(page.lines)
        count += len(page.lines)
        if not page.has_more or not page.oldest:
            break
        before = page.oldest
    return [line for lines in reversed(pages) for line in lines]


def _cursor(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 19 else None
