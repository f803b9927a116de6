"""The page of one endpoint: its attributes and deployments, editing, deleting, monitoring."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import yaml
from django.conf import settings
from django.db.models import Count, Prefetch, Q
from django.http import HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_http_methods, require_safe

from deployments.models import Instance, OnlineDeployment, Operation
from endpoints.changes import delete_endpoint, update_endpoint
from endpoints.models import OnlineEndpoint
from monitoring.overview import RANGES, SPLITS
from monitoring.overview import monitoring_tab as charts_of
from portal.deployment_colors import slots_of
from portal.pages import done, go, is_swap, render_page, toast
from portal.studio import figures
from portal.studio.as_code import online
from portal.studio.as_code.forms import Forms
from portal.studio.as_code.place import Place
from portal.studio.code_part import asks_for_code, code_part, place_of, samples_of
from portal.studio.code_values import delete_samples, endpoint_of
from portal.studio.endpoint_frame import AUTH_LABELS, frame
from portal.studio.scope import StudioRequest, find_endpoint, studio_page
from portal.studio.traffic import CHANGED, page_of
from workspaces.errors import Conflict, UserError

ENDPOINT_SCHEMA = "https://azuremlschemas.azureedge.net/latest/managedOnlineEndpoint.schema.json"
DEFAULT_RANGE = "1h"
RANGE_LABELS = {
    "15m": gettext_lazy("Last 15 minutes"),
    "1h": gettext_lazy("Last hour"),
    "6h": gettext_lazy("Last 6 hours"),
    "24h": gettext_lazy("Last 24 hours"),
    "7d": gettext_lazy("Last 7 days"),
    "30d": gettext_lazy("Last 30 days"),
}
SPLIT_LABELS = {
    "status": gettext_lazy("Status"),
    "deployment": gettext_lazy("Deployment"),
    "instance": gettext_lazy("Instance"),
}
LONGEST_DESCRIPTION = 10_000


@dataclass(frozen=True)
class Card:
    """One deployment on the page of its endpoint."""

    deployment: OnlineDeployment
    ready: int
    live: int
    mirrored: int
    phase: str
    """The running phase of a busy deployment."""
    why_not_deletable: str
    figures: figures.Figures
    delete_samples: list[dict[str, str]]
    """The dialog that deletes it, as code."""

    @property
    def code_id(self) -> str:
        return f"delete-code-{self.name.lower()}"

    @property
    def name(self) -> str:
        return self.deployment.name

    @property
    def model(self) -> str:
        """Its name and version; of one that was never named, its file or folder."""
        version = self.deployment.revision.model_version if self.deployment.revision else None
        if version is None:
            return ""
        return version.leaf if version.model.is_anonymous else str(version)

    @property
    def environment(self) -> str:
        """Its name and version; in words where it was never named, as the deployment's page has them."""
        if self.deployment.revision is None:
            return ""
        version = self.deployment.revision.environment_version
        if version is None:
            return _("minimal")
        if version.environment.is_anonymous:
            return version.curated or version.image or _("packages of this deployment")
        return str(version)

    @property
    def busy_words(self) -> str:
        """The state with its running phase, such as `Creating: Load model`; empty when nothing runs."""
        return f"{self.deployment.state}: {self.phase}" if self.phase else ""

    @property
    def ready_words(self) -> str:
        counts = {"ready": self.ready, "wanted": self.deployment.instance_count}
        return _("%(ready)s of %(wanted)s ready") % counts

    @property
    def fewer(self) -> int:
        """The number of instances that the button for one less asks for; 0 if there is none to give up."""
        return self.deployment.instance_count - 1

    @property
    def more(self) -> int:
        return self.deployment.instance_count + 1


@studio_page("onlineEndpoints/read")
@require_safe
def details(request: StudioRequest, endpoint: str) -> HttpResponse:
    """`?format=yaml` is the endpoint as the CLI takes it."""
    found = find_endpoint(request, endpoint)
    if request.GET.get("format") == "yaml":
        return HttpResponse(
            yaml_of(found),
            content_type="application/yaml",
            headers={"Content-Disposition": f'attachment; filename="{found.name}.yml"'},
        )
    return _show(request, found)


