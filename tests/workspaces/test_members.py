"""The members of a workspace: who is let in, what becomes of the last owner, and the record of it."""

from __future__ import annotations

import pytest

from tests.factories import Cast, add_member, make_cast, make_user
from workspaces.errors import Conflict, NotFound, UserError
from workspaces.members import add_member as let_in
from workspaces.members import change_role, remove_member
from workspaces.models import Membership, Role

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast() -> Cast:
    return make_cast()


def role_of(cast: Cast, name: str) -> str | None:
    found = cast.workspace.memberships.filter(user__username=name).first()
    return found.role if found else None


def membership(cast: Cast, name: str) -> Membership:
    return cast.workspace.memberships.get(user__username=name)


def test_a_user_is_let_in_by_name_and_by_address(cast: Cast) -> None:
    let_in(cast.workspace, "charlie", Role.READER, by=cast.alice)
    dora = make_user("dora")
    let_in(cast.workspace, f" {dora.email.upper()} ", Role.CONTRIBUTOR, by=cast.alice)
    assert role_of(cast, "charlie") == Role.READER
    assert role_of(cast, "dora") == Role.CONTRIBUTOR
    row = cast.workspace.activities.filter(verb="add member").first()
    assert row is not None
    assert (row.actor, row.after) == (cast.alice, {"user": "dora", "role": "Contributor"})


@pytest.mark.parametrize("name", ["", "nobody", "nobody@example.com", "%"])
def test_an_unknown_user_is_refused_with_the_way_out(cast: Cast, name: str) -> None:
    with pytest.raises(UserError) as caught:
        let_in(cast.workspace, name, Role.READER, by=cast.alice)
    assert caught.value.target == "user"
    assert cast.workspace.memberships.count() == 2


def test_an_address_that_two_users_have_names_nobody(cast: Cast) -> None:
    for name in ("dora", "dave"):
        user = make_user(name)
        user.email = "team@example.com"
        user.save()
    with pytest.raises(UserError, match="Several users"):
        let_in(cast.workspace, "team@example.com", Role.READER, by=cast.alice)


def test_a_user_who_was_switched_off_is_not_let_in(cast: Cast) -> None:
    cast.charlie.is_active = False
    cast.charlie.save()
    with pytest.raises(UserError):
        let_in(cast.workspace, "charlie", Role.READER, by=cast.alice)


def test_letting_in_twice_is_a_conflict_and_keeps_the_role(cast: Cast) -> None:
    with pytest.raises(Conflict, match="already"):
        let_in(cast.workspace, "bob", Role.OWNER, by=cast.alice)
    assert role_of(cast, "bob") == Role.READER


def test_an_unknown_role_is_refused(cast: Cast) -> None:
    with pytest.raises(UserError, match="not known"):
        change_role(membership(cast, "bob"), "King", by=cast.alice)
    assert role_of(cast, "bob") == Role.READER


def test_the_only_owner_can_neither_step_down_nor_leave(cast: Cast) -> None:
    own = membership(cast, "alice")
    with pytest.raises(Conflict, match="only owner"):
        change_role(own, Role.READER, by=cast.alice)
    with pytest.raises(Conflict, match="only owner"):
        remove_member(own, by=cast.alice)
    assert role_of(cast, "alice") == Role.OWNER
    assert not cast.workspace.activities.exists()


def test_an_owner_leaves_once_there_is_another(cast: Cast) -> None:
    change_role(membership(cast, "bob"), Role.OWNER, by=cast.alice)
    remove_member(membership(cast, "alice"), by=cast.alice)
    assert role_of(cast, "alice") is None
    assert role_of(cast, "bob") == Role.OWNER


def test_an_owner_who_cannot_sign_in_does_not_count(cast: Cast) -> None:
    ghost = make_user("ghost", is_active=False)
    add_member(cast.workspace, ghost, Role.OWNER)
    with pytest.raises(Conflict):
        remove_member(membership(cast, "alice"), by=cast.alice)


def test_a_stale_row_does_not_take_the_last_owner_away(cast: Cast) -> None:
    seen = membership(cast, "bob")
    change_role(membership(cast, "bob"), Role.OWNER, by=cast.alice)
    remove_member(membership(cast, "alice"), by=cast.bob)
    assert seen.role == Role.READER
    with pytest.raises(Conflict):
        remove_member(seen, by=cast.bob)


def test_removing_what_is_gone_says_so(cast: Cast) -> None:
    seen = membership(cast, "bob")
    remove_member(membership(cast, "bob"), by=cast.alice)
    with pytest.raises(NotFound):
        remove_member(seen, by=cast.alice)


def test_the_same_role_again_leaves_no_trace(cast: Cast) -> None:
    change_role(membership(cast, "bob"), Role.READER, by=cast.alice)
    assert not cast.workspace.activities.exists()
