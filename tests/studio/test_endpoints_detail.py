"""The page of one endpoint: its cards, editing with conflicts, deleting, YAML, activity, overview."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
import yaml
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries

from deployments.models import SampleLoad
from endpoints.changes import update_endpoint
from endpoints.models import OnlineEndpoint
from endpoints.traffic import set_traffic
from portal.studio.activity import Change, changes_of
from portal.studio.endpoint import read_tags, tags_text
from tests.factories import (
    Cast,
    make_deployment,
    make_environment,
    make_model,
    make_online_endpoint,
)
from tests.monitoring.figures import record as record_requests
from workspaces.activity import record
from workspaces.errors import UserError
from workspaces.models import Environment, Model

PART = {"HX-Request": "true"}


@pytest.fixture
def endpoint(cast: Cast) -> OnlineEndpoint:
    return make_online_endpoint(
        cast.workspace, "churn", deployments={"blue": 90, "green": 10}, description="Who leaves."
    )


def url(endpoint: OnlineEndpoint, name: str = "endpoint") -> str:
    return reverse(f"studio:{name}", args=[endpoint.workspace.name, endpoint.name])


def words(response: object) -> str:
    """The page's text on one line."""
    return " ".join(response.content.decode().split())  # type: ignore[attr-defined]


# Details ----------------------------------------------------------------------------------------------


def test_the_page_shows_where_it_answers_and_what_runs(
    alice: Client, endpoint: OnlineEndpoint
) -> None:
    text = words(alice.get(url(endpoint)))
    for wanted in (endpoint.scoring_uri, endpoint.openapi_uri, "Who leaves.", "diabetes:1", "sklearn:1",
                   "Standard_DS3_v2", "90 % live", "1 of 1 ready"):  # fmt: skip
        assert wanted in text


def test_what_was_never_named_is_told_in_words(alice: Client, cast: Cast) -> None:
    endpoint = make_online_endpoint(cast.workspace, "churn")
    environment = make_environment(cast.workspace, "0e753abf")
    model = make_model(cast.workspace, "1b9f00aa", leaf="model.pkl")
    Environment.objects.filter(pk=environment.environment_id).update(is_anonymous=True)
    Model.objects.filter(pk=model.model_id).update(is_anonymous=True)
    of = {"environment_version": environment, "model_version": model}
    make_deployment(endpoint, "blue", revision=of)
    text = words(alice.get(url(endpoint)))
    assert "packages of this deployment" in text
    assert "model.pkl" in text
    for name in (str(environment), str(model)):
        assert name not in text
    page = alice.get(
        reverse("studio:deployment", args=[cast.workspace.name, endpoint.name, "blue"])
    )
    assert "packages of this deployment" in words(page)


