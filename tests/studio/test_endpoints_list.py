"""The list: order, filters, pages, figures, deleting several; and a number of queries that does not grow."""

from __future__ import annotations

import csv
import io
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from endpoints.models import OnlineEndpoint
from monitoring.rollups import TrafficKey, TrafficSums, add_traffic, minute_of
from tests.factories import Cast, make_deployment, make_online_endpoint, make_user


def url(cast: Cast, **query: str) -> str:
    address = reverse("studio:endpoints", args=[cast.workspace.name])
    return address + "?" + "&".join(f"{name}={value}" for name, value in query.items())


def names(client: Client, cast: Cast, **query: str) -> list[str]:
    """The endpoints in the order of the page."""
    return [row.name for row in client.get(url(cast, **query)).context["rows"]]


@pytest.fixture
def three(cast: Cast) -> Cast:
    """One endpoint that is well, one degraded, one that does not answer."""
    make_online_endpoint(
        cast.workspace, "alpha", deployments={"blue": 100}, tags={"team": "fraud"}
    )
    beta = make_online_endpoint(cast.workspace, "beta", traffic={"blue": 100})
    make_deployment(beta, "blue", instance_count=2, ready=1)
    gamma = make_online_endpoint(
        cast.workspace,
        "gamma",
        traffic={"blue": 100},
        auth_mode="aml_token",
        tags={"team": "churn"},
    )
    make_deployment(gamma, "blue", state="Failed")
    return cast


def test_the_worst_come_first(alice: Client, three: Cast) -> None:
    assert names(alice, three) == ["gamma", "beta", "alpha"]


def test_order_is_in_the_address(alice: Client, three: Cast) -> None:
    assert names(alice, three, sort="name") == ["alpha", "beta", "gamma"]
    assert names(alice, three, sort="-name") == ["gamma", "beta", "alpha"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"q": "alp"}, ["alpha"]),
        ({"health": "Unhealthy"}, ["gamma"]),
        ({"health": "Healthy"}, ["alpha"]),
        ({"auth": "aml_token"}, ["gamma"]),
        ({"tag": "team"}, ["gamma", "alpha"]),
        ({"tag": "team=fraud"}, ["alpha"]),
        ({"owner": "alice"}, ["gamma", "beta", "alpha"]),
        ({"owner": "alice", "auth": "key", "health": "Degraded"}, ["beta"]),
    ],
)
def test_filters_combine(
    alice: Client, three: Cast, query: dict[str, str], found: list[str]
) -> None:
    assert names(alice, three, **query) == found


def test_a_filter_that_is_none_shows_everything_with_its_error(alice: Client, three: Cast) -> None:
    page = alice.get(url(three, health="Nonsense"))
    assert page.status_code == 200


def test_fifty_are_on_a_page(alice: Client, cast: Cast) -> None:
    for number in range(53):
        make_online_endpoint(cast.workspace, f"endpoint-{number:02}")
    assert len(names(alice, cast)) == 50
    assert names(alice, cast, page="2") == ["endpoint-50", "endpoint-51", "endpoint-52"]
    assert names(alice, cast, page="99") == ["endpoint-50", "endpoint-51", "endpoint-52"]


