"""Service principals: made with a role, signing in with secrets that can be exchanged, gone at once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.factories import Cast, make_cast, make_user, make_workspace
from workspaces import access, members, principals, tokens
from workspaces.errors import Conflict, Forbidden, NotFound, UserError
from workspaces.models import Activity, PrincipalSecret, Role, ServicePrincipal, User

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast() -> Cast:
    return make_cast()


@pytest.fixture
def nightly(cast: Cast) -> ServicePrincipal:
    return principals.create_principal(
        cast.workspace, "nightly", Role.DATA_SCIENTIST, by=cast.alice
    )


def test_it_may_what_its_role_allows_and_nothing_elsewhere(
    cast: Cast, nightly: ServicePrincipal
) -> None:
    assert access.may(nightly.user, "onlineEndpoints/write", cast.workspace)
    assert not access.may(nightly.user, "members/write", cast.workspace)
    assert access.role_of(nightly.user, make_workspace("other")) is None
    assert Activity.objects.filter(verb="add member", actor=cast.alice).exists()


def test_it_is_no_person(cast: Cast, nightly: ServicePrincipal) -> None:
    assert nightly.user.is_program and not cast.alice.is_program
    assert not nightly.user.has_usable_password()
    # What a person may be called has no colon.
    with pytest.raises(Exception, match="valid username"):
        User(username=nightly.user.username, password="x").full_clean()
    with pytest.raises(Forbidden, match="secrets, no personal access tokens"):
        tokens.create_token(nightly.user, "mine")


@pytest.mark.parametrize("name", ["", " ", "a b", "x" * 61, "-x", "ünï", "a:b", "a\x00b", "a\n"])
def test_names_are_plain(cast: Cast, name: str) -> None:
    with pytest.raises(UserError, match="cannot be used"):
        principals.create_principal(cast.workspace, name, Role.READER, by=cast.alice)
    assert not ServicePrincipal.objects.exists()


def test_a_name_is_taken_once_in_a_workspace(cast: Cast, nightly: ServicePrincipal) -> None:
    with pytest.raises(Conflict, match="already"):
        principals.create_principal(cast.workspace, "Nightly", Role.READER, by=cast.alice)
    principals.create_principal(make_workspace("other"), "nightly", Role.READER, by=cast.alice)


def test_an_unknown_role_makes_nothing(cast: Cast) -> None:
    with pytest.raises(UserError, match="is not known"):
        principals.create_principal(cast.workspace, "nightly", "root", by=cast.alice)
    assert not ServicePrincipal.objects.exists()
    assert not User.objects.filter(username__startswith="app:").exists()


def test_two_secrets_work_side_by_side_until_one_is_removed(
    cast: Cast, nightly: ServicePrincipal
) -> None:
    client = str(nightly.client_id)
    old, first = principals.add_secret(nightly, by=cast.alice)
    new, second = principals.add_secret(nightly, "rotated", by=cast.alice)
    assert principals.find_secret(client, first) == old
    assert principals.find_secret(client, second) == new
    principals.remove_secret(nightly, old.pk, by=cast.alice)
    assert principals.find_secret(client, first) is None
    assert principals.find_secret(client, second) == new
    with pytest.raises(NotFound):
        principals.remove_secret(nightly, old.pk, by=cast.alice)


def test_a_secret_is_good_for_its_own_client_alone_and_only_a_hash_is_kept(
    cast: Cast, nightly: ServicePrincipal
) -> None:
    other = principals.create_principal(cast.workspace, "other", Role.READER, by=cast.alice)
    _, text = principals.add_secret(nightly, by=cast.alice)
    for client in (str(other.client_id), "", "nightly", "\x00"):
        assert principals.find_secret(client, text) is None
    assert principals.find_secret(str(nightly.client_id), text + "x") is None
    assert text not in str(list(PrincipalSecret.objects.values()))


def test_an_expired_secret_is_worth_nothing(cast: Cast, nightly: ServicePrincipal) -> None:
    secret, text = principals.add_secret(nightly, lifetime=timedelta(days=1), by=cast.alice)
    PrincipalSecret.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert principals.find_secret(str(nightly.client_id), text) is None
    assert principals.find_secret_by_id(secret.pk) is None


def test_a_use_is_noted_at_most_once_a_minute(cast: Cast, nightly: ServicePrincipal) -> None:
    secret, text = principals.add_secret(nightly, by=cast.alice)
    principals.find_secret(str(nightly.client_id), text)
    secret.refresh_from_db()
    assert secret.last_used_at is not None
    with CaptureQueriesContext(connection) as asked:
        principals.find_secret(str(nightly.client_id), text)
    assert [query["sql"].split()[0] for query in asked] == ["SELECT"]


def test_secrets_have_bounds(cast: Cast, nightly: ServicePrincipal) -> None:
    with pytest.raises(UserError, match="longest that the operator allows"):
        principals.add_secret(nightly, lifetime=timedelta(days=366), by=cast.alice)
    with pytest.raises(UserError, match="at most 100"):
        principals.add_secret(nightly, "x" * 101, by=cast.alice)
    for _ in range(principals.MOST_SECRETS):
        principals.add_secret(nightly, by=cast.alice)
    with pytest.raises(Conflict, match="Remove those"):
        principals.add_secret(nightly, by=cast.alice)


def test_a_deleted_one_is_out_everywhere_and_its_name_is_free(
    cast: Cast, nightly: ServicePrincipal
) -> None:
    other = make_workspace("other", owner=cast.alice)
    members.add_member(other, nightly.user.username, Role.READER, by=cast.alice)
    _, text = principals.add_secret(nightly, by=cast.alice)
    client, user = str(nightly.client_id), nightly.user
    principals.delete_principal(nightly, by=cast.alice)
    assert principals.find_secret(client, text) is None
    user.refresh_from_db()
    assert not user.is_active
    assert not user.memberships.exists()
    assert Activity.objects.filter(verb="remove member", workspace=other).exists()
    principals.create_principal(cast.workspace, "nightly", Role.READER, by=cast.alice)


def test_a_program_cannot_be_the_only_owner(cast: Cast, nightly: ServicePrincipal) -> None:
    rows = cast.workspace.memberships.select_related("user", "workspace")
    members.change_role(rows.get(user=nightly.user), Role.OWNER, by=cast.alice)
    with pytest.raises(Conflict, match="only owner"):
        members.remove_member(rows.get(user=cast.alice), by=cast.alice)
    members.add_member(cast.workspace, make_user("dora").username, Role.OWNER, by=cast.alice)
    members.remove_member(rows.get(user=cast.alice), by=cast.alice)
    principals.delete_principal(nightly, by=None)
