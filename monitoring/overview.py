"""What the studio shows of an endpoint's figures: the monitoring tab, and numbers and sparklines for lists."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from math import ceil
from typing import Any

from django.conf import settings
from django.db import connection
from django.utils import timezone

from endpoints.models import OnlineEndpoint
from monitoring import charts, costs, metrics
from monitoring.charts import ChartData
from monitoring.metrics import HOUR, MINUTE, OUR_FAILURES, Point, Series, Split
from monitoring.sketch import milliseconds_of
from workspaces.errors import UserError

SPARKLINE_TIME = timedelta(hours=1)
SPARKLINE_INTERVAL = timedelta(minutes=5)
MOST_CHART_POINTS = 180
INTERVALS = tuple(
    timedelta(minutes=minutes) for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 240, 360, 720, 1440)
)
PERCENTILES = {
    "p50": "RequestLatency_P50",
    "p90": "RequestLatency_P90",
    "p95": "RequestLatency_P95",
    "p99": "RequestLatency_P99",
}
SPLITS = ("status", "deployment", "instance")


@dataclass(frozen=True)
class Window:
    """The time that charts show, and the length of the interval that makes one point."""

    start: datetime
    end: datetime
    interval: timedelta

    @property
    def days(self) -> int:
        """How many days, in UTC, it touches up to now."""
        last, first = timezone.now().astimezone(UTC).date(), self.start.astimezone(UTC).date()
        return max(1, (last - first).days + 1)


RANGES = {
    "15m": timedelta(minutes=15),
    "1h": HOUR,
    "6h": timedelta(hours=6),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}


@dataclass(frozen=True)
class Summary:
    """An endpoint's last minutes; the rates are None when there was no request."""

    requests: int = 0
    requests_per_minute: float | None = None
    error_percent: float | None = None
    p95_ms: float | None = None


@dataclass(frozen=True)
class Failures:
    """An endpoint's requests of the last minutes, and how many percent of them failed."""

    request_count: int = 0
    percent: float = 0.0


def window(name: str) -> Window:
    """One of `RANGES`, up to now. Raises `UserError`."""
    if name not in RANGES:
        raise UserError(
            f"There is no time range '{name}'. Use one of {', '.join(RANGES)}.", target="range"
        )
    now = timezone.now()
    return window_between(now - RANGES[name], now)


def window_between(start: datetime, end: datetime) -> Window:
    """Any time, in as many points as a chart can show. Raises `UserError` when it ends before it begins."""
    if end <= start:
        raise UserError("The time range ends before it begins.", target="range")
    fitting = [one for one in INTERVALS if (end - start) / one <= MOST_CHART_POINTS]
    interval = fitting[0] if fitting else INTERVALS[-1]
    return Window(metrics.span(start, end, interval).start, end, interval)


def monitoring_tab(
    endpoint: OnlineEndpoint,
    range_: str | Window,
    split: str = "status",
    *,
    slots: Mapping[str, int] | None = None,
    deployment: str | None = None,
) -> list[ChartData]:
    """Every chart of the tab, in order; a fixed number of queries for each split.

    `split` is one of `SPLITS`; `slots` gives deployments their colours, by default in order of creation. Raises
    `UserError`.
    """
    if split not in SPLITS:
        raise UserError(
            f"Charts cannot be split by '{split}'. Use one of {', '.join(SPLITS)}.", target="split"
        )
    shown = window(range_) if isinstance(range_, str) else range_
    slots = _slots(endpoint) if slots is None else slots
    ask = partial(
        metrics.query,
        endpoint=endpoint,
        start=shown.start,
        end=shown.end,
        interval=shown.interval,
        deployment=deployment,
    )
    traffic = _split_traffic if split == "deployment" else _whole_traffic
    return [
        *traffic(ask, slots),
        *_usage_charts(ask, slots, by_instance=split == "instance"),
        _cost_chart(endpoint, shown, slots, deployment),
    ]


