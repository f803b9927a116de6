"""The first page of a workspace: how its endpoints do, what needs attention, and what to do first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import reduce
from itertools import islice
from operator import or_
from typing import Any

from django.db.models import Q, QuerySet
from django.http import HttpResponse, JsonResponse
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST, require_safe

from deployments.computes import runs_containers
from deployments.models import DeploymentState, OnlineDeployment, SampleLoad
from deployments.samples import load_samples as want_samples
from endpoints.models import OnlineEndpoint
from portal.pages import go, render_page, toast
from portal.studio import figures
from portal.studio.activity import described, told
from portal.studio.endpoint_frame import TABS, Rights, rights_of
from portal.studio.endpoint_list import HEALTH_LABELS, Row, rows_of
from portal.studio.health import DEGRADED, DELETING, EMPTY, FAILING_PERCENT, UNHEALTHY
from portal.studio.scope import StudioRequest, studio_page
from workspaces.models import Workspace

RECENT = 8
MOST_ATTENTION = 20
MOST_PALETTE = 12


@dataclass(frozen=True)
class Attention:
    """One thing that somebody should look at."""

    state: str
    subject: str
    url: str
    text: str
    action: str
    action_url: str


@dataclass(frozen=True)
class Step:
    """One line of the checklist of a new workspace."""

    text: str | Promise
    help: str | Promise
    url: str
    is_done: bool


@dataclass(frozen=True)
class Entry:
    """One line of the command palette (`static/js/palette.js`)."""

    label: str
    hint: str
    icon: str
    url: str


@studio_page("read")
@require_safe
def overview(request: StudioRequest) -> HttpResponse:
    workspace = request.workspace
    rows = rows_of(workspace.online_endpoints.all())
    can = rights_of(request.role)
    load = SampleLoad.objects.filter(workspace=workspace).first()
    steps = _steps(workspace, rows)
    totals = figures.of_workspace(workspace)
    is_loading = load is not None and load.state in {
        SampleLoad.State.WANTED,
        SampleLoad.State.DEPLOYING,
    }
    context: dict[str, Any] = {
        "can": can,
        "health": health_counts(rows),
        "endpoint_count": len(rows),
        "totals": totals,
        "is_failing": any(row.failed_percent >= FAILING_PERCENT for row in rows),
        "attention": list(islice(attention(workspace, rows), MOST_ATTENTION)),
        "activities": told(described(workspace.activities.all())[:RECENT], workspace),
        "load": load,
        "is_loading": is_loading,
        "has_engines": runs_containers(request.workspace),
        "steps": steps,
        "is_new": not all(step.is_done for step in steps),
        "is_busy": is_loading or any(row.is_busy for row in rows),
    }
    return render_page(request, "endpoints/overview.html", "endpoints/_overview.html", context)


@studio_page("onlineEndpoints/write")
@require_POST
def load_samples(request: StudioRequest) -> HttpResponse:
    """Want the sample endpoint; the page then follows how far it is."""
    want_samples(request.workspace, by=request.user)
    toast(request, _("Loading the sample endpoint. Usually 30 s."))
    return go(request, reverse("studio:overview", args=[request.workspace.name]))


@studio_page("read")
@require_safe
def palette(request: StudioRequest) -> HttpResponse:
    """The lines of the command palette that match `?q=`."""
    words = request.GET.get("q", "").strip().lower().split()
    entries = [
        entry
        for entry in palette_entries(request.workspace, rights_of(request.role), words)
        if all(word in f"{entry.label} {entry.hint}".lower() for word in words)
    ]
    return JsonResponse({"items": [asdict(entry) for entry in entries[:MOST_PALETTE]]})


def health_counts(rows: list[Row]) -> list[tuple[str, str | Promise, int]]:
    """Health, its label, and how many endpoints have it; without those that no endpoint has."""
    words = [row.health.word for row in rows]
    return [
        (word, label, words.count(word)) for word, label in HEALTH_LABELS.items() if word in words
    ]


def attention(workspace: Workspace, rows: list[Row]) -> Iterator[Attention]:
    """Failed deployments first, then endpoints that do not answer well, then those without traffic."""
    failed = (
        OnlineDeployment.objects.filter(
            endpoint__workspace=workspace, state=DeploymentState.FAILED
        )
        .select_related("endpoint")
        .order_by("-state_changed_at")
    )
    for deployment in failed[:MOST_ATTENTION]:
        address = [workspace.name, deployment.endpoint.name, deployment.name]
        url = reverse("studio:deployment", args=address)
        cause = str(deployment.failure.get("cause", "")) or _("The operation failed.")
        subject = f"{deployment.endpoint.name} / {deployment.name}"
        yield Attention("Failed", subject, url, cause, _("See why"), url)
    for row in sorted(rows, key=lambda row: (row.rank, row.sort_name)):
        found = _attention_to(workspace, row)
        if found is not None:
            yield found


def _attention_to(workspace: Workspace, row: Row) -> Attention | None:
    """What an endpoint itself needs; None if nothing, or if its failed deployment says it all."""
    address = [workspace.name, row.name]
    if row.health.word in (UNHEALTHY, DEGRADED) and not _is_told(row):
        state, text, action, way = row.health.word, row.health.detail, _("View logs"), "logs"
    elif row.deployments and not row.traffic and not row.is_busy:
        text = _("No deployment has traffic: requests get 404.")
        state, action, way = "NoTraffic", _("Update traffic"), "traffic"
    elif row.health.word == EMPTY:
        text = _("It has no deployment yet: requests get 404.")
        state, action, way = EMPTY, _("Add deployment"), "create_deployment"
    else:
        return None
    url = reverse("studio:endpoint", args=address)
    return Attention(state, row.name, url, text, action, reverse(f"studio:{way}", args=address))


def palette_entries(workspace: Workspace, can: Rights, words: list[str]) -> list[Entry]:
    """Everything the palette knows, endpoints only those whose name has one of the words."""
    entries = [
        Entry(str(label), _("Page"), icon, reverse(url, args=[workspace.name]))
        for label, icon, url in PAGES
    ]
    if can.write:
        create = reverse("studio:create_endpoint", args=[workspace.name])
        entries.append(Entry(_("Create endpoint"), _("Action"), "plus", create))
    for name, traffic in _matching(workspace.online_endpoints.all(), words):
        address = [workspace.name, name]
        entries.append(
            Entry(name, _("Endpoint"), "plug-connected", reverse("studio:endpoint", args=address))
        )
        if not words:
            continue
        entries += [
            Entry(f"{name}: {label}", _("Page"), "arrow-right", reverse(url, args=address))
            for tab, label, url in TABS
            if tab != "details"
        ]
        if can.write:
            update = reverse("studio:traffic", args=address)
            entries.append(
                Entry(_("%(name)s: Update traffic") % {"name": name}, _("Action"), "route", update)
            )
            entries += [
                Entry(
                    _("%(name)s: Send all traffic to %(deployment)s")
                    % {"name": name, "deployment": deployment},
                    _("Action"),
                    "route",
                    f"{update}?traffic-{deployment}=100",
                )
                for deployment in traffic
            ]
    return entries


PAGES: tuple[tuple[str | Promise, str, str], ...] = (
    (gettext_lazy("Overview"), "home", "studio:overview"),
    (gettext_lazy("Endpoints"), "plug-connected", "studio:endpoints"),
    (gettext_lazy("Models"), "cube", "studio:models"),
    (gettext_lazy("Environments"), "stack-2", "studio:environments"),
    (gettext_lazy("Compute"), "cpu", "studio:compute"),
    (gettext_lazy("Activity"), "activity", "studio:activity"),
    (gettext_lazy("Members"), "users", "studio:members"),
    (gettext_lazy("Account"), "user", "studio:account"),
)


def _matching(
    endpoints: QuerySet[OnlineEndpoint], words: list[str]
) -> list[tuple[str, list[str]]]:
    """Endpoints and the deployments of each, few enough for the palette."""
    named = reduce(or_, (Q(name__icontains=word) for word in words), Q())
    endpoints = endpoints.filter(named)
    found = endpoints.prefetch_related("deployments").order_by("name")[:MOST_PALETTE]
    return [
        (endpoint.name, [deployment.name for deployment in endpoint.deployments.all()])
        for endpoint in found
    ]


def _is_told(row: Row) -> bool:
    """Whether a failed deployment's own line says all there is to say."""
    failed = any(item.state == DeploymentState.FAILED for item in row.deployments)
    return row.health.word == DEGRADED and failed and row.failed_percent < FAILING_PERCENT


