"""Costs: the time instances were held, clipped to days, at the price they had then."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from deployments.models import InstanceSpan
from endpoints.models import OnlineEndpoint
from monitoring.costs import DAY, Held, cost_per_day, costs_of, workspace_cost_per_day
from tests.factories import make_online_endpoint

MONDAY = date(2026, 3, 2)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def held(begin: datetime, end: datetime | None, price: str = "3.6", name: str = "blue") -> Held:
    return Held("iris", name, Decimal(price), begin, end)


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([], []),
        ([held(NOON, NOON + HOUR)], [(0, "blue", 3600, "3.6")]),
        ([held(NOON, NOON + HOUR), held(NOON, NOON + HOUR)], [(0, "blue", 7200, "7.2")]),
        (
            [held(NOON, NOON + 24 * HOUR)],
            [(0, "blue", 43200, "43.2"), (1, "blue", 43200, "43.2")],
        ),
        ([held(NOON - 100 * DAY, NOON - 12 * HOUR + HOUR)], [(0, "blue", 3600, "3.6")]),
        ([held(NOON - 100 * DAY, NOON - 99 * DAY)], []),
        ([held(NOON + 35 * HOUR, None)], [(1, "blue", 3600, "3.6")]),
        ([held(NOON + 50 * HOUR, None)], []),
        (
            [held(NOON, NOON + HOUR), held(NOON, NOON + HOUR, price="0", name="green")],
            [(0, "blue", 3600, "3.6"), (0, "green", 3600, "0")],
        ),
        (
            [held(NOON, NOON + HOUR, price="1"), held(NOON + HOUR, NOON + 2 * HOUR, price="2")],
            [(0, "blue", 7200, "3")],
        ),
    ],
)
def test_time_held_is_paid_by_day_and_deployment(
    spans: list[Held], expected: list[tuple[int, str, float, str]]
) -> None:
    found = costs_of(spans, first=MONDAY, last=MONDAY + DAY, now=NOON + 48 * HOUR)
    assert [
        (cost.day, cost.deployment_name, cost.instance_seconds, cost.cost) for cost in found
    ] == [
        (MONDAY + day * DAY, name, seconds, Decimal(cost)) for day, name, seconds, cost in expected
    ]


def test_what_is_still_held_costs_up_to_now() -> None:
    (cost,) = costs_of([held(NOON, None)], first=MONDAY, last=MONDAY, now=NOON + HOUR / 2)
    assert (cost.instance_seconds, cost.cost) == (1800, Decimal("1.8"))


def hold(endpoint: OnlineEndpoint, **fields: Any) -> None:
    defaults: dict[str, Any] = {
        "workspace": endpoint.workspace,
        "endpoint_name": endpoint.name,
        "deployment_name": "blue",
        "instance_name": f"i{InstanceSpan.objects.count()}",
        "instance_type": "Standard_DS3_v2",
        "price_per_hour": Decimal(1),
        "started_at": timezone.now() - 10 * DAY,
    }
    InstanceSpan.objects.create(**(defaults | fields))


@pytest.mark.django_db
def test_an_endpoints_costs_are_its_own_and_its_workspaces(django_assert_num_queries: Any) -> None:
    iris, other = make_online_endpoint(name="iris"), make_online_endpoint(name="other")
    hold(iris)
    hold(iris, endpoint_name="gone")
    hold(other, endpoint_name="iris")
    hold(iris, started_at=timezone.now() - 20 * DAY, ended_at=timezone.now() - 15 * DAY)
    with django_assert_num_queries(1):
        found = cost_per_day(iris, 3)
    assert len(found) == 3
    assert [cost.instance_seconds for cost in found[:2]] == [86400, 86400]
    assert {cost.endpoint_name for cost in workspace_cost_per_day(iris.workspace, 3)} == {
        "iris",
        "gone",
    }
