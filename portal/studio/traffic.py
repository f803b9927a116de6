"""The dialog “Update traffic”: live split, mirrored traffic, conflicts and undo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.http import HttpResponse, QueryDict
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from deployments.models import DeploymentState, OnlineDeployment, Operation, Phase
from endpoints.models import OnlineEndpoint
from endpoints.traffic import MIRROR_MAXIMUM, describe, set_both
from portal.deployment_colors import slots_of
from portal.pages import done, go, is_swap, render_page, toast
from portal.studio.as_code import online
from portal.studio.as_code.forms import Forms
from portal.studio.code_part import asks_for_code, code_part, place_of, samples_of
from portal.studio.code_values import endpoint_of
from portal.studio.scope import StudioRequest, find_endpoint, studio_page
from workspaces.errors import Conflict, UserError

PREFIX = "traffic-"
DEFAULT_MIRROR_PERCENT = 10
LONGEST_NOTE = 500
CHANGED = "endpoint-changed"
"""Client event after which the parts of the endpoint's pages ask again."""

Percents = dict[str, int | str]
"""Deployment → percent; a text is what somebody typed that is no whole number, for the verb to refuse."""


@dataclass(frozen=True)
class Wish:
    """What a form asks for."""

    traffic: Percents
    mirror: Percents
    revision: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Preset:
    label: str
    split: dict[str, int]
    query: str
    """The split as the query of this page, for those without scripts."""


@dataclass
class Row:
    """One deployment in the dialog."""

    name: str
    percent: int | str
    blocked: str = ""
    """Why it cannot get traffic now."""
    mirrored: int | str = 0


@dataclass
class Problem:
    """What kept a wish from becoming true: `both` holds two splits when somebody else was faster."""

    text: str
    target: str = ""
    both: dict[str, str] = field(default_factory=dict)


@studio_page("onlineEndpoints/write")
@require_http_methods(["GET", "POST"])
def dialog(request: StudioRequest, endpoint: str) -> HttpResponse:
    """The page and dialog with the sliders; POST applies them."""
    found = find_endpoint(request, endpoint)
    if request.method != "POST":
        return _show(request, found, proposed_wish(found, request.GET))
    # The button “Undo” of a toast posts to an address that carries the whole wish.
    fields = request.POST if _has_split(request.POST) else request.GET
    wish = read_wish(fields)
    if asks_for_code(request):
        return code_part(request, _code(request, found, wish))
    before = current_wish(found)
    try:
        changed = set_both(
            found,
            wish.traffic,
            wish.mirror,
            by=request.user,
            based_on=wish.revision if wish.revision is not None else 0,
            note=wish.note,
        )
    except Conflict as error:
        if error.code != "TrafficChanged":
            return _show(request, found, wish, Problem(error.message, error.target))
        fresh = find_endpoint(request, endpoint)
        both = {"theirs": _words(current_wish(fresh)), "mine": _words(wish)}
        return _show(request, fresh, wish, Problem(error.message, both=both))
    except UserError as error:
        return _show(request, found, wish, Problem(error.message, error.target))
    if changed.revision != before.revision:
        _tell(request, changed, before)
    return done(request, refresh=CHANGED) if is_swap(request) else go(request, page_of(found))


def read_wish(fields: QueryDict) -> Wish:
    """The wish in a form or query; whatever is missing counts as nothing."""
    traffic = {
        name.removeprefix(PREFIX): _whole(str(value))
        for name, value in fields.items()
        if name.startswith(PREFIX)
    }
    mirror: Percents = {}
    target = str(fields.get("mirror_deployment", ""))
    if fields.get("mirror"):
        mirror[target] = _whole(str(fields.get("mirror_percent", "")))
    revision = _whole(str(fields.get("revision", "")))
    return Wish(
        traffic,
        mirror,
        revision if isinstance(revision, int) else None,
        str(fields.get("note", "")).strip()[:LONGEST_NOTE],
    )


def proposed_wish(endpoint: OnlineEndpoint, query: QueryDict) -> Wish:
    """What the form begins with: the split in the address, or what holds now."""
    if not _has_split(query):
        return current_wish(endpoint)
    asked = read_wish(query)
    kept: Percents = {
        name: percent
        for name, percent in endpoint.mirror_traffic.items()
        if not asked.traffic.get(name)
    }
    return replace(asked, mirror=asked.mirror or kept, revision=endpoint.revision)


def query_of(wish: Wish) -> str:
    """The wish as a query string that `read_wish` reads back."""
    query = QueryDict(mutable=True)
    for name, percent in wish.traffic.items():
        query[f"{PREFIX}{name}"] = str(percent)
    for name, percent in wish.mirror.items():
        query.update({"mirror": "on", "mirror_deployment": name, "mirror_percent": str(percent)})
    if wish.revision is not None:
        query["revision"] = str(wish.revision)
    if wish.note:
        query["note"] = wish.note
    return query.urlencode()