def test_the_number_of_queries_does_not_grow_with_deployments(
    alice: Client, endpoint: OnlineEndpoint, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    alice.get(url(endpoint), headers=PART)
    with django_assert_num_queries(QUERIES):
        alice.get(url(endpoint), headers=PART)
    for number in range(5):
        make_deployment(endpoint, f"more-{number}", state="Updating")
    with django_assert_num_queries(QUERIES + 1):  # the phases of what runs
        alice.get(url(endpoint), headers=PART)


QUERIES = 13


def test_a_deployment_with_traffic_is_not_deletable_and_says_why(
    alice: Client, endpoint: OnlineEndpoint
) -> None:
    make_deployment(endpoint, "idle")
    text = words(alice.get(url(endpoint)))
    assert "Set its traffic to 0 % first." in text
    assert (
        reverse("studio:delete_deployment", args=[endpoint.workspace.name, "churn", "idle"])
        in text
    )
    assert (
        reverse("studio:delete_deployment", args=[endpoint.workspace.name, "churn", "blue"])
        not in text
    )


def test_a_failed_deployment_says_why_on_its_card(alice: Client, endpoint: OnlineEndpoint) -> None:
    failure = {
        "title": "init() failed",
        "cause": "model.pkl is missing.",
        "code": "X",
        "phase": "Load model",
    }
    make_deployment(endpoint, "red", state="Failed", failure=failure)
    assert "model.pkl is missing." in words(alice.get(url(endpoint)))


def test_the_page_asks_again_only_while_something_is_busy(
    alice: Client, endpoint: OnlineEndpoint
) -> None:
    assert "every 2s" not in words(alice.get(url(endpoint)))
    make_deployment(endpoint, "red", state="Creating")
    text = words(alice.get(url(endpoint)))
    assert "every 2s" in text
    assert "Creating: Load model" in text


def test_an_endpoint_without_deployments_says_what_to_do(alice: Client, cast: Cast) -> None:
    empty = make_online_endpoint(cast.workspace)
    text = words(alice.get(url(empty)))
    assert "No deployments yet." in text
    assert reverse("studio:create_deployment", args=[cast.workspace.name, empty.name]) in text


def test_the_name_is_found_without_regard_to_case(alice: Client, endpoint: OnlineEndpoint) -> None:
    address = reverse("studio:endpoint", args=[endpoint.workspace.name, "CHURN"])
    assert alice.get(address).status_code == 200


def test_text_of_users_is_shown_and_never_run(alice: Client, cast: Cast) -> None:
    nasty = "<script>alert(1)</script>"
    endpoint = make_online_endpoint(cast.workspace, description=nasty, tags={nasty: nasty})
    assert nasty not in alice.get(url(endpoint)).content.decode()
    assert nasty not in alice.get(url(endpoint, "edit_endpoint")).content.decode()


def test_yaml_is_what_the_command_line_takes(alice: Client, endpoint: OnlineEndpoint) -> None:
    reply = alice.get(url(endpoint) + "?format=yaml")
    assert reply.headers["Content-Disposition"] == 'attachment; filename="churn.yml"'
    assert yaml.safe_load(reply.content) == {
        "$schema": "https://azuremlschemas.azureedge.net/latest/managedOnlineEndpoint.schema.json",
        "name": "churn",
        "description": "Who leaves.",
        "auth_mode": "key",
        "traffic": {"blue": 90, "green": 10},
    }


# Editing ----------------------------------------------------------------------------------------------


def test_description_and_tags_are_changed(alice: Client, endpoint: OnlineEndpoint) -> None:
    fields = {"description": "New\r\ntext", "tags": "team: fraud\r\nstage: test", "revision": "1"}
    assert alice.post(url(endpoint, "edit_endpoint"), fields).status_code == 303
    endpoint.refresh_from_db()
    assert endpoint.description == "New\ntext"
    assert endpoint.tags == {"team": "fraud", "stage": "test"}
    assert endpoint.revision == 2


def test_a_change_in_between_is_shown_and_not_overwritten(
    alice: Client, endpoint: OnlineEndpoint, cast: Cast
) -> None:
    update_endpoint(endpoint, {"description": "Theirs."}, by=cast.bob)
    mine = {"description": "Mine.", "tags": "", "revision": "1"}
    page = alice.post(url(endpoint, "edit_endpoint"), mine)
    assert page.status_code == 409
    assert "Theirs." in words(page)
    assert "Mine." in words(page)
    endpoint.refresh_from_db()
    assert endpoint.description == "Theirs."
    # The form now stands on what is there: sending it again is a decision.
    again = {**mine, "revision": str(page.context["endpoint"].revision)}
    assert alice.post(url(endpoint, "edit_endpoint"), again).status_code == 303
    endpoint.refresh_from_db()
    assert endpoint.description == "Mine."


@pytest.mark.parametrize("tags", ["no colon", ": nothing", "a: 1\na: 2"])
def test_tags_that_are_none_are_refused_and_kept_in_the_form(
    alice: Client, endpoint: OnlineEndpoint, tags: str
) -> None:
    fields = {"description": "", "tags": tags, "revision": "1"}
    page = alice.post(url(endpoint, "edit_endpoint"), fields)
    assert page.status_code == 422
    assert page.context["tags"] == tags
    assert page.context["error"].target == "tags"


TAG = st.text(st.characters(categories=("L", "N", "P")), min_size=1).filter(
    lambda text: ":" not in text
)


@given(st.dictionaries(TAG, st.one_of(st.just(""), TAG)))
def test_tags_survive_the_form(tags: dict[str, str]) -> None:
    assert read_tags(tags_text(tags)) == tags


def test_a_wrong_line_of_tags_is_named() -> None:
    with pytest.raises(UserError, match="Line 2 is “oops”"):
        read_tags("a: b\noops")


# Deleting ---------------------------------------------------------------------------------------------


def test_an_endpoint_that_serves_must_be_typed(alice: Client, endpoint: OnlineEndpoint) -> None:
    assert "2 deployments, 2 keys" in words(alice.get(url(endpoint, "delete_endpoint")))
    assert alice.post(url(endpoint, "delete_endpoint"), {"name": "wrong"}).status_code == 422
    endpoint.refresh_from_db()
    assert endpoint.state == "Succeeded"
    assert alice.post(url(endpoint, "delete_endpoint"), {"name": "churn"}).status_code == 303
    endpoint.refresh_from_db()
    assert endpoint.state == "Deleting"


def test_an_idle_endpoint_goes_at_a_click(alice: Client, cast: Cast) -> None:
    idle = make_online_endpoint(cast.workspace, deployments={"blue": 0})
    assert alice.post(url(idle, "delete_endpoint")).status_code == 303
    idle.refresh_from_db()
    assert idle.state == "Deleting"


# Activity ---------------------------------------------------------------------------------------------


def test_the_activity_shows_what_changed(
    alice: Client, endpoint: OnlineEndpoint, cast: Cast
) -> None:
    set_traffic(endpoint, {"blue": 50, "green": 50}, by=cast.alice, note="half and half")
    text = words(alice.get(url(endpoint, "endpoint_activity")))
    assert "<del>90</del>" in text
    assert "<ins>50</ins>" in text
    assert "half and half" in text


def test_the_activity_of_an_earlier_endpoint_of_that_name_is_not_shown(
    alice: Client, cast: Cast, endpoint: OnlineEndpoint
) -> None:
    old = record(cast.workspace, "retire it", endpoint, by=cast.alice, endpoint_name="churn")
    old.at = endpoint.created_at.replace(year=2020)
    old.save()
    assert "retired it" not in words(alice.get(url(endpoint, "endpoint_activity")))
    everything = reverse("studio:activity", args=[cast.workspace.name])
    assert "retired it" in words(alice.get(everything))


def test_changes_are_told_by_the_path_of_the_field() -> None:
    before = {"traffic": {"blue": 100}, "tags": {"a": "1"}, "same": 1}
    after = {"traffic": {"blue": 90, "green": 10}, "tags": {}, "same": 1}
    assert changes_of(before, after) == [
        Change("traffic.blue", "100", "90"),
        Change("tags.a", "1", None),
        Change("traffic.green", None, "10"),
    ]


def test_activity_pages_have_a_fixed_number_of_queries(
    alice: Client,
    cast: Cast,
    endpoint: OnlineEndpoint,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(60):
        record(cast.workspace, f"verb {number}", endpoint, by=cast.alice, endpoint_name="churn")
    address = reverse("studio:activity", args=[cast.workspace.name])
    alice.get(address, headers=PART)
    with django_assert_num_queries(7):
        alice.get(address, headers=PART)


# Overview ---------------------------------------------------------------------------------------------


def overview(cast: Cast) -> str:
    return reverse("studio:overview", args=[cast.workspace.name])


def test_a_new_workspace_is_led_by_the_hand(alice: Client, cast: Cast) -> None:
    text = words(alice.get(overview(cast)))
    for wanted in ("First steps", "Register a model", "Load sample endpoints"):
        assert wanted in text


def test_what_needs_attention_is_listed_with_a_way_out(alice: Client, cast: Cast) -> None:
    silent = make_online_endpoint(cast.workspace, "silent", traffic={"blue": 100})
    make_deployment(silent, "blue", state="Failed", failure={"cause": "It broke.", "title": "T"})
    make_online_endpoint(cast.workspace, "no-traffic", deployments={"blue": 0})
    page = alice.get(overview(cast))
    found = [(item.state, item.subject) for item in page.context["attention"]]
    assert ("Failed", "silent / blue") in found
    assert ("Unhealthy", "silent") in found
    assert ("NoTraffic", "no-traffic") in found
    assert "It broke." in words(page)


@pytest.mark.parametrize(("code", "is_failing"), [(500, True), (424, True), (400, False)])
def test_the_figure_of_failed_requests_is_red_only_with_the_endpoint_listed_beside_it(
    alice: Client, cast: Cast, code: int, is_failing: bool
) -> None:
    now = timezone.now()
    made_at = now - timedelta(hours=1)
    make_online_endpoint(cast.workspace, "ill", deployments={"blue": 100}, created_at=made_at)
    record_requests("ill", now, [5] * 4)
    record_requests("ill", now, [5] * 3, code=code)
    page = alice.get(overview(cast))
    found = [(item.state, item.subject) for item in page.context["attention"]]
    text = words(page)
    assert found == ([("Degraded", "ill")] if is_failing else [])
    assert ("stat--danger" in text) is is_failing
    assert ("All is well." in text) is not is_failing
    assert ("42.9 % of 7 requests failed in the last 15 minutes" in text) is is_failing
    assert "other client errors do not count" in text


def test_one_failed_request_of_many_leaves_the_overview_well(alice: Client, cast: Cast) -> None:
    now = timezone.now()
    made_at = now - timedelta(hours=1)
    make_online_endpoint(cast.workspace, "busy", deployments={"blue": 100}, created_at=made_at)
    record_requests("busy", now, [5] * 999)
    record_requests("busy", now, [5], code=500)
    text = words(alice.get(overview(cast)))
    assert "All is well." in text
    assert "stat--danger" not in text


def test_the_overview_has_a_fixed_number_of_queries(
    alice: Client, cast: Cast, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    make_online_endpoint(cast.workspace, deployments={"blue": 100})
    alice.get(overview(cast), headers=PART)
    with django_assert_num_queries(17):
        alice.get(overview(cast), headers=PART)
    for _ in range(5):
        failing = make_online_endpoint(cast.workspace, traffic={"blue": 100})
        make_deployment(failing, "blue", state="Failed")
    with django_assert_num_queries(17):
        alice.get(overview(cast), headers=PART)


def test_loading_the_samples_is_a_wish_that_the_page_follows(alice: Client, cast: Cast) -> None:
    address = reverse("studio:load_samples", args=[cast.workspace.name])
    assert alice.post(address).status_code == 303
    assert SampleLoad.objects.get(workspace=cast.workspace).state == SampleLoad.State.WANTED
    text = words(alice.get(overview(cast)))
    assert "Loading the sample endpoint." in text
    assert "every 2s" in text


def test_samples_whose_name_is_taken_are_refused_with_the_reason(
    alice: Client, cast: Cast
) -> None:
    make_online_endpoint(name="diabetes")
    page = alice.post(reverse("studio:load_samples", args=[cast.workspace.name]))
    assert page.status_code == 409
    assert "in use in another workspace" in words(page)


def palette(client: Client, cast: Cast, q: str) -> list[str]:
    reply = client.get(reverse("studio:palette", args=[cast.workspace.name]), {"q": q})
    return [item["label"] for item in json.loads(reply.content)["items"]]


def test_the_palette_finds_pages_endpoints_and_actions(
    alice: Client, bob: Client, cast: Cast, endpoint: OnlineEndpoint
) -> None:
    assert "Endpoints" in palette(alice, cast, "endp")
    assert palette(alice, cast, "churn")[0] == "churn"
    assert "churn: Send all traffic to green" in palette(alice, cast, "green churn")
    assert not any("traffic" in label for label in palette(bob, cast, "churn"))
    assert palette(alice, cast, "no such thing") == []


def test_the_overview_adds_up_and_names_the_slowest(alice: Client, cast: Cast) -> None:
    now = timezone.now()
    for name, milliseconds in (("quick", 5), ("slow", 50)):
        made_at = now - timedelta(hours=1)
        make_online_endpoint(cast.workspace, name, deployments={"blue": 100}, created_at=made_at)
        record_requests(name, now, [milliseconds] * 15)
    totals = alice.get(overview(cast)).context["totals"]
    assert totals.requests_per_minute == pytest.approx(2)
    assert totals.slowest_name == "slow"
    assert totals.slowest_p95_ms == pytest.approx(50, rel=0.02)
    assert totals.error_percent == 0
