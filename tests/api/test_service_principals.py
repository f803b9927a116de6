"""Service principals over the API; who may what is in `test_access`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import Api
from tests.factories import Cast, make_workspace
from workspaces import principals
from workspaces.models import PrincipalSecret, Role, ServicePrincipal

HERE = "servicePrincipals"


def make(api: Api, **fields: Any) -> Any:
    return api.post(HERE, {"name": "nightly", "role": "Contributor", **fields})


def test_one_is_made_with_a_secret_that_is_shown_once(alice: Api) -> None:
    made = make(alice)
    assert made.status == 201, made
    assert made.headers["Cache-Control"] == "no-store"
    client, text = made.json["clientId"], made.json["secret"]["secretText"]
    assert principals.find_secret(client, text) is not None
    seen = alice.get(f"{HERE}/{client}")
    assert text not in seen.text and text not in alice.get(HERE).text
    assert (seen.json["name"], seen.json["role"]) == ("nightly", "Contributor")
    assert [row["clientId"] for row in alice.get(HERE).json["value"]] == [client]


def test_secrets_are_exchanged_without_a_gap(alice: Api) -> None:
    made = make(alice).json
    client, old = made["clientId"], made["secret"]
    new = alice.post(f"{HERE}/{client}/secrets", {"name": "second", "expiresInDays": 30})
    assert new.status == 201, new
    assert len(alice.get(f"{HERE}/{client}/secrets").json["value"]) == 2
    assert alice.delete(f"{HERE}/{client}/secrets/{old['id']}").status == 200
    assert alice.delete(f"{HERE}/{client}/secrets/{old['id']}").status == 204
    assert principals.find_secret(client, old["secretText"]) is None
    assert principals.find_secret(client, new.json["secretText"]) is not None


def test_the_role_is_changed_and_given_again(alice: Api, cast: Cast) -> None:
    client = make(alice).json["clientId"]
    assert alice.patch(f"{HERE}/{client}", {"role": "Reader"}).json["role"] == "Reader"
    cast.workspace.memberships.filter(user__service_principal__client_id=client).delete()
    assert alice.get(f"{HERE}/{client}").json["role"] is None
    assert alice.patch(f"{HERE}/{client}", {"role": "Owner"}).json["role"] == "Owner"
    assert alice.patch(f"{HERE}/{client}", {}).json["role"] == "Owner"


def test_deleting_twice_is_no_error(alice: Api) -> None:
    client = make(alice).json["clientId"]
    assert alice.delete(f"{HERE}/{client}").status == 200
    assert alice.delete(f"{HERE}/{client}").status == 204
    assert not ServicePrincipal.objects.exists()


@pytest.mark.parametrize(
    ("fields", "target"),
    [
        ({"name": "a b"}, "name"),
        ({"name": []}, "name"),
        ({"role": "root"}, "role"),
        ({"expiresInDays": "x"}, "expiresInDays"),
        ({"expiresInDays": 9999}, "lifetime"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_made(
    alice: Api, fields: dict[str, Any], target: str
) -> None:
    reply = make(alice, **fields)
    assert (reply.status, reply.error["target"]) == (400, target), reply
    assert not ServicePrincipal.objects.exists()
    assert not PrincipalSecret.objects.exists()


def test_one_of_another_workspace_is_out_of_reach(alice: Api, cast: Cast) -> None:
    other = make_workspace("other", owner=cast.charlie)
    foreign = principals.create_principal(other, "theirs", Role.READER, by=cast.charlie)
    secret, _ = principals.add_secret(foreign, by=cast.charlie)
    place = f"{HERE}/{foreign.client_id}"
    assert alice.get(place).status == 404
    assert alice.patch(place, {"role": "Owner"}).status == 404
    assert alice.post(f"{place}/secrets", {}).status == 404
    assert alice.delete(f"{place}/secrets/{secret.pk}").status == 404
    assert alice.delete(place).status == 204
    assert foreign.secrets.count() == 1


@pytest.mark.parametrize("odd", ["x", "%00", "0", "1" * 40])
def test_odd_ids_are_nobody(alice: Api, odd: str) -> None:
    assert alice.get(f"{HERE}/{odd}").status == 404