def summaries(endpoints: Iterable[OnlineEndpoint], minutes: int = 15) -> dict[int, Summary]:
    """For each endpoint by id; one query for all of them."""
    ids = [endpoint.pk for endpoint in endpoints]
    found = {pk: Summary() for pk in ids}
    start = timezone.now() - timedelta(minutes=minutes)
    with connection.cursor() as cursor:
        cursor.execute(SUMMARY_SQL, {"ids": ids, "start": start})
        for pk, requests, failed, bucket in cursor.fetchall():
            found[pk] = Summary(
                requests=int(requests),
                requests_per_minute=float(requests) / minutes,
                error_percent=100 * float(failed) / float(requests),
                p95_ms=None if bucket is None else milliseconds_of(bucket),
            )
    return found


def summary(endpoint: OnlineEndpoint, minutes: int = 15) -> Summary:
    return summaries([endpoint], minutes)[endpoint.pk]


def failures(ids: Collection[int], minutes: int = 15) -> dict[int, Failures]:
    """By the id of each endpoint that had any request in the last minutes; one query for all."""
    start = timezone.now() - timedelta(minutes=minutes)
    with connection.cursor() as cursor:
        cursor.execute(FAILED_SQL, {"ids": list(ids), "start": start})
        return {
            pk: Failures(int(count), float(percent)) for pk, count, percent in cursor.fetchall()
        }


def sparklines(endpoints: Iterable[OnlineEndpoint]) -> dict[int, list[float | None]]:
    """Requests per minute over the last hour, in steps of five minutes, by endpoint id; one query for all.

    Where nobody asked it is 0; an endpoint that nobody asked in this hour has no values.
    """
    ids = [endpoint.pk for endpoint in endpoints]
    now = timezone.now()
    span = metrics.span(now - SPARKLINE_TIME, now, SPARKLINE_INTERVAL)
    minutes = SPARKLINE_INTERVAL / MINUTE
    found: dict[int, dict[datetime, float]] = {pk: {} for pk in ids}
    parameters: dict[str, Any] = {
        "ids": ids,
        "start": span.start,
        "interval": SPARKLINE_INTERVAL,
        "epoch": metrics.EPOCH,
    }
    with connection.cursor() as cursor:
        cursor.execute(SPARKLINE_SQL, parameters)
        for pk, at, requests in cursor.fetchall():
            found[pk][at.astimezone(UTC)] = float(requests)
    grid = span.grid()

    def rate(pk: int, at: datetime) -> float | None:
        passed = min(minutes, ceil((now - at) / MINUTE))  # the newest step has only begun
        return found[pk].get(at, 0.0) / max(1, passed) if found[pk] else None

    return {pk: charts.sparkline(Point(at, rate(pk, at)) for at in grid) for pk in ids}


# The name of an endpoint may have belonged to another one before, so figures begin with its creation.
_ROWS = """
    SELECT endpoint.id, figures.*
    FROM endpoints_onlineendpoint endpoint
    JOIN monitoring_trafficminute figures ON figures.endpoint_name = endpoint.name
        AND figures.at >= greatest(%(start)s, date_trunc('minute', endpoint.created_at))
    WHERE endpoint.id = ANY(%(ids)s)
"""

SPARKLINE_SQL = f"""
SELECT id, date_bin(%(interval)s, at, %(epoch)s) AS bin, sum(requests) FROM ({_ROWS}) AS rows GROUP BY id, bin
"""

_FAILED = f"coalesce(sum(requests) FILTER (WHERE code >= 500 OR code IN {OUR_FAILURES}), 0)"

FAILED_SQL = f"""
SELECT id, sum(requests), 100.0 * {_FAILED} / sum(requests) FROM ({_ROWS}) AS rows GROUP BY id HAVING sum(requests) > 0
"""

SUMMARY_SQL = f"""
WITH chosen AS ({_ROWS}),
counted AS (
    SELECT id, sum(requests) AS requests, {_FAILED} AS failed FROM chosen GROUP BY id
),
held AS (
    SELECT id, bucket, sum(count) AS count
    FROM chosen, unnest(buckets, counts) AS pair (bucket, count) GROUP BY id, bucket
),
ranked AS (
    SELECT id, bucket, sum(count) OVER (PARTITION BY id ORDER BY bucket) AS reached,
        sum(count) OVER (PARTITION BY id) AS total
    FROM held
)
SELECT counted.id, requests, failed,
    (SELECT min(bucket) FROM ranked WHERE ranked.id = counted.id AND reached >= 0.95 * total)
FROM counted
"""


