"""Adds figures to the minute and hour tables. Each call is one statement a table: whole or not at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from django.db import connection

from monitoring import partitions
from monitoring.sketch import bucket_of


class TrafficKey(NamedTuple):
    at: datetime
    endpoint_name: str
    deployment_name: str
    code: int
    model_code: int


@dataclass
class TrafficSums:
    """What is known of the requests under one key; sums of sums are sums."""

    requests: int = 0
    request_bytes: int = 0
    response_bytes: int = 0
    latency_us: int = 0
    model_us: int = 0
    buckets: Counter[int] = field(default_factory=Counter)

    def add_request(
        self, *, request_bytes: int, response_bytes: int, latency_us: int, model_us: int
    ) -> None:
        self.requests += 1
        self.request_bytes += request_bytes
        self.response_bytes += response_bytes
        self.latency_us += latency_us
        self.model_us += model_us
        self.buckets[bucket_of(latency_us)] += 1

    def merge(self, other: TrafficSums) -> None:
        self.requests += other.requests
        self.request_bytes += other.request_bytes
        self.response_bytes += other.response_bytes
        self.latency_us += other.latency_us
        self.model_us += other.model_us
        self.buckets.update(other.buckets)


class UsageKey(NamedTuple):
    at: datetime
    endpoint_name: str
    deployment_name: str
    instance_name: str


TRAFFIC_SQL = """
INSERT INTO {table} AS had (endpoint_name, at, deployment_name, code, model_code, requests, request_bytes,
    response_bytes, latency_us, model_us, buckets, counts)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (endpoint_name, at, deployment_name, code, model_code) DO UPDATE SET
    requests = had.requests + excluded.requests,
    request_bytes = had.request_bytes + excluded.request_bytes,
    response_bytes = had.response_bytes + excluded.response_bytes,
    latency_us = had.latency_us + excluded.latency_us,
    model_us = had.model_us + excluded.model_us,
    (buckets, counts) = (
        SELECT array_agg(bucket ORDER BY bucket), array_agg(count ORDER BY bucket)
        FROM (
            SELECT bucket, sum(count)::bigint AS count
            FROM (
                SELECT * FROM unnest(had.buckets, had.counts)
                UNION ALL SELECT * FROM unnest(excluded.buckets, excluded.counts)
            ) AS pair (bucket, count)
            GROUP BY bucket
        ) AS merged
    )
"""

USAGE_SQL = """
INSERT INTO monitoring_usageminute AS had (endpoint_name, at, deployment_name, instance_name, samples,
    cpu_sum, cpu_min, cpu_max, memory_sum, memory_min, memory_max)
VALUES (%s, %s, %s, %s, 1, %s, %s, %s, %s, %s, %s)
ON CONFLICT (endpoint_name, at, deployment_name, instance_name) DO UPDATE SET
    samples = had.samples + 1,
    cpu_sum = had.cpu_sum + excluded.cpu_sum,
    cpu_min = least(had.cpu_min, excluded.cpu_min),
    cpu_max = greatest(had.cpu_max, excluded.cpu_max),
    memory_sum = had.memory_sum + excluded.memory_sum,
    memory_min = least(had.memory_min, excluded.memory_min),
    memory_max = greatest(had.memory_max, excluded.memory_max)
"""


def minute_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def add_traffic(minutes: Mapping[TrafficKey, TrafficSums]) -> None:
    """Add to the minutes and to their hours; call it in a transaction, with keys that begin a minute."""
    if not minutes:
        return
    hours: dict[TrafficKey, TrafficSums] = {}
    for key, sums in minutes.items():
        hours.setdefault(key._replace(at=key.at.replace(minute=0)), TrafficSums()).merge(sums)
    partitions.ensure({key.at for key in minutes})
    _upsert_traffic("monitoring_trafficminute", minutes)
    _upsert_traffic("monitoring_traffichour", hours)


def add_usage(samples: Mapping[UsageKey, tuple[float, float]]) -> None:
    """Add one sample each of (processor, memory) in percent of the instance's own limits."""
    if not samples:
        return
    partitions.ensure({key.at for key in samples})
    with connection.cursor() as cursor:
        cursor.executemany(
            USAGE_SQL,
            [
                (*_usage_key(key), cpu, cpu, cpu, memory, memory, memory)
                # In one order everywhere: two writers can then wait for each other, but never both.
                for key, (cpu, memory) in sorted(samples.items())
            ],
        )


def _usage_key(key: UsageKey) -> tuple[str, datetime, str, str]:
    return key.endpoint_name, key.at, key.deployment_name, key.instance_name


def _upsert_traffic(table: str, sums: Mapping[TrafficKey, TrafficSums]) -> None:
    rows = []
    for key, found in sorted(sums.items(), key=lambda item: item[0]):
        pairs = sorted(found.buckets.items())
        rows.append(
            (
                key.endpoint_name,
                key.at,
                key.deployment_name,
                key.code,
                key.model_code,
                found.requests,
                found.request_bytes,
                found.response_bytes,
                found.latency_us,
                found.model_us,
                [bucket for bucket, _ in pairs],
                [count for _, count in pairs],
            )
        )
    with connection.cursor() as cursor:
        cursor.executemany(TRAFFIC_SQL.format(table=table), rows)
