"""One's own tokens over the API: what a token may do for itself and for others of its user."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import Api, speak_as
from tests.factories import Cast, make_workspace
from workspaces import tokens
from workspaces.models import PersonalToken, TokenScope

HERE = "/api/tokens"


def make(api: Api, **fields: Any) -> Any:
    return api.post(HERE, {"name": "laptop", **fields})


def test_a_token_is_made_shown_once_listed_and_revoked(alice: Api, cast: Cast) -> None:
    made = make(alice, scope="read", workspace=cast.workspace.name, expiresInDays=7)
    assert made.status == 201, made
    assert made.headers["Cache-Control"] == "no-store"
    text = made.json["token"]
    assert Api(cast.workspace, text).get().status == 200
    listed = alice.get(HERE)
    assert text not in listed.text
    [row] = [item for item in listed.json["value"] if item["name"] == "laptop"]
    assert (row["scope"], row["workspace"]) == ("read", cast.workspace.name)
    assert row["expiresAt"] and row["lastUsedAt"]
    assert alice.get(f"{HERE}/{row['id']}").json == row
    assert alice.delete(f"{HERE}/{row['id']}").status == 200
    assert alice.delete(f"{HERE}/{row['id']}").status == 204
    assert alice.get(f"{HERE}/{row['id']}").status == 404
    assert Api(cast.workspace, text).get().status == 401


@pytest.mark.parametrize(
    ("fields", "target"),
    [
        ({"name": ""}, "name"),
        ({"name": 5}, "name"),
        ({"scope": "root"}, "scope"),
        ({"workspace": "nowhere"}, "workspace"),
        ({"expiresInDays": -1}, "expiresInDays"),
        ({"expiresInDays": "soon"}, "expiresInDays"),
        ({"expiresInDays": 0}, "lifetime"),
        ({"expiresInDays": 9999}, "lifetime"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_made(
    alice: Api, fields: dict[str, Any], target: str
) -> None:
    before = PersonalToken.objects.count()
    reply = make(alice, **fields)
    assert (reply.status, reply.error["target"]) == (400, target), reply
    assert PersonalToken.objects.count() == before


def test_a_workspace_that_one_cannot_see_is_one_that_does_not_exist(bob: Api) -> None:
    make_workspace("hidden")
    hidden, nowhere = make(bob, workspace="hidden"), make(bob, workspace="absent")
    assert hidden.status == nowhere.status == 400
    assert hidden.text.replace("hidden", "absent") == nowhere.text


def test_a_name_twice_is_a_conflict(alice: Api) -> None:
    assert make(alice).status == 201
    assert make(alice).status == 409


@pytest.mark.parametrize("scope", [TokenScope.READ, TokenScope.SCORE])
def test_a_limited_token_makes_none_and_ends_itself_alone(cast: Cast, scope: str) -> None:
    other, _ = tokens.create_token(cast.alice, "other")
    own, text = tokens.create_token(cast.alice, "limited", scope=scope)
    api = Api(cast.workspace, text)
    refused = make(api)
    assert (refused.status, refused.error["code"]) == (403, "AuthorizationFailed")
    assert api.delete(f"{HERE}/{other.pk}").status == 403
    assert api.delete(f"{HERE}/current").status == 200
    assert not PersonalToken.objects.filter(pk=own.pk).exists()
    assert PersonalToken.objects.filter(pk=other.pk).exists()


def test_everybody_sees_and_ends_their_own_alone(alice: Api, bob: Api, cast: Cast) -> None:
    hers = make(alice).json["id"]
    assert "laptop" not in bob.get(HERE).text
    assert bob.get(f"{HERE}/{hers}").status == 404
    assert bob.delete(f"{HERE}/{hers}").status == 204
    assert PersonalToken.objects.filter(pk=hers).exists()


@pytest.mark.parametrize("odd", ["0", "x", "-1", "1" * 40, "%00"])
def test_odd_ids_are_no_tokens(alice: Api, odd: str) -> None:
    assert alice.get(f"{HERE}/{odd}").status == 404
    assert alice.delete(f"{HERE}/{odd}").status == 204


def test_a_token_of_one_workspace_gets_a_strangers_answer_elsewhere(cast: Cast) -> None:
    other = make_workspace("other", owner=cast.alice)
    _, text = tokens.create_token(cast.alice, "here", workspace=cast.workspace)
    there = Api(other, text).put("onlineEndpoints/new", {})
    stranger = speak_as(cast.charlie, other).put("onlineEndpoints/new", {})
    assert (there.status, there.error["code"]) == (403, "AuthorizationFailed")
    assert there.text.replace("alice", "charlie") == stranger.text
    assert not other.online_endpoints.exists()


def test_a_read_only_token_of_an_owner_hides_what_a_reader_may_not_see(cast: Cast) -> None:
    _, text = tokens.create_token(cast.alice, "reader", scope=TokenScope.READ)
    api = Api(cast.workspace, text)
    reply = api.put("onlineEndpoints/new", {})
    assert reply.status == 403
    assert "this access token does not" in reply.error["message"]
    assert not cast.workspace.online_endpoints.exists()
    assert api.get("onlineEndpoints").status == 200