def _steps(workspace: Workspace, rows: list[Row]) -> list[Step]:
    """The way from an empty workspace to a model that serves."""
    shown = [row for row in rows if row.health.word != DELETING]
    newest = max(shown, key=lambda row: row.created_at, default=None)
    verbs = set(
        workspace.activities.filter(verb__in=["list keys"]).values_list("verb", flat=True)[:1]
    )
    has_traffic = any(row.traffic for row in shown)

    def at(name: str) -> str:
        if newest is None:
            return reverse("studio:endpoints", args=[workspace.name])
        return reverse(name, args=[workspace.name, newest.name])

    return [
        Step(
            gettext_lazy("Register a model"),
            gettext_lazy("Upload a file or a folder; it gets a version."),
            reverse("studio:register_model", args=[workspace.name]),
            workspace.models.exists(),
        ),
        Step(
            gettext_lazy("Deploy it"),
            gettext_lazy("An endpoint gives it a stable URL."),
            reverse("studio:create_endpoint", args=[workspace.name]),
            any(row.deployments for row in shown),
        ),
        Step(
            gettext_lazy("Send traffic to it"),
            gettext_lazy("A new deployment serves nobody until you say so."),
            at("studio:traffic"),
            has_traffic,
        ),
        Step(
            gettext_lazy("Consume it"),
            gettext_lazy("Get the key, and code that runs."),
            at("studio:consume"),
            bool(verbs),
        ),
    ]
