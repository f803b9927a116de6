"""Personal access tokens: what they leave of their user's rights, and when they end."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from tests.factories import Cast, make_cast, make_user, make_workspace
from workspaces import access, lifetimes, tokens
from workspaces.errors import Conflict, Forbidden, NotFound, UserError
from workspaces.models import Limits, PersonalToken, TokenScope, User, Workspace

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


@pytest.fixture
def cast() -> Cast:
    return make_cast()


def user_with(user: User, scope: str, workspace: Workspace | None = None) -> User:
    """The user as their request with such a token has them."""
    _, text = tokens.create_token(
        user, f"test-{user.personal_tokens.count()}", scope=scope, workspace=workspace
    )
    found = tokens.user_of(text)
    assert found == user and found is not None
    return found


@pytest.mark.parametrize(
    ("scope", "action", "may"),
    [
        ("full", "onlineEndpoints/write", True),
        ("full", "members/write", True),
        ("read", "onlineEndpoints/read", True),
        ("read", "read", True),
        ("read", "onlineEndpoints/write", False),
        ("read", "onlineEndpoints/listKeys/action", False),
        ("read", "onlineEndpoints/score/action", False),
        ("read", "datastores/listsecrets/action", False),
        ("score", "onlineEndpoints/score/action", True),
        ("score", "onlineEndpoints/token/action", True),
        ("score", "onlineEndpoints/read", True),
        ("score", "onlineEndpoints/listKeys/action", False),
        ("score", "onlineEndpoints/write", False),
        ("score", "models/read", False),
        ("score", "members/read", False),
        ("score", "onlineEndpoints/deployments/getLogs/action", False),
    ],
)
def test_a_scope_takes_away_what_it_does_not_name(
    cast: Cast, scope: str, action: str, may: bool
) -> None:
    assert access.may(user_with(cast.alice, scope), action, cast.workspace) is may


@pytest.mark.parametrize("scope", TokenScope.values)
def test_no_scope_gives_what_the_role_does_not(cast: Cast, scope: str) -> None:
    bob, charlie = user_with(cast.bob, scope), user_with(cast.charlie, scope)
    for action in ("onlineEndpoints/write", "onlineEndpoints/score/action", "members/write"):
        assert not access.may(bob, action, cast.workspace)
    assert access.role_of(charlie, cast.workspace) is None


def test_a_token_of_one_workspace_opens_no_other(cast: Cast) -> None:
    other = make_workspace("other", owner=cast.alice)
    limited = user_with(cast.alice, TokenScope.FULL, cast.workspace)
    assert access.may(limited, "onlineEndpoints/write", cast.workspace)
    assert access.role_of(limited, other) is None
    assert list(Workspace.objects.visible_to(limited)) == [cast.workspace]
    assert set(Workspace.objects.visible_to(cast.alice)) == {cast.workspace, other}


def test_a_superusers_token_is_limited_as_well(cast: Cast) -> None:
    root = make_user("root", is_superuser=True)
    other = make_workspace("other")
    limited = user_with(root, TokenScope.READ, cast.workspace)
    assert list(Workspace.objects.visible_to(limited)) == [cast.workspace]
    assert not access.may(limited, "onlineEndpoints/write", cast.workspace)
    assert not access.may(limited, "read", other)


def test_the_refusal_says_that_it_is_the_token(cast: Cast) -> None:
    limited = user_with(cast.alice, TokenScope.READ)
    with pytest.raises(
        Forbidden, match=r"this access token does not\. Use one with a wider scope"
    ):
        access.require(limited, "onlineEndpoints/write", cast.workspace)
    bob = user_with(cast.bob, TokenScope.READ)
    with pytest.raises(Forbidden, match="Ask alice for a role"):
        access.require(bob, "onlineEndpoints/write", cast.workspace)


def test_a_limited_token_cannot_widen_itself(cast: Cast) -> None:
    others, _ = tokens.create_token(cast.alice, "other")
    for limited in (
        user_with(cast.alice, TokenScope.READ),
        user_with(cast.alice, TokenScope.FULL, cast.workspace),
    ):
        with pytest.raises(Forbidden, match="limited"):
            tokens.create_token(limited, "wider")
        with pytest.raises(Forbidden, match="limited"):
            tokens.revoke_token(limited, others.pk)
    assert not PersonalToken.objects.filter(name="wider").exists()


def test_a_limited_token_may_end_itself(cast: Cast) -> None:
    token, text = tokens.create_token(cast.alice, "leaked", scope=TokenScope.SCORE)
    leaked = tokens.user_of(text)
    assert leaked is not None
    tokens.revoke_token(leaked, token.pk)
    assert tokens.user_of(text) is None


def test_a_token_makes_none_that_outlives_it(cast: Cast) -> None:
    first, text = tokens.create_token(cast.alice, "first", lifetime=DAY)
    maker = tokens.user_of(text)
    assert maker is not None
    second, _ = tokens.create_token(maker, "second", lifetime=30 * DAY)
    assert second.expires_at == first.expires_at


def test_nobody_revokes_the_token_of_another(cast: Cast) -> None:
    token, text = tokens.create_token(cast.alice, "hers")
    with pytest.raises(NotFound):
        tokens.revoke_token(cast.bob, token.pk)
    assert tokens.user_of(text) == cast.alice


def test_without_a_wish_a_token_gets_the_usual_lifetime(cast: Cast, settings: Settings) -> None:
    settings.TOKEN_DEFAULT_DAYS = 10
    token, _ = tokens.create_token(cast.alice, "laptop")
    assert token.expires_at is not None
    assert abs(token.expires_at - timezone.now() - 10 * DAY) < timedelta(minutes=1)


def test_the_usual_lifetime_is_never_more_than_the_longest(cast: Cast, settings: Settings) -> None:
    settings.TOKEN_DEFAULT_DAYS, settings.TOKEN_MAX_DAYS = 90, 7
    token, _ = tokens.create_token(cast.alice, "laptop")
    assert token.expires_at is not None and token.expires_at < timezone.now() + 8 * DAY


@pytest.mark.parametrize("wanted", [366 * DAY, lifetimes.NO_END, timedelta(0), -DAY])
def test_lifetimes_beyond_what_is_allowed_are_refused(cast: Cast, wanted: timedelta) -> None:
    with pytest.raises(UserError):
        tokens.create_token(cast.alice, "laptop", lifetime=wanted)
    assert not PersonalToken.objects.exists()


def test_without_a_longest_lifetime_a_token_may_have_no_end(
    cast: Cast, settings: Settings
) -> None:
    settings.TOKEN_MAX_DAYS = 0
    token, text = tokens.create_token(cast.alice, "laptop", lifetime=lifetimes.NO_END)
    assert token.expires_at is None
    assert tokens.user_of(text) == cast.alice


@pytest.mark.parametrize(("name", "kind"), [("", UserError), ("x" * 101, UserError)])
def test_names_have_bounds(cast: Cast, name: str, kind: type[UserError]) -> None:
    with pytest.raises(kind):
        tokens.create_token(cast.alice, name)


def test_a_name_is_taken_once_and_again_after_the_token_went(cast: Cast) -> None:
    token, _ = tokens.create_token(cast.alice, "laptop")
    with pytest.raises(Conflict, match="already have a token named 'laptop'"):
        tokens.create_token(cast.alice, " laptop ")
    tokens.create_token(cast.bob, "laptop")
    tokens.revoke_token(cast.alice, token.pk)
    tokens.create_token(cast.alice, "laptop")


def test_the_number_of_tokens_is_bounded(cast: Cast) -> None:
    PersonalToken.objects.bulk_create(
        PersonalToken(user=cast.alice, name=str(number), digest=f"{number:064}")
        for number in range(tokens.MOST_TOKENS)
    )
    with pytest.raises(Conflict, match="Revoke those"):
        tokens.create_token(cast.alice, "one more")


def test_only_a_hash_of_the_token_is_kept(cast: Cast) -> None:
    _, text = tokens.create_token(cast.alice, "laptop")
    row = PersonalToken.objects.values().get()
    assert text not in str(row)
    assert row["digest"] == tokens.digest(text)


def test_a_use_is_noted_at_most_once_a_minute(cast: Cast) -> None:
    token, text = tokens.create_token(cast.alice, "laptop")
    tokens.user_of(text)
    token.refresh_from_db()
    first = token.last_used_at
    assert first is not None
    tokens.user_of(text)
    token.refresh_from_db()
    assert token.last_used_at == first
    PersonalToken.objects.update(last_used_at=first - timedelta(minutes=2))
    tokens.user_of(text)
    token.refresh_from_db()
    assert token.last_used_at is not None and token.last_used_at >= first


def test_the_operators_token_is_always_whole(cast: Cast) -> None:
    text = "chosen-by-the-operator"
    tokens.set_token(cast.alice, "PORTICO_ADMIN_TOKEN", text)
    PersonalToken.objects.update(scope=TokenScope.READ, workspace=cast.workspace)
    tokens.set_token(cast.alice, "PORTICO_ADMIN_TOKEN", text)
    found = tokens.user_of(text)
    assert found is not None and found.limits is not None
    assert found.limits.are_none
    assert found.limits.expires_at is None


def test_who_signs_in_has_no_limits(cast: Cast) -> None:
    assert cast.alice.limits is None
    assert Limits(TokenScope.FULL).are_none
