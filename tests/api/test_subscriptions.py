"""Where a client begins that has but an address and a token."""

from __future__ import annotations

import pytest

from tests.api.conftest import Api
from tests.factories import Cast

pytestmark = pytest.mark.django_db


def test_members_see_the_subscriptions_of_their_workspaces(cast: Cast, alice: Api) -> None:
    answer = alice.get("/subscriptions")
    assert answer.status == 200
    [one] = answer.json["value"]
    assert one["subscriptionId"] == cast.workspace.subscription_id
    assert one["id"] == f"/subscriptions/{cast.workspace.subscription_id}"


def test_a_stranger_sees_none(charlie: Api) -> None:
    assert charlie.get("/subscriptions").json["value"] == []


def test_a_reader_sees_them_too(cast: Cast, bob: Api) -> None:
    [one] = bob.get("/subscriptions/").json["value"]
    assert one["subscriptionId"] == cast.workspace.subscription_id


def test_nobody_without_a_token(cast: Cast) -> None:
    assert Api(cast.workspace).get("/subscriptions").status == 401