def presets(
    names: Sequence[str], live: Mapping[str, int], ready: Sequence[str]
) -> list[tuple[str, dict[str, int]]]:
    """Splits worth a button: between the deployment that serves most and the newest other one that is ready.

    `names` are in order of creation; only ready deployments get anything.
    """
    usable = [name for name in names if name in ready]
    found: list[tuple[str, dict[str, int]]] = []
    if len(usable) >= 2:
        main = max(usable, key=lambda name: (live.get(name, 0), -usable.index(name)))
        other = [name for name in usable if name != main][-1]
        found += [
            (f"{share}/{100 - share}", {main: share, other: 100 - share})
            for share in (100, 90, 50)
        ]
        a, b = live.get(main, 0), live.get(other, 0)
        if a + b == 100 and a != b:
            found.append((_("Swap"), {main: b, other: a}))
    found += [(_("All to %(name)s") % {"name": name}, {name: 100}) for name in usable]
    return [(label, {name: split.get(name, 0) for name in names}) for label, split in found]


def page_of(endpoint: OnlineEndpoint) -> str:
    return reverse("studio:endpoint", args=[endpoint.workspace.name, endpoint.name])


def current_wish(endpoint: OnlineEndpoint) -> Wish:
    """What holds now, as a wish."""
    return Wish(dict(endpoint.traffic), dict(endpoint.mirror_traffic), endpoint.revision)


def _show(
    request: StudioRequest, endpoint: OnlineEndpoint, wish: Wish, problem: Problem | None = None
) -> HttpResponse:
    deployments = list(endpoint.deployments.order_by("created_at", "pk"))
    answering = _answering(endpoint)
    rows = [
        Row(
            item.name,
            wish.traffic.get(item.name, 0),
            "" if item.name in answering or endpoint.traffic.get(item.name) else why_not(item),
            wish.mirror.get(item.name, 0),
        )
        for item in deployments
    ]
    names = [row.name for row in rows]
    chosen, percent = next(iter(wish.mirror.items()), ("", DEFAULT_MIRROR_PERCENT))
    idle = [row.name for row in rows if not row.percent]
    total = sum(row.percent for row in rows if isinstance(row.percent, int))
    context: dict[str, Any] = {
        "endpoint": endpoint,
        "rows": rows,
        "colors": slots_of(names),
        "presets": _presets(endpoint, names, sorted(answering)),
        "total": total,
        "is_total_right": total in (0, 100),
        # Under a conflict the next attempt is based on what is there now.
        "revision": endpoint.revision if problem and problem.both else wish.revision or 0,
        "note": wish.note,
        "is_mirroring": bool(wish.mirror),
        "mirror_deployment": chosen or (idle[-1] if idle else ""),
        "mirror_percent": percent,
        "mirror_maximum": MIRROR_MAXIMUM,
        "problem": problem,
        "mine": wish,
        "code_samples": samples_of(request, _code(request, endpoint, wish)) if rows else [],
        "code_url": request.path,
    }
    status = 200 if problem is None else 409 if problem.both else 422
    return render_page(
        request, "endpoints/traffic.html", "endpoints/_traffic_form.html", context, status=status
    )


def _code(request: StudioRequest, endpoint: OnlineEndpoint, wish: Wish) -> Forms:
    """What is no whole number counts as nothing until it is one."""
    traffic, mirror = (
        {name: percent for name, percent in part.items() if isinstance(percent, int)}
        for part in (wish.traffic, wish.mirror)
    )
    return online.split(place_of(request), endpoint_of(endpoint), traffic, mirror)


def _presets(
    endpoint: OnlineEndpoint, names: Sequence[str], answering: Sequence[str]
) -> list[Preset]:
    return [
        Preset(label, split, query_of(Wish(dict(split), {}, endpoint.revision)))
        for label, split in presets(names, endpoint.traffic, answering)
    ]


def _answering(endpoint: OnlineEndpoint) -> set[str]:
    """The deployments that have an address: only they may get traffic."""
    rows = endpoint.upstreams.values_list("deployment_name", "addresses")
    return {name for name, addresses in rows if addresses}


def why_not(deployment: OnlineDeployment) -> str:
    """Why the deployment cannot get traffic: its state, or the phase it is in."""
    phase = (
        Phase.objects.filter(
            operation__deployment=deployment,
            operation__state=Operation.State.RUNNING,
            state=Phase.State.RUNNING,
        )
        .values_list("name", flat=True)
        .last()
    )
    reason = phase or deployment.state
    if reason == DeploymentState.SUCCEEDED:
        reason = _("no instance answers")
    return _("%(name)s is not ready (%(reason)s)") % {"name": deployment.name, "reason": reason}


def _tell(request: StudioRequest, changed: OnlineEndpoint, before: Wish) -> None:
    """A toast whose button puts back what was before, unless somebody changes it meanwhile."""
    undo = Wish(before.traffic, before.mirror, changed.revision, _("Undo"))
    address = reverse("studio:traffic", args=[changed.workspace.name, changed.name])
    toast(
        request,
        _("Traffic updated: %(split)s.") % {"split": _words(current_wish(changed))},
        action=(_("Undo"), f"{address}?{query_of(undo)}"),
    )


def _words(wish: Wish) -> str:
    """`blue 90 %, green 10 %; 10 % mirrored to red`."""
    live = {
        name: percent
        for name, percent in wish.traffic.items()
        if isinstance(percent, int) and percent
    }
    mirrored = [
        _("%(percent)s %% mirrored to %(name)s") % {"percent": percent, "name": name}
        for name, percent in wish.mirror.items()
        if percent
    ]
    return "; ".join([describe(live), *mirrored])


def _has_split(fields: QueryDict) -> bool:
    return "revision" in fields or any(name.startswith(PREFIX) for name in fields)


def _whole(text: str) -> int | str:
    text = text.strip()
    return int(text) if text.isdecimal() and len(text) <= 9 else text
