"""One's own account and the members of the workspace, as the studio shows them."""

from __future__ import annotations

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from tests.factories import PASSWORD, Cast, let_sign_in, make_user
from tests.studio.conftest import browser_of
from workspaces import tokens
from workspaces.models import Membership, PersonalToken, Role, TokenScope

NEW = "battery-staple-correct-horse"


def url(cast: Cast, rest: str) -> str:
    return f"/w/{cast.workspace.name}/{rest}"


# Tokens ---------------------------------------------------------------------------------------------------


def test_a_token_is_shown_once_and_works(alice: Client, cast: Cast) -> None:
    answer = alice.post(url(cast, "account/tokens"), {"name": "laptop", "days": "30"})
    text = answer.context["new_token"]
    assert text in answer.content.decode()
    assert "no-store" in answer["Cache-Control"]
    assert tokens.user_of(text) == cast.alice
    again = alice.get(url(cast, "account")).content.decode()
    assert text not in again
    assert "laptop" in again


@pytest.mark.parametrize(("name", "status"), [("laptop", 409), ("", 422), ("   ", 422)])
def test_a_wrong_name_is_refused_and_makes_no_token(
    alice: Client, cast: Cast, name: str, status: int
) -> None:
    tokens.create_token(cast.alice, "laptop")
    answer = alice.post(url(cast, "account/tokens"), {"name": name, "days": "30"})
    assert answer.status_code == status
    assert 'aria-invalid="true"' in answer.content.decode()
    assert PersonalToken.objects.count() == 1


@pytest.mark.parametrize("days", ["", "8", "-1", "x"])
def test_a_lifetime_that_is_not_offered_becomes_the_usual_one(
    alice: Client, cast: Cast, days: str
) -> None:
    alice.post(url(cast, "account/tokens"), {"name": "laptop", "days": days})
    expires_at = PersonalToken.objects.get().expires_at
    assert expires_at is not None
    assert (expires_at - timezone.now()).days in {89, 90}


def test_no_end_is_offered_only_where_the_operator_allows_it(
    alice: Client, cast: Cast, settings: Settings
) -> None:
    fields = {"name": "laptop", "days": "endless"}
    assert "No end" not in alice.get(url(cast, "account")).content.decode()
    refused = alice.post(url(cast, "account/tokens"), fields)
    assert refused.status_code == 422
    assert "PORTICO_TOKEN_MAX_DAYS" in refused.content.decode()
    settings.TOKEN_MAX_DAYS = 0
    assert "No end" in alice.get(url(cast, "account")).content.decode()
    alice.post(url(cast, "account/tokens"), fields)
    assert PersonalToken.objects.get().expires_at is None


def test_a_token_is_made_for_less_and_for_one_workspace(alice: Client, cast: Cast) -> None:
    fields = {"name": "ci", "scope": "read", "workspace": cast.workspace.name}
    page = alice.post(url(cast, "account/tokens"), fields)
    token = PersonalToken.objects.get()
    assert (token.scope, token.workspace) == (TokenScope.READ, cast.workspace)
    assert "read only" in page.content.decode()


@pytest.mark.parametrize("fields", [{"scope": "root"}, {"workspace": "nowhere"}])
def test_a_limit_that_does_not_exist_makes_no_wider_token(
    alice: Client, cast: Cast, fields: dict[str, str]
) -> None:
    answer = alice.post(url(cast, "account/tokens"), {"name": "ci", **fields})
    assert answer.status_code == 422
    assert 'value="ci"' in answer.content.decode()
    assert not PersonalToken.objects.exists()


def test_a_revoked_token_is_worth_nothing(alice: Client, cast: Cast) -> None:
    token, text = tokens.create_token(cast.alice, "laptop")
    alice.get(url(cast, f"account/tokens/{token.pk}/revoke"))
    assert tokens.user_of(text) == cast.alice
    alice.post(url(cast, f"account/tokens/{token.pk}/revoke"))
    assert tokens.user_of(text) is None


def test_nobody_revokes_or_sees_the_token_of_another(bob: Client, cast: Cast) -> None:
    token, text = tokens.create_token(cast.alice, "private-laptop")
    assert bob.post(url(cast, f"account/tokens/{token.pk}/revoke")).status_code == 404
    assert tokens.user_of(text) == cast.alice
    assert "private-laptop" not in bob.get(url(cast, "account")).content.decode()


# Password -------------------------------------------------------------------------------------------------


def change_password(client: Client, cast: Cast, **fields: str) -> int:
    sent = {"new_password1": NEW, "new_password2": NEW, **fields}
    return int(client.post(url(cast, "account"), sent).status_code)


def test_a_password_is_changed_only_with_the_old_one(cast: Cast) -> None:
    let_sign_in(cast.alice)
    alice = browser_of(cast.alice)
    assert change_password(alice, cast) == 422
    assert change_password(alice, cast, old_password="wrong") == 422
    cast.alice.refresh_from_db()
    assert cast.alice.check_password(PASSWORD)
    assert change_password(alice, cast, old_password=PASSWORD) == 303
    cast.alice.refresh_from_db()
    assert cast.alice.check_password(NEW)


