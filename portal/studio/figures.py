"""The figures that pages show beside endpoints and deployments, in a fixed number of queries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta

from django.db.models import Sum
from django.utils import timezone

from deployments.models import InstanceSpan
from endpoints.models import OnlineEndpoint
from monitoring import metrics
from monitoring.costs import workspace_cost_per_day
from monitoring.metrics import Split
from monitoring.overview import SPARKLINE_INTERVAL, SPARKLINE_TIME, sparklines, summaries, summary
from workspaces.models import Workspace

DAY_MINUTES = 24 * 60


@dataclass(frozen=True)
class Figures:
    """Of the last minutes; None where there was nothing to measure."""

    requests_per_minute: float | None = None
    error_percent: float | None = None
    p95_ms: float | None = None
    requests_trend: tuple[float | None, ...] = ()
    p95_trend: tuple[float | None, ...] = ()
    cost_per_day: float | None = None
    """What its instances cost in 24 hours if they stay as they are."""

    @property
    def has_requests(self) -> bool:
        """Whether there is enough to draw a line."""
        return _is_line(self.requests_trend)

    @property
    def has_p95(self) -> bool:
        return _is_line(self.p95_trend)


NONE = Figures()


@dataclass(frozen=True)
class Totals:
    """Of a whole workspace."""

    requests_per_minute: float
    error_percent: float | None
    slowest_p95_ms: float | None
    slowest_name: str
    cost_today: float


def of_endpoints(workspace: Workspace, names: dict[int, str]) -> dict[int, Figures]:
    """Figures by endpoint id, for the endpoints given as id → name: three queries."""
    if not names:
        return {}
    endpoints = [OnlineEndpoint(pk=pk, name=name) for pk, name in names.items()]
    now, trends = summaries(endpoints), sparklines(endpoints)
    rates = _cost_rates(workspace)
    return {
        pk: Figures(
            requests_per_minute=now[pk].requests_per_minute,
            error_percent=now[pk].error_percent,
            p95_ms=now[pk].p95_ms,
            requests_trend=tuple(trends[pk]),
            cost_per_day=rates.get(name),
        )
        for pk, name in names.items()
    }


def of_deployments(endpoint: OnlineEndpoint) -> dict[str, Figures]:
    """Figures by deployment name, of the last hour: two queries."""
    now = timezone.now()
    found: dict[str, Figures] = {}
    for metric, trend in (("RequestLatency_P95", "p95_trend"), ("FailedRequestsPercentage", "")):
        for series in metrics.query(
            metric,
            endpoint,
            start=now - SPARKLINE_TIME,
            end=now,
            interval=SPARKLINE_INTERVAL,
            split_by=Split.DEPLOYMENT,
        ):
            values = tuple(point.value for point in series.points)
            known = found.get(series.label, NONE)
            if trend:
                found[series.label] = replace(known, p95_ms=_last(values), p95_trend=values)
            else:
                found[series.label] = replace(known, error_percent=_last(values))
    return found


def of_workspace(workspace: Workspace) -> Totals:
    """Sums over the workspace's endpoints, and the slowest of them: three queries."""
    names = dict(workspace.online_endpoints.order_by().values_list("pk", "name"))
    known = summaries([OnlineEndpoint(pk=pk) for pk in names])
    requests = sum(item.requests for item in known.values())
    failed = sum(item.requests * (item.error_percent or 0) / 100 for item in known.values())
    slowest = max(known, key=lambda pk: known[pk].p95_ms or -1, default=None)
    p95 = known[slowest].p95_ms if slowest is not None else None
    return Totals(
        requests_per_minute=sum(item.requests_per_minute or 0 for item in known.values()),
        error_percent=100 * failed / requests if requests else None,
        slowest_p95_ms=p95,
        slowest_name=names[slowest] if slowest is not None and p95 is not None else "",
        cost_today=float(sum(day.cost for day in workspace_cost_per_day(workspace, 1))),
    )


def requests_last_day(endpoint: OnlineEndpoint) -> int:
    return summary(endpoint, minutes=DAY_MINUTES).requests


def _cost_rates(workspace: Workspace) -> dict[str, float]:
    """Endpoint name → what the instances it holds now cost in 24 hours."""
    held = InstanceSpan.objects.filter(workspace=workspace, ended_at__isnull=True)
    rows = held.order_by().values_list("endpoint_name").annotate(price=Sum("price_per_hour"))
    hours = timedelta(days=1) / timedelta(hours=1)
    return {name: float(price) * hours for name, price in rows}


def _is_line(values: Iterable[float | None]) -> bool:
    return sum(value is not None for value in values) > 1


def _last(values: Iterable[float | None]) -> float | None:
    """The newest that was measured."""
    return next((value for value in reversed(list(values)) if value is not None), None)