def _whole_traffic(ask: Any, slots: Mapping[str, int]) -> list[ChartData]:
    by_status = ask("RequestsPerMinute", split_by=Split.STATUS_CODE_CLASS)
    latencies: dict[str, Series] = {name: ask(metric)[0] for name, metric in PERCENTILES.items()}
    return [
        charts.line_chart(
            "requests",
            "Requests per minute by status",
            "requests/min",
            charts.status_curves(by_status),
            metric="RequestsPerMinute",
        ),
        charts.line_chart(
            "latency",
            "Latency",
            "ms",
            charts.percentile_curves(latencies),
            metric="RequestLatency_P95",
        ),
        *(
            charts.line_chart(
                key, title, unit, charts.single_curve(title, ask(metric)), metric=metric
            )
            for key, title, unit, metric in _OTHER_TRAFFIC
        ),
    ]


def _split_traffic(ask: Any, slots: Mapping[str, int]) -> list[ChartData]:
    wanted = [
        ("requests", "Requests per minute", "requests/min", "RequestsPerMinute"),
        ("latency_p50", "Latency p50", "ms", "RequestLatency_P50"),
        ("latency_p95", "Latency p95", "ms", "RequestLatency_P95"),
        ("latency_p99", "Latency p99", "ms", "RequestLatency_P99"),
        *_OTHER_TRAFFIC,
    ]
    return [
        charts.line_chart(
            key,
            title,
            unit,
            charts.deployment_curves(ask(metric, split_by=Split.DEPLOYMENT), slots),
            metric=metric,
        )
        for key, title, unit, metric in wanted
    ]


_OTHER_TRAFFIC = (
    ("errors", "Failed requests", "%", "FailedRequestsPercentage"),
    ("model", "Time in the model", "ms", "ModelLatency"),
    ("network", "Network", "bytes/s", "NetworkBytes"),
)
_USAGE = (
    ("cpu", "Processor", "%", "CpuUtilizationPercentage"),
    ("memory", "Memory", "%", "CpuMemoryUtilizationPercentage"),
)


def _usage_charts(ask: Any, slots: Mapping[str, int], *, by_instance: bool) -> list[ChartData]:
    split_by = Split.INSTANCE if by_instance else Split.DEPLOYMENT
    found = []
    for key, title, unit, metric in _USAGE:
        series = ask(metric, split_by=split_by)
        colors = _instance_slots(series) if by_instance else slots
        curves = charts.deployment_curves(series, colors)
        found.append(charts.line_chart(key, title, unit, curves, metric=metric))
    capacity = charts.deployment_curves(
        ask("DeploymentCapacity", split_by=Split.DEPLOYMENT), slots
    )
    found.append(
        charts.line_chart(
            "instances", "Instances", "instances", capacity, metric="DeploymentCapacity"
        )
    )
    return found


def _cost_chart(
    endpoint: OnlineEndpoint, shown: Window, slots: Mapping[str, int], deployment: str | None
) -> ChartData:
    found = [
        cost
        for cost in costs.cost_per_day(endpoint, shown.days)
        if deployment is None or cost.deployment_name == deployment
    ]
    today = timezone.now().astimezone(UTC).date()
    days = [
        (today - timedelta(days=before)).isoformat() for before in range(shown.days - 1, -1, -1)
    ]
    return charts.cost_chart(found, days, slots, settings.CURRENCY)


def _slots(endpoint: OnlineEndpoint) -> dict[str, int]:
    names = endpoint.deployments.order_by("created_at", "pk").values_list("name", flat=True)
    return {name: number % 8 + 1 for number, name in enumerate(names)}


def _instance_slots(series: Iterable[Series]) -> dict[str, int]:
    return {one.label: number % 8 + 1 for number, one in enumerate(series)}