def test_a_change_keeps_this_browser_and_ends_the_others(cast: Cast) -> None:
    let_sign_in(cast.alice)
    here, there = browser_of(cast.alice), browser_of(cast.alice)
    change_password(here, cast, old_password=PASSWORD)
    assert here.get(url(cast, "account")).status_code == 200
    assert there.get(url(cast, "account")).status_code == 302


def test_who_came_by_a_link_and_has_no_password_sets_one(alice: Client, cast: Cast) -> None:
    assert "old_password" not in alice.get(url(cast, "account")).content.decode()
    assert change_password(alice, cast, new_password1="12345", new_password2="12345") == 422
    assert change_password(alice, cast) == 303
    cast.alice.refresh_from_db()
    assert cast.alice.check_password(NEW)


# Members --------------------------------------------------------------------------------------------------


def role_of(cast: Cast, name: str) -> str | None:
    found = cast.workspace.memberships.filter(user__username=name).first()
    return found.role if found else None


def membership(cast: Cast, name: str) -> Membership:
    return cast.workspace.memberships.get(user__username=name)


def test_an_owner_adds_changes_and_removes(alice: Client, cast: Cast) -> None:
    alice.post(url(cast, "access/add"), {"user": "charlie", "role": "Reader"})
    assert role_of(cast, "charlie") == Role.READER
    pk = membership(cast, "charlie").pk
    answer = alice.post(url(cast, f"access/{pk}/role"), {"role": "Contributor"})
    assert role_of(cast, "charlie") == Role.CONTRIBUTOR
    assert "charlie is now Contributor here." in alice.get(answer["Location"]).content.decode()
    alice.post(url(cast, f"access/{pk}/remove"))
    assert role_of(cast, "charlie") is None


def test_the_only_owner_stays(alice: Client, cast: Cast) -> None:
    pk = membership(cast, "alice").pk
    for verb, fields in (("remove", {}), ("role", {"role": "Reader"})):
        answer = alice.post(url(cast, f"access/{pk}/{verb}"), fields)
        assert answer.status_code == 409
        assert "is the only owner" in answer.content.decode()
    assert role_of(cast, "alice") == Role.OWNER


def test_adding_twice_is_a_conflict_that_is_shown(alice: Client, cast: Cast) -> None:
    answer = alice.post(url(cast, "access/add"), {"user": "bob", "role": "Owner"})
    assert answer.status_code == 409
    assert "already" in answer.content.decode()
    assert role_of(cast, "bob") == Role.READER


def test_an_unknown_user_is_refused_and_what_was_typed_stays(alice: Client, cast: Cast) -> None:
    answer = alice.post(url(cast, "access/add"), {"user": "nobody", "role": "Contributor"})
    assert answer.status_code == 422
    assert 'value="nobody"' in answer.content.decode()
    assert "There is no user" in answer.content.decode()


def test_who_removes_themselves_leaves_the_page(alice: Client, cast: Cast) -> None:
    dora = make_user("dora")
    Membership.objects.create(workspace=cast.workspace, user=dora, role=Role.OWNER)
    answer = alice.post(url(cast, f"access/{membership(cast, 'alice').pk}/remove"))
    assert answer["Location"] == "/"
    assert alice.get(url(cast, "access")).status_code == 404


@pytest.mark.parametrize("role", [Role.READER, Role.CONTRIBUTOR, Role.DATA_SCIENTIST])
def test_who_is_no_owner_looks_only(cast: Cast, bob: Client, role: str) -> None:
    membership(cast, "bob")
    cast.workspace.memberships.filter(user=cast.bob).update(role=role)
    text = bob.get(url(cast, "access")).content.decode()
    assert "alice" in text
    assert "access/add" not in text and "/remove" not in text
    own = membership(cast, "bob").pk
    for rest in ("access/add", f"access/{own}/role", f"access/{own}/remove"):
        assert bob.post(url(cast, rest), {"user": "charlie", "role": "Owner"}).status_code == 403
    assert role_of(cast, "bob") == role
    assert role_of(cast, "charlie") is None


def test_a_stranger_finds_nothing(charlie: Client, cast: Cast) -> None:
    for rest in ("access", "account"):
        assert charlie.get(url(cast, rest)).status_code == 404
    pk = membership(cast, "bob").pk
    for rest in ("access/add", f"access/{pk}/role", f"access/{pk}/remove", "account/tokens"):
        assert (
            charlie.post(url(cast, rest), {"user": "charlie", "role": "Owner"}).status_code == 404
        )


def test_a_member_of_another_workspace_is_out_of_reach(alice: Client, cast: Cast) -> None:
    other = make_user("zoe")
    elsewhere = Membership.objects.create(
        workspace=cast.workspace.__class__.objects.create(
            name="elsewhere", subscription_id="s", resource_group="r"
        ),
        user=other,
        role=Role.OWNER,
    )
    assert alice.post(url(cast, f"access/{elsewhere.pk}/remove")).status_code == 404
    assert Membership.objects.filter(pk=elsewhere.pk).exists()
