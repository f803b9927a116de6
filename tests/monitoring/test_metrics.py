"""Asking for metrics: figures add up, gaps are gaps, and nobody sees what went before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from endpoints.models import OnlineEndpoint
from monitoring import metrics, partitions, retention
from monitoring.metrics import CATALOGUE, Source, query
from monitoring.models import TrafficHour, TrafficMinute, UsageMinute
from monitoring.rollups import UsageKey, add_usage
from tests.factories import make_online_endpoint
from tests.monitoring.figures import LONG_AGO, record
from workspaces.errors import UserError

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def iris() -> OnlineEndpoint:
    return make_online_endpoint(name="iris", created_at=LONG_AGO)


def values(metric: str, endpoint: OnlineEndpoint, **options: Any) -> dict[str, list[float | None]]:
    asked: dict[str, Any] = {"start": NOON, "end": NOON + 3 * MINUTE, "interval": MINUTE} | options
    return {
        series.label: [point.value for point in series.points]
        for series in query(metric, endpoint, **asked)
    }


def test_minutes_without_requests_are_gaps_and_not_zero(iris: OnlineEndpoint) -> None:
    record("iris", NOON, [1, 2])
    record("iris", NOON + 2 * MINUTE, [3])
    assert values("RequestsPerMinute", iris) == {"": [2, None, 1]}


def test_longer_intervals_give_requests_per_minute(iris: OnlineEndpoint) -> None:
    record("iris", NOON, [1] * 6)
    record("iris", NOON + 2 * MINUTE, [1] * 3)
    wide = {"end": NOON + 6 * MINUTE, "interval": 3 * MINUTE}
    assert values("RequestsPerMinute", iris, **wide) == {"": [3, None]}


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("deployment", {"blue": [2, None, None], "green": [1, None, None]}),
        ("statusCode", {"200": [2, None, None], "424": [1, None, None]}),
        ("statusCodeClass", {"2xx": [2, None, None], "4xx": [1, None, None]}),
        ("modelStatusCode", {"0": [2, None, None], "500": [1, None, None]}),
    ],
)
def test_requests_split_by_a_dimension(
    iris: OnlineEndpoint, split: str, expected: dict[str, list[float | None]]
) -> None:
    record("iris", NOON, [1, 2])
    record("iris", NOON, [3], deployment="green", code=424, model_code=500)
    assert values("RequestsPerMinute", iris, split_by=split) == expected


def test_latencies_are_right_to_one_percent(iris: OnlineEndpoint) -> None:
    record("iris", NOON, [float(number) for number in range(1, 101)])
    record("iris", NOON, [1000.0], deployment="green", code=500)
    for metric, expected in {
        "RequestLatency_P50": 51,
        "RequestLatency_P90": 91,
        "RequestLatency_P95": 96,
        "RequestLatency_P99": 100,
    }.items():
        assert values(metric, iris)[""][0] == pytest.approx(expected, rel=0.01)
        assert values(metric, iris)[""][1:] == [None, None]
    assert values("RequestLatency", iris)[""][0] == pytest.approx(6050 / 101, rel=1e-6)
    assert values("RequestLatency_P50", iris, split_by="deployment")["green"][0] == pytest.approx(
        1000, rel=0.01
    )
    assert values("RequestLatency_P99", iris, deployment="green")[""][0] == pytest.approx(
        1000, rel=0.01
    )


def test_failures_are_what_the_caller_is_not_to_blame_for(iris: OnlineEndpoint) -> None:
    record("iris", NOON, [1] * 4)
    record("iris", NOON, [1] * 4, code=401)
    record("iris", NOON, [1], code=424, model_code=500)
    record("iris", NOON, [1], code=503)
    assert values("FailedRequestsPercentage", iris) == {"": [20, None, None]}


def test_network_counts_both_directions_by_the_second(iris: OnlineEndpoint) -> None:
    record("iris", NOON, [1] * 6)
    assert values("NetworkBytes", iris) == {"": [30, None, None]}


def test_hours_give_the_same_figures_as_their_minutes(iris: OnlineEndpoint) -> None:
    for minute in range(0, 120, 7):
        record("iris", NOON + minute * MINUTE, [float(minute + 1)] * (minute + 1))
    asked = {"end": NOON + 120 * MINUTE}
    hourly = values("RequestsPerMinute", iris, interval=60 * MINUTE, **asked)[""]
    of_minutes = values("RequestsPerMinute", iris, interval=30 * MINUTE, **asked)[""]
    assert hourly == [
        pytest.approx(sum(value or 0 for value in of_minutes[half : half + 2]) / 2)
        for half in (0, 2)
    ]
    TrafficMinute.objects.all().delete()
    assert values("RequestsPerMinute", iris, interval=60 * MINUTE, **asked)[""] == hourly


def test_usage_is_averaged_over_samples_and_instances(iris: OnlineEndpoint) -> None:
    for cpu, memory, instance in ((10.0, 50.0, "a"), (30.0, 50.0, "a"), (50.0, 80.0, "b")):
        add_usage({UsageKey(NOON, "iris", "blue", instance): (cpu, memory)})
    assert values("CpuUtilizationPercentage", iris) == {"": [30, None, None]}
    assert values("CpuUtilizationPercentage", iris, aggregation="maximum")[""][0] == 50
    assert values("CpuUtilizationPercentage", iris, aggregation="minimum")[""][0] == 10
    by_instance = values("CpuMemoryUtilizationPercentage", iris, split_by="instanceId")
    assert by_instance == {"a": [50, None, None], "b": [80, None, None]}
    assert values("DeploymentCapacity", iris) == {"": [2, None, None]}


def test_figures_of_an_earlier_endpoint_of_the_same_name_are_not_shown() -> None:
    record("iris", NOON, [1] * 7)
    iris = make_online_endpoint(name="iris", created_at=NOON + MINUTE)
    record("iris", NOON + MINUTE, [1])
    assert values("RequestsPerMinute", iris) == {"": [None, 1, None]}


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_metric_can_be_asked_for_in_every_way_it_offers(
    iris: OnlineEndpoint, name: str
) -> None:
    metric = CATALOGUE[name]
    record("iris", NOON, [5.0])
    add_usage({UsageKey(NOON, "iris", "blue", "a"): (10.0, 20.0)})
    splits = metrics.TRAFFIC_SPLITS if metric.source == Source.TRAFFIC else metrics.USAGE_SPLITS
    for split in splits:
        for aggregation in metric.aggregations or {"average": ""}:
            found = values(name, iris, split_by=split or None, aggregation=aggregation)
            assert [series[0] is not None for series in found.values()] == [True]
    assert metric.unit and metric.description


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"split_by": "colour"}, "RequestsPerMinute can be split by deployment"),
        ({"aggregation": "median"}, "is aggregated by average"),
        ({"interval": timedelta(seconds=30)}, "Use whole minutes"),
        ({"start": LONG_AGO}, "more than 3000 points"),
    ],
)
def test_what_cannot_be_asked_is_answered_with_a_sentence(
    iris: OnlineEndpoint, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        values("RequestsPerMinute", iris, **options)


def test_an_unknown_metric_is_answered_with_the_known_ones(iris: OnlineEndpoint) -> None:
    with pytest.raises(UserError, match=r"Known: RequestsPerMinute"):
        values("Requests", iris)


# What is kept -----------------------------------------------------------------------------------------


def parts() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT inhrelid::regclass::text FROM pg_inherits ORDER BY 1")
        names = (name for (name,) in cursor.fetchall())
        return [name for name in names if name.startswith("monitoring_trafficminute_2")]


def test_minutes_go_by_whole_months_and_hours_by_rows(
    iris: OnlineEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH_ROWS", 2)
    for month in (1, 2, 3):
        for minute in (0, 60, 120):
            record("iris", datetime(2024, month, 15, tzinfo=UTC) + minute * MINUTE, [1])
    partitions.drop_before(datetime(2024, 3, 1, 0, 0, 1, tzinfo=UTC))
    assert "monitoring_trafficminute_202402" not in parts()
    assert "monitoring_trafficminute_202403" in parts()
    assert TrafficMinute.objects.filter(endpoint_name="iris").count() == 3
    assert TrafficHour.objects.filter(endpoint_name="iris").count() == 9
    assert retention.prune_hours(datetime(2024, 2, 15, 1, tzinfo=UTC)) == 4
    assert TrafficHour.objects.filter(endpoint_name="iris").count() == 5


def test_a_part_goes_only_when_its_whole_month_is_too_old(iris: OnlineEndpoint) -> None:
    record("iris", datetime(2024, 1, 31, 23, 59, tzinfo=UTC), [1])
    partitions.drop_before(datetime(2024, 1, 31, 23, 59, tzinfo=UTC))
    assert TrafficMinute.objects.count() == 1
    retention.prune()
    assert TrafficMinute.objects.count() == 0
    assert UsageMinute.objects.count() == 0
