"""What the studio shows: charts with their tables, and lists that ask the database once."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import plotly.graph_objects as go
import pytest
from django.utils import timezone

from endpoints.models import OnlineEndpoint
from monitoring import charts, overview
from monitoring.charts import ChartData
from monitoring.metrics import Point
from monitoring.rollups import UsageKey, add_usage
from tests.factories import make_deployment, make_online_endpoint
from tests.monitoring.figures import LONG_AGO, minutes_ago, record
from workspaces.errors import UserError

pytestmark = pytest.mark.django_db


@pytest.fixture
def iris() -> OnlineEndpoint:
    endpoint = make_online_endpoint(name="iris", created_at=LONG_AGO)
    make_deployment(endpoint, "blue")
    make_deployment(endpoint, "green")
    return endpoint


def busy(endpoint: str = "iris") -> None:
    for minutes in (30, 29, 10):
        record(endpoint, minutes_ago(minutes), [10.0] * 5)
        record(endpoint, minutes_ago(minutes), [50.0], deployment="green", code=500)
        add_usage({UsageKey(minutes_ago(minutes), endpoint, "blue", "a"): (10.0, 20.0)})


def plain(value: Any) -> Any:
    """The figure with colours that Plotly itself knows."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return "#123456" if isinstance(value, str) and value.startswith("var(--") else value


@pytest.mark.parametrize("split", overview.SPLITS)
@pytest.mark.parametrize("name", overview.RANGES)
def test_every_chart_is_valid_and_has_its_table(
    iris: OnlineEndpoint, name: str, split: str
) -> None:
    busy()
    found = overview.monitoring_tab(iris, name, split)
    assert len({chart.key for chart in found}) == len(found) >= 8
    for chart in found:
        # Raises for anything that Plotly does not know.
        go.Figure(plain(json.loads(json.dumps(chart.figure))))
        assert all(len(row) == len(chart.columns) for row in chart.rows)
        assert len(chart.rows) <= 400
        for number, trace in enumerate(chart.figure["data"], 1):
            assert trace["y"] == [row[number] for row in chart.rows]


def chart(found: list[ChartData], key: str) -> ChartData:
    return next(one for one in found if one.key == key)


def test_requests_are_drawn_by_status_and_gaps_stay_gaps(iris: OnlineEndpoint) -> None:
    busy()
    requests = chart(overview.monitoring_tab(iris, "1h"), "requests")
    assert requests.columns == ["Time", "2xx", "5xx"]
    by_time = {row[0]: row[1:] for row in requests.rows}
    assert by_time[minutes_ago(30).strftime("%Y-%m-%dT%H:%M:%SZ")] == [5, 1]
    assert by_time[minutes_ago(20).strftime("%Y-%m-%dT%H:%M:%SZ")] == [None, None]
    colors = [trace["line"]["color"] for trace in requests.figure["data"]]
    assert colors == ["var(--success)", "var(--danger)"]
    assert not any(trace["connectgaps"] for trace in requests.figure["data"])
    # The lonely minute is visible too.
    assert requests.figure["data"][0]["mode"] == "lines+markers"


def test_a_deployment_has_one_colour_on_all_charts(iris: OnlineEndpoint) -> None:
    busy()
    found = overview.monitoring_tab(iris, "1h", "deployment", slots={"blue": 3, "green": 7})
    for key in ("requests", "latency_p95", "errors"):
        looks = {trace["name"]: trace["line"] for trace in chart(found, key).figure["data"]}
        assert looks["blue"]["color"] == "var(--deployment-3)"
        assert looks["green"]["color"] == "var(--deployment-7)"
        assert looks["blue"]["dash"] != looks["green"]["dash"]


def test_an_endpoint_without_requests_has_empty_charts(iris: OnlineEndpoint) -> None:
    found = overview.monitoring_tab(iris, "1h")
    assert chart(found, "requests").is_empty
    assert chart(found, "latency").is_empty


@pytest.mark.parametrize("split", overview.SPLITS)
def test_the_tab_asks_as_often_for_much_as_for_little(
    iris: OnlineEndpoint, split: str, django_assert_max_num_queries: Any
) -> None:
    busy()
    for name in ("red", "gold", "pink"):
        record("iris", minutes_ago(5), [1.0] * 50, deployment=name, code=404)
    with django_assert_max_num_queries(13):
        overview.monitoring_tab(iris, "24h", split)


@pytest.mark.parametrize(("range_", "split"), [("2h", "status"), ("1h", "colour")])
def test_what_is_not_offered_is_refused(iris: OnlineEndpoint, range_: str, split: str) -> None:
    with pytest.raises(UserError, match=r"Use one of"):
        overview.monitoring_tab(iris, range_, split)


def test_a_range_of_ones_own_has_a_fitting_interval() -> None:
    now = timezone.now()
    window = overview.window_between(now - timedelta(days=60), now)
    assert 60 <= (window.end - window.start) / window.interval <= 181
    with pytest.raises(UserError):
        overview.window_between(now, now)


def test_lists_ask_once_for_all_endpoints(
    iris: OnlineEndpoint, django_assert_num_queries: Any
) -> None:
    quiet = make_online_endpoint(name="quiet", created_at=LONG_AGO)
    fresh = make_online_endpoint(name="fresh")
    record("fresh", minutes_ago(10), [1.0])
    busy()
    endpoints = [iris, quiet, fresh]
    with django_assert_num_queries(1):
        lines = overview.sparklines(endpoints)
    with django_assert_num_queries(1):
        found = overview.summaries(endpoints, minutes=60)
    assert len(lines[iris.pk]) in (12, 13)
    assert sum(value or 0 for value in lines[iris.pk][:-1]) * 5 == pytest.approx(18)
    assert 0 in lines[iris.pk] and None not in lines[iris.pk]
    assert set(lines[quiet.pk]) == set(lines[fresh.pk]) == {None}
    assert found[quiet.pk] == found[fresh.pk] == overview.Summary()
    assert found[iris.pk].requests == 18
    assert found[iris.pk].requests_per_minute == pytest.approx(0.3)
    assert found[iris.pk].error_percent == pytest.approx(100 / 6)
    with django_assert_num_queries(1):
        failed = overview.failures([row.pk for row in endpoints], minutes=60)
    assert set(failed) == {iris.pk}
    assert failed[iris.pk].request_count == 18
    assert failed[iris.pk].percent == pytest.approx(100 / 6)
    assert found[iris.pk].p95_ms == pytest.approx(50, rel=0.01)
    assert overview.summary(iris, minutes=60) == found[iris.pk]


def test_a_sparkline_keeps_its_gaps() -> None:
    points = [Point(LONG_AGO, 1.23456), Point(LONG_AGO, None)]
    assert charts.sparkline(points) == [1.235, None]
