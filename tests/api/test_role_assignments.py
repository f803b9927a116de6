"""Members as role assignments, as `azure-mgmt-authorization` and `az role assignment` ask for them."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.api.conftest import Api
from tests.factories import Cast, make_workspace
from workspaces import principals
from workspaces.models import Role

HERE = "providers/Microsoft.Authorization/roleAssignments"
ROLES = "providers/Microsoft.Authorization/roleDefinitions"
CONTRIBUTOR = "b24988ac-6180-42a0-ab88-20f7382dd24c"
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
OWNER = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"


def body(principal: str, role: str = READER) -> dict[str, Any]:
    definition = f"/subscriptions/s/providers/Microsoft.Authorization/roleDefinitions/{role}"
    return {"properties": {"roleDefinitionId": definition, "principalId": principal}}


def of(api: Api, name: str) -> dict[str, Any]:
    rows: list[dict[str, Any]] = api.get(HERE).json["value"]
    return next(row for row in rows if row["properties"]["principalName"] == name)


def role_of(cast: Cast, name: str) -> str | None:
    found = cast.workspace.memberships.filter(user__username=name).first()
    return found.role if found else None


def test_somebody_is_let_in_gets_another_role_and_is_taken_out(alice: Api, cast: Cast) -> None:
    place = f"{HERE}/{uuid.uuid4()}"
    made = alice.put(place, body("charlie@example.com"))
    assert made.status == 201, made
    told = made.json["properties"]
    assert (told["principalName"], told["roleDefinitionName"]) == ("charlie", "Reader")
    assert (told["scope"], told["principalType"]) == (cast.workspace.arm_id, "User")
    assert made.json["id"] == f"{cast.workspace.arm_id}/{place}"
    assert alice.get(place).json == made.json
    # The same again, by the id that the answer told, changes nothing.
    again = alice.put(place, body(told["principalId"]))
    assert (again.status, again.json) == (200, made.json)
    assert cast.workspace.activities.filter(verb="change role").count() == 0
    assert alice.put(place, body("charlie", CONTRIBUTOR)).status == 200
    assert role_of(cast, "charlie") == Role.CONTRIBUTOR
    gone = alice.delete(place)
    assert (gone.status, gone.json["name"]) == (200, made.json["name"])
    assert alice.delete(place).status == 204
    assert alice.get(place).status == 404
    assert role_of(cast, "charlie") is None


def test_who_was_let_in_on_the_page_has_an_id_too(alice: Api, cast: Cast) -> None:
    row = of(alice, "bob")
    assert alice.get(row["id"]).json == row
    changed = alice.put(row["id"], body(row["properties"]["principalId"], CONTRIBUTOR))
    assert (changed.status, changed.json["name"]) == (200, row["name"])
    assert role_of(cast, "bob") == Role.CONTRIBUTOR
    filtered = alice.get(f"{HERE}?$filter=principalId eq '{row['properties']['principalId']}'")
    assert [item["name"] for item in filtered.json["value"]] == [row["name"]]
    assert alice.get(f"{HERE}?$filter=assignedTo('nobody')").json["value"] == []
    assert len(alice.get(f"{HERE}?$filter=atScope()").json["value"]) == 2


def test_a_program_goes_by_its_client_id(alice: Api, cast: Cast) -> None:
    elsewhere = make_workspace(owner=cast.alice)
    program = principals.create_principal(elsewhere, "nightly", Role.READER, by=cast.alice)
    made = alice.put(f"{HERE}/{uuid.uuid4()}", body(str(program.client_id), CONTRIBUTOR))
    assert made.status == 201, made
    assert made.json["properties"]["principalType"] == "ServicePrincipal"
    assert made.json["properties"]["principalId"] == str(program.client_id)


def test_everybody_has_one_role_and_every_id_one_principal(alice: Api, cast: Cast) -> None:
    row = of(alice, "bob")
    second = alice.put(f"{HERE}/{uuid.uuid4()}", body("bob", CONTRIBUTOR))
    assert (second.status, second.error["code"]) == (409, "RoleAssignmentExists")
    assert row["name"] in second.error["message"]
    stolen = alice.put(row["id"], body("charlie"))
    assert (stolen.status, stolen.error["code"]) == (409, "RoleAssignmentUpdateNotPermitted")
    assert (role_of(cast, "bob"), role_of(cast, "charlie")) == (Role.READER, None)


def test_the_last_owner_stays(alice: Api, cast: Cast) -> None:
    row = of(alice, "alice")
    assert alice.delete(row["id"]).status == 409
    assert alice.put(row["id"], body("alice")).status == 409
    assert role_of(cast, "alice") == Role.OWNER


@pytest.mark.parametrize(
    ("principal", "role", "target"),
    [
        ("nobody", READER, "properties.principalId"),
        ("0b5b5a4e-5c1c-4b6f-9f0e-3d3a3c1f7a11", READER, "properties.principalId"),
        ("506f7274-6963-4f50-8000-ffffffffffff", READER, "properties.principalId"),
        ("", READER, "properties.principalId"),
        ("charlie", "0b5b5a4e-5c1c-4b6f-9f0e-3d3a3c1f7a11", "properties.roleDefinitionId"),
        ("charlie", "", "properties.roleDefinitionId"),
    ],
)
def test_what_is_wrong_is_named(
    alice: Api, cast: Cast, principal: str, role: str, target: str
) -> None:
    reply = alice.put(f"{HERE}/{uuid.uuid4()}", body(principal, role))
    assert (reply.status, reply.error["target"]) == (400, target), reply
    assert cast.workspace.memberships.count() == 2


def test_the_id_must_be_a_guid(alice: Api) -> None:
    reply = alice.put(f"{HERE}/mine", body("charlie"))
    assert (reply.status, reply.error["code"]) == (400, "InvalidRoleAssignmentId")
    assert alice.get(f"{HERE}/mine").status == 404
    assert alice.delete(f"{HERE}/mine").status == 204
    odd = alice.get(f"{HERE}?$filter=1 eq 1")
    assert (odd.status, odd.error["target"]) == (400, "$filter")


def test_one_of_another_workspace_is_out_of_reach(alice: Api, cast: Cast) -> None:
    other = make_workspace(owner=cast.charlie, reader=cast.bob)
    theirs = Api(other, alice.token)
    assert theirs.get(HERE).status == 403
    row = of(alice, "bob")
    assert theirs.delete(f"{HERE}/{row['name']}").status == 403
    assert other.memberships.count() == 2


def test_roles_have_the_ids_that_azure_gave_them(bob: Api) -> None:
    rows = {row["name"]: row["properties"]["roleName"] for row in bob.get(ROLES).json["value"]}
    assert (rows[OWNER], rows[CONTRIBUTOR], rows[READER]) == ("Owner", "Contributor", "Reader")
    named = bob.get(f"{ROLES}?$filter=roleName eq 'reader'").json["value"]
    assert [row["name"] for row in named] == [READER]
    one = bob.get(f"{ROLES}/{CONTRIBUTOR}").json["properties"]
    words = one["permissions"][0]["notActions"]
    assert "Microsoft.MachineLearningServices/workspaces/members/write" in words
    assert bob.get(f"{ROLES}/{uuid.uuid4()}").status == 404