@studio_page("onlineEndpoints/write")
@require_http_methods(["GET", "POST"])
def edit(request: StudioRequest, endpoint: str) -> HttpResponse:
    """Description and tags, based on the revision that the form was made from."""
    found = find_endpoint(request, endpoint)
    if request.method != "POST":
        return _edit_form(request, found, found.description, tags_text(found.tags))
    description = request.POST.get("description", "").replace("\r\n", "\n").strip()
    typed = request.POST.get("tags", "").replace("\r\n", "\n")
    revision = request.POST.get("revision", "")
    if asks_for_code(request):
        return code_part(request, _edit_code(request, found, description, typed))
    try:
        if len(description) > LONGEST_DESCRIPTION:
            raise UserError(
                _("The description has %(count)s characters. At most %(most)s are allowed.")
                % {"count": len(description), "most": LONGEST_DESCRIPTION},
                target="description",
            )
        update_endpoint(
            found,
            {"description": description, "tags": read_tags(typed)},
            by=request.user,
            based_on=int(revision) if revision.isdecimal() and len(revision) < 10 else 0,
        )
    except Conflict:
        fresh = find_endpoint(request, endpoint)
        return _edit_form(request, fresh, description, typed, is_conflict=True, status=409)
    except UserError as error:
        return _edit_form(request, found, description, typed, error=error, status=422)
    toast(request, _("Endpoint updated."))
    return done(request, refresh=CHANGED) if is_swap(request) else go(request, page_of(found))


@studio_page("onlineEndpoints/delete")
@require_http_methods(["GET", "POST"])
def delete(request: StudioRequest, endpoint: str) -> HttpResponse:
    """Names what goes; one that serves must be typed."""
    found = find_endpoint(request, endpoint)
    loss = loss_of(found)
    typed = request.POST.get("name", "")
    context: dict[str, Any] = {
        "endpoint": found,
        "loss": loss,
        "typed": typed,
        "code_samples": samples_of(
            request, online.delete(place_of(request), [endpoint_of(found)])
        ),
    }
    page, part = "endpoints/delete.html", "endpoints/_delete_form.html"
    if request.method != "POST":
        return render_page(request, page, part, context)
    if loss.must_be_typed and typed.strip().lower() != found.name.lower():
        context["error"] = _("Type the name “%(name)s” to delete it.") % {"name": found.name}
        return render_page(request, page, part, context, status=422)
    delete_endpoint(found, by=request.user)
    toast(request, _("Endpoint “%(name)s” is being deleted.") % {"name": found.name})
    return go(request, reverse("studio:endpoints", args=[request.workspace.name]))


@studio_page("onlineEndpoints/read")
@require_safe
def monitoring_tab(request: StudioRequest, endpoint: str) -> HttpResponse:
    """`?range=` and `?split=` choose what the charts show; `?refresh=on` keeps them new."""
    found = find_endpoint(request, endpoint)
    context = frame(request, found, "monitoring")
    range_ = request.GET.get("range", "")
    split = request.GET.get("split", "")
    range_ = range_ if range_ in RANGES else DEFAULT_RANGE
    split = split if split in SPLITS else SPLITS[0]
    drawn = charts_of(found, range_, split, slots=slots_of(context["deployment_names"]))
    context |= {
        "charts": drawn,
        # Of the other charts the title says it.
        "units": ("%", "ms", "bytes/s", settings.CURRENCY),
        "has_requests": any(chart.key == "requests" and not chart.is_empty for chart in drawn),
        "range": range_,
        "ranges": RANGE_LABELS.items(),
        "split": split,
        "splits": SPLIT_LABELS.items(),
        "is_refreshed": request.GET.get("refresh") == "on",
        "now": timezone.now(),
    }
    return render_page(request, "endpoints/monitoring.html", "endpoints/_monitoring.html", context)


@dataclass(frozen=True)
class Loss:
    """What goes with an endpoint."""

    deployments: int
    keys: int
    requests_last_day: int
    is_serving: bool

    @property
    def must_be_typed(self) -> bool:
        return self.is_serving or self.requests_last_day > 0

    @property
    def words(self) -> str:
        """`2 deployments, 2 keys, the URL answers 401`."""
        parts = [
            ngettext("%(n)s deployment", "%(n)s deployments", self.deployments)
            % {"n": self.deployments},
            ngettext("%(n)s key", "%(n)s keys", self.keys) % {"n": self.keys} if self.keys else "",
            _("the URL stops answering"),
        ]
        return ", ".join(part for part in parts if part)


def loss_of(endpoint: OnlineEndpoint) -> Loss:
    uses_keys = endpoint.auth_mode == OnlineEndpoint.AuthMode.KEY
    return Loss(
        deployments=endpoint.deployments.count(),
        keys=2 if uses_keys else 0,
        requests_last_day=figures.requests_last_day(endpoint),
        is_serving=bool(endpoint.traffic),
    )


