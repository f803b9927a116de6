from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoints.traffic import check_mirror, check_split, set_mirror_traffic, set_traffic
from tests.factories import make_deployment, make_online_endpoint, make_user
from workspaces.errors import Conflict, UserError
from workspaces.models import Activity

NAMES = ["blue", "green", "red"]


@pytest.mark.parametrize(
    ("wish", "split"),
    [
        ({"blue": 100}, {"blue": 100}),
        ({"blue": 90, "green": 10}, {"blue": 90, "green": 10}),
        ({"blue": 0, "green": 100}, {"green": 100}),
        ({"blue": 0, "green": 0}, {}),
        ({}, {}),
        ({"BLUE": 100}, {"blue": 100}),
        ({"gone": 0, "blue": 100}, {"blue": 100}),
    ],
)
def test_splits_that_are_right(wish: dict[str, int], split: dict[str, int]) -> None:
    assert check_split(wish, NAMES) == split


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        ({"blue": 60, "green": 50}, "adds up to 110 %"),
        ({"blue": 90}, "adds up to 90 %"),
        ({"blue": -1, "green": 101}, "whole number from 0 to 100"),
        ({"blue": 50.5, "green": 49.5}, "whole number"),
        ({"blue": "100"}, "whole number"),
        ({"blue": True}, "whole number"),
        ({"pink": 100}, "Deployment 'pink' does not exist.*blue, green, red"),
        ({"blue": 50, "Blue": 50}, "stands twice"),
    ],
)
def test_splits_that_are_wrong(wish: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        check_split(wish, NAMES)


@given(st.dictionaries(st.sampled_from(NAMES), st.integers(-20, 120)))
def test_whatever_is_accepted_adds_up_and_has_no_zeros(wish: dict[str, int]) -> None:
    try:
        split = check_split(wish, NAMES)
    except UserError:
        return
    assert sum(split.values()) in (0, 100)
    assert all(0 < percent <= 100 for percent in split.values())
    assert {name: percent for name, percent in wish.items() if percent} == split


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        ({"green": 51}, "0 to 50"),
        ({"blue": 10}, "gets 100 % live traffic"),
        ({"green": 10, "red": 10}, "Only one deployment"),
        ({"pink": 10}, "does not exist"),
    ],
)
def test_mirrors_that_are_wrong(wish: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        check_mirror(wish, NAMES, {"blue": 100})


def test_a_zero_clears_the_mirror() -> None:
    assert check_mirror({"green": 0}, NAMES, {"blue": 100}) == {}


@pytest.mark.django_db
def test_a_new_split_is_stored_counted_and_recorded() -> None:
    endpoint = make_online_endpoint(deployments={"blue": 100, "green": 0})
    alice = make_user("alice")
    changed = set_traffic(endpoint, {"blue": 90, "green": 10}, by=alice, note="canary")
    endpoint.refresh_from_db()
    assert endpoint.traffic == {"blue": 90, "green": 10}
    assert changed.revision == 2
    assert endpoint.published_version == 2
    row = Activity.objects.get(verb="update traffic")
    assert (row.actor, row.note) == (alice, "canary")
    assert row.before["traffic"] == {"blue": 100}


@pytest.mark.django_db
def test_of_two_people_changing_at_once_the_second_is_told_what_the_first_did() -> None:
    endpoint = make_online_endpoint(deployments={"blue": 100, "green": 0})
    set_traffic(endpoint, {"blue": 50, "green": 50}, by=make_user("ana"), based_on=1)
    with pytest.raises(
        Conflict, match=r"ana changed the traffic \d+ s ago to blue 50 %, green 50 %"
    ):
        set_traffic(endpoint, {"blue": 90, "green": 10}, by=make_user("alice"), based_on=1)
    endpoint.refresh_from_db()
    assert endpoint.traffic == {"blue": 50, "green": 50}


@pytest.mark.django_db
def test_the_same_split_again_changes_nothing() -> None:
    endpoint = make_online_endpoint(deployments={"blue": 100})
    assert set_traffic(endpoint, {"blue": 100}, by=None).revision == 1
    assert not Activity.objects.exists()


@pytest.mark.django_db
def test_a_deployment_that_is_not_ready_gets_no_traffic() -> None:
    endpoint = make_online_endpoint(deployments={"blue": 100})
    make_deployment(endpoint, "green", state="Creating")
    with pytest.raises(Conflict, match="'green' is not ready"):
        set_traffic(endpoint, {"blue": 90, "green": 10}, by=None)


@pytest.mark.django_db
def test_live_traffic_moves_a_mirrored_deployment_only_when_the_mirror_is_cleared() -> None:
    endpoint = make_online_endpoint(deployments={"blue": 100, "green": 0})
    set_mirror_traffic(endpoint, {"green": 20}, by=None)
    with pytest.raises(UserError, match="cannot get mirrored traffic too"):
        set_traffic(endpoint, {"blue": 0, "green": 100}, by=None)