def test_the_number_of_queries_does_not_grow(
    alice: Client, cast: Cast, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """Session, user, workspace, role twice, owners, endpoints, deployments, three for figures, two for the frame."""
    make_online_endpoint(cast.workspace, deployments={"blue": 100})
    address = url(cast)
    alice.get(address)
    with django_assert_num_queries(QUERIES):
        alice.get(address)
    for _ in range(30):
        make_online_endpoint(cast.workspace, deployments={"blue": 90, "green": 10})
    with django_assert_num_queries(QUERIES):
        alice.get(address)


QUERIES = 13


def test_figures_of_the_last_minutes_are_in_the_row(alice: Client, cast: Cast) -> None:
    now = timezone.now()
    made_at = now - timedelta(hours=1)
    make_online_endpoint(cast.workspace, "churn", deployments={"blue": 100}, created_at=made_at)
    sums = TrafficSums()
    for _ in range(15):
        sums.add_request(request_bytes=10, response_bytes=10, latency_us=20_000, model_us=10_000)
    minutes = [minute_of(now), minute_of(now - timedelta(minutes=10))]
    add_traffic({TrafficKey(minute, "churn", "blue", 200, 0): sums for minute in minutes})
    page = alice.get(url(cast))
    row = page.context["rows"][0]
    assert row.figures.requests_per_minute == pytest.approx(2)
    assert row.figures.p95_ms == pytest.approx(20, rel=0.02)
    assert row.figures.has_requests
    assert "sparkline" in page.content.decode()


def test_a_busy_list_asks_again_and_a_quiet_one_does_not(alice: Client, cast: Cast) -> None:
    endpoint = make_online_endpoint(cast.workspace, deployments={"blue": 100})
    assert "every 3s" not in alice.get(url(cast)).content.decode()
    make_deployment(endpoint, "green", state="Creating")
    assert "every 3s" in alice.get(url(cast)).content.decode()


def test_the_part_is_contained_in_the_page(alice: Client, three: Cast) -> None:
    part = alice.get(url(three), headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in part
    assert 'id="endpoint-list"' in part
    assert 'id="endpoint-list"' in alice.get(url(three)).content.decode()


def test_an_empty_workspace_says_how_to_make_the_first(
    alice: Client, bob: Client, cast: Cast
) -> None:
    text = alice.get(url(cast)).content.decode()
    assert "No real-time endpoints yet." in text
    assert "Load samples" in text
    assert "Load samples" not in bob.get(url(cast)).content.decode()


def test_nothing_found_offers_to_clear_the_filters(alice: Client, three: Cast) -> None:
    text = alice.get(url(three, q="nothing")).content.decode()
    assert "No endpoint matches these filters." in text
    assert "Clear filters" in text


def test_csv_has_every_endpoint_that_the_filters_let_through(alice: Client, three: Cast) -> None:
    reply = alice.get(url(three, format="csv", auth="key"))
    assert reply.headers["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(reply.content.decode())))
    assert [row["name"] for row in rows] == ["beta", "alpha"]
    assert rows[0]["traffic"] == "blue=100"


def test_a_name_cannot_become_a_formula_of_a_spreadsheet(alice: Client, cast: Cast) -> None:
    make_online_endpoint(cast.workspace, created_by=make_user("+cmd"))
    reply = alice.get(url(cast, format="csv"))
    assert next(csv.DictReader(io.StringIO(reply.content.decode())))["created_by"] == "'+cmd"


def test_deleting_several_asks_first(alice: Client, three: Cast) -> None:
    address = reverse("studio:delete_endpoints", args=[three.workspace.name])
    page = alice.post(address, {"name": ["alpha", "beta"]})
    assert page.status_code == 200
    assert "2 of them serve traffic" in " ".join(page.content.decode().split())
    assert not OnlineEndpoint.objects.filter(state="Deleting").exists()


def test_deleting_several_deletes_those_named_and_no_other(alice: Client, three: Cast) -> None:
    elsewhere = make_online_endpoint(name="elsewhere")
    address = reverse("studio:delete_endpoints", args=[three.workspace.name])
    reply = alice.post(address, {"name": ["alpha", "beta", "elsewhere"], "confirm": "yes"})
    assert reply.status_code == 303
    going = OnlineEndpoint.objects.filter(state="Deleting").values_list("name", flat=True)
    assert sorted(going) == ["alpha", "beta"]
    elsewhere.refresh_from_db()
    assert elsewhere.state == "Succeeded"


def test_deleting_nothing_says_so(alice: Client, three: Cast) -> None:
    address = reverse("studio:delete_endpoints", args=[three.workspace.name])
    assert alice.post(address, {}).status_code == 303
    page = alice.get(url(three))
    assert "Choose the endpoints to delete first." in page.content.decode()
