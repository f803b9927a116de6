"""The catalogue of metrics, under Azure's names (facts 9.1, 9.2), and one way to ask for any of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from django.db import connection
from django.utils import timezone

from endpoints.models import OnlineEndpoint
from monitoring.sketch import milliseconds_of
from workspaces.errors import UserError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
MOST_POINTS = 3000
OUR_FAILURES = (408, 424, 429)
"""Statuses below 500 that are no fault of the caller: too slow, failed in the model, too busy."""


class Source(StrEnum):
    TRAFFIC = "traffic"
    USAGE = "usage"


class Split(StrEnum):
    DEPLOYMENT = "deployment"
    STATUS_CODE = "statusCode"
    STATUS_CODE_CLASS = "statusCodeClass"
    MODEL_STATUS_CODE = "modelStatusCode"
    INSTANCE = "instanceId"


@dataclass(frozen=True)
class Metric:
    name: str
    unit: str
    source: Source
    aggregations: dict[str, str]
    """How the figure of an interval is made, by aggregation: SQL over the rows of the source."""
    percentile: float | None = None
    """Instead of an aggregation: this share of the latencies lies at or below the figure."""
    description: str = ""


TRAFFIC_SPLITS = {
    "": "''",
    Split.DEPLOYMENT: "deployment_name",
    Split.STATUS_CODE: "code::text",
    Split.STATUS_CODE_CLASS: "CASE code WHEN 0 THEN '0' ELSE (code / 100)::text || 'xx' END",
    Split.MODEL_STATUS_CODE: "model_code::text",
}
USAGE_SPLITS = {
    "": "''",
    Split.DEPLOYMENT: "deployment_name",
    Split.INSTANCE: "instance_name",
}
# `minutes` and `seconds` are the length of the interval, as far as it has passed.
_FAILED = f"code >= 500 OR code IN {OUR_FAILURES}"


def _traffic(name: str, unit: str, sql: str, description: str) -> Metric:
    return Metric(name, unit, Source.TRAFFIC, {"average": sql}, description=description)


def _latency(name: str, share: float) -> Metric:
    text = f"{share:.0%} of the requests were answered within this time."
    return Metric(name, "ms", Source.TRAFFIC, {}, percentile=share, description=text)


def _usage(name: str, column: str, description: str) -> Metric:
    aggregations = {
        "average": f"sum({column}_sum) / sum(samples)",
        "minimum": f"min({column}_min)",
        "maximum": f"max({column}_max)",
    }
    return Metric(name, "%", Source.USAGE, aggregations, description=description)


CATALOGUE: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _traffic(
            "RequestsPerMinute",
            "requests/min",
            "sum(requests) / minutes",
            "Requests that reached the endpoint, whatever became of them.",
        ),
        _traffic(
            "RequestLatency",
            "ms",
            "sum(latency_us) / nullif(sum(requests) FILTER (WHERE code <> 0), 0) / 1000",
            "Mean time from a request's first byte to its answer's last.",
        ),
        _latency("RequestLatency_P50", 0.50),
        _latency("RequestLatency_P90", 0.90),
        _latency("RequestLatency_P95", 0.95),
        _latency("RequestLatency_P99", 0.99),
        _traffic(
            "ModelLatency",
            "ms",
            "sum(model_us) / nullif(sum(requests) FILTER (WHERE model_us > 0), 0) / 1000",
            "Mean time from the instance getting a request to its first byte of an answer.",
        ),
        _traffic(
            "FailedRequestsPercentage",
            "%",
            f"100.0 * coalesce(sum(requests) FILTER (WHERE {_FAILED}), 0) / sum(requests)",
            "Share of requests that failed through no fault of the caller: 408, 424, 429 and 5xx.",
        ),
        _traffic(
            "NetworkBytes",
            "bytes/s",
            "(sum(request_bytes) + sum(response_bytes)) / seconds",
            "Bodies of requests and answers together.",
        ),
        _usage(
            "CpuUtilizationPercentage",
            "cpu",
            "Processor time used, of what the instance may use.",
        ),
        _usage(
            "CpuMemoryUtilizationPercentage",
            "memory",
            "Memory used, of what the instance may use.",
        ),
        Metric(
            "DeploymentCapacity",
            "instances",
            Source.USAGE,
            {"average": "count(*)::float / count(DISTINCT at)"},
            description="Instances that were running.",
        ),
    )
}


@dataclass(frozen=True)
class Point:
    at: datetime
    """The first moment of the interval."""
    value: float | None
    """None when nothing was measured: a gap, not zero."""


@dataclass(frozen=True)
class Series:
    label: str
    """The value of the dimension that was split by; empty without a split."""
    points: list[Point]


@dataclass(frozen=True)
class Span:
    """Intervals of one length, on the grid of whole multiples of it."""

    start: datetime
    end: datetime
    interval: timedelta

    def grid(self) -> list[datetime]:
        count = -(-(self.end - self.start) // self.interval)
        return [self.start + number * self.interval for number in range(count)]


def span(start: datetime, end: datetime, interval: timedelta) -> Span:
    """Raises `UserError` for an interval that is not whole minutes, or too many of them."""
    if interval < MINUTE or interval % MINUTE:
        raise UserError(
            f"The interval is {interval.total_seconds():.0f} s. Use whole minutes, at least one.",
            target="interval",
        )
    start = EPOCH + (start - EPOCH) // interval * interval
    if (end - start) / interval > MOST_POINTS:
        raise UserError(
            f"That would be more than {MOST_POINTS} points. Ask for a longer interval or less time.",
            target="interval",
        )
    return Span(start, max(start, end), interval)


def metric_named(name: str) -> Metric:
    """Raises `UserError` that names the known ones."""
    for known, metric in CATALOGUE.items():
        if known.lower() == name.lower():
            return metric
    raise UserError(
        f"There is no metric '{name}'. Known: {', '.join(CATALOGUE)}.", target="metricnames"
    )


def query(
    metric: Metric | str,
    endpoint: OnlineEndpoint,
    *,
    start: datetime,
    end: datetime,
    interval: timedelta,
    deployment: str | None = None,
    split_by: str | None = None,
    aggregation: str = "average",
) -> list[Series]:
    """One series, or one for each value of `split_by` that occurs; one query. Raises `UserError`.

    Every series has a point for every interval. `end` is not part of the time asked for.
    """
    metric = metric_named(metric) if isinstance(metric, str) else metric
    wanted = span(start, end, interval)
    splits = TRAFFIC_SPLITS if metric.source == Source.TRAFFIC else USAGE_SPLITS
    if (split_by or "") not in splits:
        known = ", ".join(name for name in splits if name)
        raise UserError(
            f"{metric.name} can be split by {known}; not '{split_by}'.", target="split"
        )
    found: dict[str, dict[datetime, float]] = {}
    column = splits[split_by or ""]
    for label, at, value in _rows(metric, endpoint, wanted, column, deployment, aggregation):
        if value is not None:
            found.setdefault(label, {})[at] = float(value)
    grid = wanted.grid()
    labels = sorted(found) if split_by else [""]
    return [
        Series(label, [Point(at, found.get(label, {}).get(at)) for at in grid]) for label in labels
    ]


def _rows(
    metric: Metric,
    endpoint: OnlineEndpoint,
    wanted: Span,
    column: str,
    deployment: str | None,
    aggregation: str,
) -> Iterator[tuple[str, datetime, Any]]:
    parameters: dict[str, Any] = {
        "interval": wanted.interval,
        "epoch": EPOCH,
        # The name may have belonged to another endpoint before.
        "start": max(wanted.start, endpoint.created_at.replace(second=0, microsecond=0)),
        "end": wanted.end,
        "now": timezone.now(),
        "endpoint": endpoint.name,
        "deployment": deployment,
        "share": metric.percentile,
    }
    table = _table(metric, wanted)
    if table.endswith("hour"):
        parameters["start"] = parameters["start"].replace(minute=0)
    sql = _sql(metric, table, column, deployment, aggregation)
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        for label, at, value in cursor.fetchall():
            is_bucket = metric.percentile is not None
            yield label, at.astimezone(UTC), milliseconds_of(value) if is_bucket else value


def _table(metric: Metric, wanted: Span) -> str:
    if metric.source == Source.USAGE:
        return "monitoring_usageminute"
    return "monitoring_traffic" + ("minute" if wanted.interval % HOUR else "hour")


def _sql(metric: Metric, table: str, column: str, deployment: str | None, aggregation: str) -> str:
    chosen = f"""
        SELECT {column} AS label, date_bin(%(interval)s, at, %(epoch)s) AS bin, *
        FROM {table}
        WHERE endpoint_name = %(endpoint)s AND at >= %(start)s AND at < %(end)s
        {"AND deployment_name = %(deployment)s" if deployment is not None else ""}
    """
    if metric.percentile is not None:
        return f"""
            WITH chosen AS ({chosen}),
            held AS (
                SELECT label, bin, bucket, sum(count) AS count
                FROM chosen, unnest(buckets, counts) AS pair (bucket, count)
                GROUP BY label, bin, bucket
            ),
            ranked AS (
                SELECT label, bin, bucket,
                    sum(count) OVER (PARTITION BY label, bin ORDER BY bucket) AS reached,
                    sum(count) OVER (PARTITION BY label, bin) AS total
                FROM held
            )
            SELECT label, bin, min(bucket) FROM ranked
            WHERE reached >= %(share)s::numeric * total GROUP BY label, bin
        """
    if aggregation not in metric.aggregations:
        known = ", ".join(metric.aggregations)
        raise UserError(
            f"{metric.name} is aggregated by {known}; not by '{aggregation}'.",
            target="aggregation",
        )
    return f"""
        WITH chosen AS (
            SELECT *,
                greatest(60, extract(epoch FROM least(%(interval)s, %(now)s - bin))) AS seconds,
                greatest(60, extract(epoch FROM least(%(interval)s, %(now)s - bin))) / 60 AS minutes
            FROM ({chosen}) AS rows
        )
        SELECT label, bin, {_over_interval(metric.aggregations[aggregation])}
        FROM chosen GROUP BY label, bin
    """


def _over_interval(sql: str) -> str:
    # Both are the same in all rows of an interval.
    return sql.replace("/ minutes", "/ min(minutes)").replace("/ seconds", "/ min(seconds)")
