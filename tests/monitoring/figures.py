"""Figures for tests, written as `watch` writes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.utils import timezone

from monitoring.rollups import TrafficKey, TrafficSums, add_traffic, minute_of

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def minutes_ago(minutes: int) -> datetime:
    return minute_of(timezone.now()) - timedelta(minutes=minutes)


def record(
    endpoint: str,
    at: datetime,
    latencies_ms: list[float],
    *,
    deployment: str = "blue",
    code: int = 200,
    model_code: int = 0,
    request_bytes: int = 100,
    response_bytes: int = 200,
) -> None:
    """Requests of one minute, by how long each took."""
    sums = TrafficSums()
    for latency in latencies_ms:
        sums.add_request(
            request_bytes=request_bytes,
            response_bytes=response_bytes,
            latency_us=int(latency * 1000),
            model_us=int(latency * 500),
        )
    add_traffic({TrafficKey(minute_of(at), endpoint, deployment, code, model_code): sums})
