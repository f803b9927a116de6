from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser

from tests.factories import add_member, make_cast, make_user
from workspaces import access
from workspaces.errors import Forbidden
from workspaces.models import Role, Workspace

pytestmark = pytest.mark.django_db


def test_the_owner_may_the_reader_may_only_read_the_stranger_nothing() -> None:
    cast = make_cast()
    assert access.may(cast.alice, "onlineEndpoints/write", cast.workspace)
    assert access.may(cast.bob, "onlineEndpoints/read", cast.workspace)
    assert not access.may(cast.bob, "onlineEndpoints/write", cast.workspace)
    assert not access.may(cast.bob, "onlineEndpoints/listKeys/action", cast.workspace)
    assert not access.may(cast.charlie, "onlineEndpoints/read", cast.workspace)
    assert not access.may(AnonymousUser(), "onlineEndpoints/read", cast.workspace)


def test_data_scientists_do_everything_but_members_and_the_workspace_itself() -> None:
    cast = make_cast()
    dora = make_user("dora")
    add_member(cast.workspace, dora, Role.DATA_SCIENTIST)
    assert access.may(dora, "onlineEndpoints/deployments/write", cast.workspace)
    assert not access.may(dora, "members/write", cast.workspace)
    assert not access.may(dora, "delete", cast.workspace)


# Azure's actions (facts 13.1), and for which roles: Owner, Contributor, Data Scientist, Reader.
MATRIX = {
    "read": "OCDR",
    "write": "OC",
    "delete": "OC",
    "onlineEndpoints/read": "OCDR",
    "onlineEndpoints/write": "OCD",
    "onlineEndpoints/delete": "OCD",
    "onlineEndpoints/deployments/read": "OCDR",
    "onlineEndpoints/deployments/write": "OCD",
    "onlineEndpoints/deployments/delete": "OCD",
    "onlineEndpoints/deployments/getLogs/action": "OCD",
    "onlineEndpoints/listKeys/action": "OCD",
    "onlineEndpoints/regenerateKeys/action": "OCD",
    "onlineEndpoints/token/action": "OCD",
    "onlineEndpoints/score/action": "OCD",
    "batchEndpoints/read": "OCDR",
    "batchEndpoints/write": "OCD",
    "batchEndpoints/delete": "OCD",
    "batchEndpoints/deployments/write": "OCD",
    "batchEndpoints/jobs/write": "OCD",
    "jobs/read": "OCDR",
    "jobs/write": "OCD",
    "computes/read": "OCDR",
    "computes/write": "OC",
    "computes/delete": "OC",
    "computes/join/action": "OCD",
    "datastores/read": "OCDR",
    "datastores/write": "OCD",
    "datastores/listsecrets/action": "OCD",
    "data/versions/read": "OCDR",
    "environments/read": "OCDR",
    "models/versions/read": "OCDR",
    "models/versions/write": "OCD",
    "components/versions/read": "OCDR",
    "experiments/runs/read": "OCDR",
    "experiments/runs/write": "OCD",
    "quotas/write": "O",
    "members/read": "OCDR",
    "members/write": "O",
}
LETTERS = {
    Role.OWNER: "O",
    Role.CONTRIBUTOR: "C",
    Role.DATA_SCIENTIST: "D",
    Role.READER: "R",
}


@pytest.mark.parametrize("action", MATRIX)
def test_each_of_azures_actions_is_for_these_roles(action: str) -> None:
    allowed = {letter for role, letter in LETTERS.items() if access.role_may(role, action)}
    assert allowed == set(MATRIX[action])


def test_an_unknown_role_may_nothing() -> None:
    assert not access.role_may("root", "read")


def test_a_refusal_names_the_right_and_whom_to_ask() -> None:
    cast = make_cast()
    with pytest.raises(Forbidden, match=r"onlineEndpoints/write'. Ask alice"):
        access.require(cast.bob, "onlineEndpoints/write", cast.workspace)


def test_a_stranger_sees_no_workspace_and_a_dismissed_member_neither() -> None:
    cast = make_cast()
    assert not Workspace.objects.visible_to(cast.charlie).exists()
    cast.bob.is_active = False
    assert not Workspace.objects.visible_to(cast.bob).exists()