def yaml_of(endpoint: OnlineEndpoint) -> str:
    """The endpoint in Azure's YAML, ready for `portico ml online-endpoint create -f`."""
    fields: dict[str, Any] = {
        "$schema": ENDPOINT_SCHEMA,
        "name": endpoint.name,
        "description": endpoint.description,
        "auth_mode": endpoint.auth_mode,
        "tags": endpoint.tags,
        "properties": endpoint.properties,
        "traffic": endpoint.traffic,
        "mirror_traffic": endpoint.mirror_traffic,
    }
    given = {name: value for name, value in fields.items() if value}
    return yaml.safe_dump(given, sort_keys=False, allow_unicode=True)


def tags_text(tags: dict[str, str]) -> str:
    """Tags for a form: `name: value`, one on each line."""
    return "\n".join(f"{name}: {value}" for name, value in tags.items())


def read_tags(text: str) -> dict[str, str]:
    """The tags in a form; `UserError` names the line that is none."""
    tags: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not line.strip():
            continue
        if not colon or not name:
            raise UserError(
                _("Line %(number)s is “%(line)s”. Write one tag on each line, as name: value.")
                % {"number": number, "line": line.strip()[:60]},
                target="tags",
            )
        if name in tags:
            raise UserError(
                _("The tag “%(name)s” stands twice. Keep one of them.") % {"name": name},
                target="tags",
            )
        tags[name] = value
    return tags


def _show(request: StudioRequest, endpoint: OnlineEndpoint) -> HttpResponse:
    context = frame(request, endpoint, "details")
    cards = cards_of(endpoint, place_of(request))
    context |= {
        "cards": cards,
        "colors": slots_of([card.name for card in cards]),
        "auth_label": AUTH_LABELS[OnlineEndpoint.AuthMode(endpoint.auth_mode)],
        "is_later": is_swap(request),
    }
    return render_page(request, "endpoints/detail.html", "endpoints/_detail.html", context)


def cards_of(endpoint: OnlineEndpoint, place: Place) -> list[Card]:
    """One card for each deployment, in order of creation; the number of queries does not grow with them."""
    running = Operation.objects.filter(state=Operation.State.RUNNING).prefetch_related("phases")
    rows = (
        endpoint.deployments.annotate(
            ready=Count("instances", filter=Q(instances__state=Instance.State.HEALTHY))
        )
        .select_related(
            "revision__model_version__model",
            "revision__code_version__code",
            "revision__environment_version__environment",
            "revision__instance_type",
        )
        .prefetch_related(Prefetch("operations", queryset=running, to_attr="running"))
        .order_by("created_at", "pk")
    )
    known = figures.of_deployments(endpoint)
    cards = []
    row: Any  # with the annotations `ready` and `running`
    for row in rows:
        row.endpoint = endpoint
        phases = [phase.name for operation in row.running for phase in operation.phases.all()]
        live = row.live_percent
        cards.append(
            Card(
                deployment=row,
                ready=row.ready,
                live=live,
                mirrored=row.mirrored_percent,
                phase=phases[-1] if phases else "",
                why_not_deletable=_("Set its traffic to 0 % first.") if live else "",
                figures=known.get(row.name, figures.NONE),
                delete_samples=[] if live else delete_samples(place, row),
            )
        )
    return cards


def _edit_code(
    request: StudioRequest, endpoint: OnlineEndpoint, description: str, tags: str
) -> Forms:
    """With the tags of before while those in the form cannot be read."""
    try:
        wanted = read_tags(tags)
    except UserError:
        wanted = endpoint.tags
    values = replace(endpoint_of(endpoint), description=description, tags=wanted)
    return online.edit(place_of(request), values)


def _edit_form(
    request: StudioRequest,
    endpoint: OnlineEndpoint,
    description: str,
    tags: str,
    *,
    is_conflict: bool = False,
    error: UserError | None = None,
    status: int = 200,
) -> HttpResponse:
    context = {
        "endpoint": endpoint,
        "description": description,
        "tags": tags,
        "their_tags": tags_text(endpoint.tags),
        "is_conflict": is_conflict,
        "error": error,
        "code_samples": samples_of(request, _edit_code(request, endpoint, description, tags)),
        "code_url": request.path,
    }
    return render_page(
        request, "endpoints/edit.html", "endpoints/_edit_form.html", context, status=status
    )
