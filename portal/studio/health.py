"""Whether an endpoint answers well: a pure rule over its deployments, and the one query that feeds it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from django.db.models import Count, Q
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from deployments.models import DeploymentState, Instance, OnlineDeployment
from endpoints.models import EndpointState
from monitoring.overview import Failures
from portal.templatetags.studio import number, percent

HEALTHY = "Healthy"
DEGRADED = "Degraded"
UNHEALTHY = "Unhealthy"
STARTING = "Starting"
EMPTY = "Empty"
DELETING = "Deleting"
# Worst first: the order of lists.
RANK = {
    health: rank
    for rank, health in enumerate((UNHEALTHY, DEGRADED, STARTING, HEALTHY, EMPTY, DELETING))
}


FAILING_PERCENT = 1.0
"""From this share of failed requests on, an endpoint is not healthy."""
MOSTLY_FAILING_PERCENT = 50.0
MOST_NAMES = 2
NO_FAILURES = Failures()


@dataclass(frozen=True)
class DeploymentFacts:
    """What the rule looks at."""

    name: str
    state: str
    wanted: int
    ready: int

    @property
    def is_busy(self) -> bool:
        return self.state in {
            DeploymentState.CREATING,
            DeploymentState.UPDATING,
            DeploymentState.DELETING,
        }


@dataclass(frozen=True)
class Health:
    word: str
    detail: str = ""
    """Why it is not simply healthy."""

    @property
    def rank(self) -> int:
        return RANK[self.word]


def health_of(
    state: str,
    traffic: Mapping[str, int],
    deployments: Sequence[DeploymentFacts],
    failures: Failures = NO_FAILURES,
) -> Health:
    """The health of an endpoint: of the deployments that get live traffic, or of all if none does.

    `failures` are those of the last 15 minutes: instances that are ready may answer badly.
    """
    if state == EndpointState.DELETING:
        return Health(DELETING)
    if not deployments:
        return Health(EMPTY)
    serving = [item for item in deployments if traffic.get(item.name)] or list(deployments)
    silent = [item for item in serving if not item.ready]
    starting = [item for item in silent if item.state == DeploymentState.CREATING]
    if len(silent) > len(starting):
        names = _named([item.name for item in silent if item not in starting])
        return Health(UNHEALTHY, _("No instance of %(names)s answers") % {"names": names})
    if starting:
        return Health(STARTING, _named([item.name for item in starting]))
    if failures.percent >= MOSTLY_FAILING_PERCENT:
        return Health(UNHEALTHY, _failing(failures))
    wanted = sum(item.wanted for item in serving)
    ready = sum(min(item.ready, item.wanted) for item in serving)
    if ready < wanted:
        counts = {"ready": ready, "wanted": wanted}
        return Health(DEGRADED, _("%(ready)s of %(wanted)s instances ready") % counts)
    if failures.percent >= FAILING_PERCENT:
        return Health(DEGRADED, _failing(failures))
    failed = [item.name for item in deployments if item.state == DeploymentState.FAILED]
    if failed:
        return Health(DEGRADED, _("%(names)s failed") % {"names": _named(failed)})
    return Health(HEALTHY)


def _failing(failures: Failures) -> str:
    words = ngettext(
        "%(share)s of %(count)s request failed in the last 15 minutes",
        "%(share)s of %(count)s requests failed in the last 15 minutes",
        failures.request_count,
    )
    return words % {"share": percent(failures.percent), "count": number(failures.request_count)}


def _named(names: Sequence[str]) -> str:
    """`blue, green`, or `blue and 4 more`: the words have to fit into a table."""
    if len(names) <= MOST_NAMES:
        return ", ".join(names)
    return _("%(name)s and %(count)s more") % {"name": names[0], "count": len(names) - 1}


def facts_of(endpoint_ids: Collection[int]) -> dict[int, list[DeploymentFacts]]:
    """The facts of every deployment of these endpoints, by endpoint and in order of creation: one query."""
    found: dict[int, list[DeploymentFacts]] = defaultdict(list)
    healthy = Count("instances", filter=Q(instances__state=Instance.State.HEALTHY))
    rows = (
        OnlineDeployment.objects.filter(endpoint_id__in=endpoint_ids)
        .annotate(ready=healthy)
        .order_by("created_at", "pk")
        .values_list("endpoint_id", "name", "state", "instance_count", "ready")
    )
    for endpoint_id, name, state, wanted, ready in rows:
        found[endpoint_id].append(DeploymentFacts(name, state, wanted, ready))
    return found
