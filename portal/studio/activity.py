"""Who did what: of the whole workspace and of one endpoint, with what each verb changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpResponse
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_safe

from deployments.models import Operation
from portal.pages import render_page
from portal.studio.endpoint_frame import frame
from portal.studio.scope import StudioRequest, find_endpoint, studio_page
from workspaces.models import Activity, Workspace

PER_PAGE = 50
ROLL_OUTS = (Operation.Kind.CREATE, Operation.Kind.UPDATE, Operation.Kind.SCALE)
AT_ONCE = timedelta(seconds=10)


NOUNS = {
    "OnlineEndpoint": gettext_lazy("endpoint"),
    "OnlineDeployment": gettext_lazy("deployment"),
    "ModelVersion": gettext_lazy("model"),
    "Model": gettext_lazy("model"),
    "EnvironmentVersion": gettext_lazy("environment"),
    "Environment": gettext_lazy("environment"),
    "CodeVersion": gettext_lazy("code"),
    "BatchEndpoint": gettext_lazy("batch endpoint"),
    "BatchDeployment": gettext_lazy("batch deployment"),
    "Compute": gettext_lazy("compute"),
    "Data": gettext_lazy("data"),
    "DataVersion": gettext_lazy("data"),
    "Component": gettext_lazy("component"),
    "ComponentVersion": gettext_lazy("component"),
    "Datastore": gettext_lazy("datastore"),
}
# Of verbs that do not just take -ed.
PAST = {
    "build": "built",
    "retry": "retried",
    "run": "ran",
    "set": "set",
    "stop": "stopped",
}


@dataclass(frozen=True)
class Change:
    """One field that a verb changed; None stands for nothing there."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Told:
    """One activity as pages show it."""

    activity: Activity
    words: str
    """Verb and noun, such as `created deployment`."""
    changes: list[Change]
    outcome: str = ""
    """`Failed` or `Canceled` if the operation that it began ended so."""


@studio_page("onlineEndpoints/read")
@require_safe
def endpoint_activity(request: StudioRequest, endpoint: str) -> HttpResponse:
    found = find_endpoint(request, endpoint)
    # A name may be given again: what an earlier endpoint of that name did is not this one's history.
    activities = request.workspace.activities.filter(
        endpoint_name=found.name, at__gte=found.created_at
    )
    context = {**frame(request, found, "activity"), **_listed(request, activities)}
    return render_page(request, "endpoints/activity.html", "endpoints/_activity.html", context)


@studio_page("onlineEndpoints/read")
@require_safe
def workspace_activity(request: StudioRequest) -> HttpResponse:
    context = _listed(request, request.workspace.activities.all())
    context |= {"is_workspace": True}
    return render_page(
        request, "endpoints/workspace_activity.html", "endpoints/_activity.html", context
    )


def changes_of(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """The fields that differ, nested ones by their path (`traffic.blue`), in the order they are told."""
    old, new = dict(_flat(before)), dict(_flat(after))
    names = [*old, *(name for name in new if name not in old)]
    return [
        Change(name, old.get(name), new.get(name))
        for name in names
        if old.get(name) != new.get(name)
    ]


def told(activities: Iterable[Activity], workspace: Workspace) -> list[Told]:
    """The activities in words, with what became of each; one query for all of them."""
    shown = list(activities)
    ended = _ended(shown, workspace)
    return [_told(item, ended.get(item.pk, "")) for item in shown]


def past(verb: str) -> str:
    """What somebody did who did this: `created`."""
    return PAST.get(verb) or f"{verb}{'d' if verb.endswith('e') else 'ed'}"


def _told(activity: Activity, outcome: str) -> Told:
    """A verb of two words has its noun already."""
    noun = NOUNS.get(activity.subject_type, "")
    verb, _space, own_noun = activity.verb.partition(" ")
    words = f"{past(verb)} {own_noun or noun}".strip()
    return Told(activity, words, changes_of(activity.before, activity.after), outcome)


def _ended(activities: list[Activity], workspace: Workspace) -> dict[int, str]:
    """Activity id → `Failed` or `Canceled`, where the operation on a deployment that it began ended so.

    An activity is written right after the operation that it began, in the same transaction.
    """
    began = [
        item
        for item in activities
        if item.subject_type == "OnlineDeployment" and item.verb in ROLL_OUTS
    ]
    if not began:
        return {}
    operations = Operation.objects.filter(
        deployment__endpoint__workspace=workspace,
        kind__in=ROLL_OUTS,
        started_at__gte=min(item.at for item in began) - AT_ONCE,
        started_at__lte=max(item.at for item in began),
    )
    known = {
        (endpoint, name, kind, started_at): state
        for endpoint, name, kind, started_at, state in operations.values_list(
            "deployment__endpoint__name", "deployment__name", "kind", "started_at", "state"
        )
    }
    found = {}
    for item in began:
        starts = [
            key
            for key in known
            if key[:3] == (item.endpoint_name, item.subject, item.verb)
            and item.at - AT_ONCE <= key[3] <= item.at
        ]
        state = known[max(starts, key=lambda key: key[3])] if starts else ""
        if state in (Operation.State.FAILED, Operation.State.CANCELED):
            found[item.pk] = state
    return found


def described(activities: QuerySet[Activity]) -> QuerySet[Activity]:
    """The rows with their actors, newest first."""
    return activities.select_related("actor").order_by("-at", "-pk")


def _listed(request: StudioRequest, activities: QuerySet[Activity]) -> dict[str, Any]:
    words = request.GET.get("q", "").strip()
    if words:
        activities = (
            activities.filter(verb__icontains=words)
            | activities.filter(subject__icontains=words)
            | activities.filter(endpoint_name__icontains=words)
            | activities.filter(actor__username__icontains=words)
        )
    page = Paginator(described(activities), PER_PAGE).get_page(request.GET.get("page"))
    return {"page": page, "rows": told(page, request.workspace), "q": words}


def _flat(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{path}{name}.")
        elif isinstance(value, Mapping) or value is None:
            continue
        elif isinstance(value, list):
            yield f"{path}{name}", ", ".join(str(item) for item in value)
        else:
            yield f"{path}{name}", str(value)
