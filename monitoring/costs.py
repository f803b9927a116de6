"""What instances cost: the time each was held, at its price then. Money is in `PORTICO_CURRENCY`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Q, QuerySet
from django.utils import timezone

from deployments.models import InstanceSpan
from endpoints.models import OnlineEndpoint
from workspaces.models import Workspace

DAY = timedelta(days=1)
SECONDS_PER_HOUR = Decimal(3600)


@dataclass(frozen=True)
class Held:
    """A stretch of time in which one instance was held; without an end, it still is."""

    endpoint_name: str
    deployment_name: str
    price_per_hour: Decimal
    started_at: datetime
    ended_at: datetime | None = None


@dataclass(frozen=True)
class DayCost:
    day: date
    """In UTC."""
    endpoint_name: str
    deployment_name: str
    instance_seconds: float
    cost: Decimal


def costs_of(spans: Iterable[Held], *, first: date, last: date, now: datetime) -> list[DayCost]:
    """Instance-seconds and cost of each deployment on each of these days on which it held any, in order."""
    seconds: dict[tuple[date, str, str], float] = {}
    costs: dict[tuple[date, str, str], Decimal] = {}
    for held in spans:
        begin = max(held.started_at, _midnight(first))
        end = min(held.ended_at or now, now, _midnight(last + DAY))
        while begin < end:
            day = begin.astimezone(UTC).date()
            until = min(end, _midnight(day + DAY))
            part = (until - begin).total_seconds()
            key = (day, held.endpoint_name, held.deployment_name)
            seconds[key] = seconds.get(key, 0.0) + part
            price = held.price_per_hour * Decimal(str(part)) / SECONDS_PER_HOUR
            costs[key] = costs.get(key, Decimal(0)) + price
            begin = until
    return [DayCost(*key, seconds[key], costs[key]) for key in sorted(seconds)]


def cost_per_day(endpoint: OnlineEndpoint, days: int) -> list[DayCost]:
    """Of the last `days` days, today included; one query."""
    spans = InstanceSpan.objects.filter(
        workspace_id=endpoint.workspace_id, endpoint_name=endpoint.name
    )
    return _costs(spans, days)


def workspace_cost_per_day(workspace: Workspace, days: int) -> list[DayCost]:
    """Of every endpoint of the workspace, those that are gone included; one query."""
    return _costs(InstanceSpan.objects.filter(workspace=workspace), days)


def _costs(spans: QuerySet[InstanceSpan, Any], days: int) -> list[DayCost]:
    now = timezone.now()
    last = now.astimezone(UTC).date()
    first = last - (max(1, days) - 1) * DAY
    touching = spans.filter(Q(ended_at__isnull=True) | Q(ended_at__gt=_midnight(first)))
    rows = touching.values_list(
        "endpoint_name", "deployment_name", "price_per_hour", "started_at", "ended_at"
    )
    return costs_of((Held(*row) for row in rows), first=first, last=last, now=now)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
