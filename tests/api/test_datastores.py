"""Datastores over REST: the built-in ones, records of others, and who sees their secrets."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.api.conftest import Api, speak_as
from tests.factories import Cast, add_member, make_user, make_workspace
from workspaces.models import Activity, Datastore, Role

LAKE: dict[str, Any] = {
    "properties": {
        "datastoreType": "AzureDataLakeGen2",
        "accountName": "account",
        "filesystem": "files",
        "endpoint": "core.windows.net",
        "protocol": "https",
        "credentials": {
            "credentialsType": "ServicePrincipal",
            "tenantId": "t",
            "clientId": "c",
            "authorityUrl": "https://login.example.org",
            "resourceUrl": "https://storage.example.org",
            "secrets": {"secretsType": "ServicePrincipal", "clientSecret": "s3cret"},
        },
        "description": "d",
        "tags": {"a": "b"},
    }
}


def blob(key: str = "a2V5", **more: Any) -> dict[str, Any]:
    credentials = {"credentialsType": "AccountKey", "secrets": {"key": key}}
    return {
        "properties": {
            "datastoreType": "AzureBlob",
            "accountName": "account",
            "containerName": "box",
            "credentials": credentials if key else {"credentialsType": "AccountKey"},
            **more,
        }
    }


def names(reply: Any) -> list[str]:
    return [row["name"] for row in reply.json["value"]]


def test_the_built_in_ones_come_first_and_the_default_can_be_asked_for(alice: Api) -> None:
    assert names(alice.get("datastores")) == ["workspaceblobstore", "workspaceartifactstore"]
    path = "datastores?count=30&isDefault=true&orderByAsc=false"
    assert names(alice.get(path)) == ["workspaceblobstore"]
    told = alice.get("datastores/WorkspaceArtifactStore").json
    assert told["name"] == "workspaceartifactstore"
    assert told["properties"]["isDefault"] is False


def test_a_record_comes_back_without_its_secret_which_only_listing_secrets_tells(
    alice: Api, cast: Cast
) -> None:
    reply = alice.put("datastores/lake", LAKE)
    assert reply.status == 201, reply
    told = alice.get("datastores/Lake").json["properties"]
    wanted = {**LAKE["properties"], "credentials": dict(LAKE["properties"]["credentials"])}
    del wanted["credentials"]["secrets"]
    assert {key: told[key] for key in wanted} == wanted
    for path in ("datastores", "datastores/lake"):
        assert "s3cret" not in alice.get(path).text
    assert "s3cret" not in Datastore.objects.get().secret_sealed
    assert "s3cret" not in str(list(Activity.objects.values()))
    secrets = alice.post("datastores/lake/listSecrets", {"expirableSecret": True})
    assert secrets.json == {"secretsType": "ServicePrincipal", "clientSecret": "s3cret"}


def test_who_may_not_write_may_not_see_secrets(cast: Cast, alice: Api, bob: Api) -> None:
    alice.put("datastores/box", blob())
    scientist = make_user("dora")
    add_member(cast.workspace, scientist, Role.DATA_SCIENTIST)
    assert bob.post("datastores/box/listSecrets").status == 403
    dora = speak_as(scientist, cast.workspace)
    assert dora.post("datastores/box/listSecrets").json["key"] == "a2V5"


@pytest.mark.parametrize(
    ("kind", "facts", "credentials", "secret"),
    [
        ("AzureBlob", {"accountName": "a", "containerName": "c"}, "Sas", "sasToken"),
        ("AzureFile", {"accountName": "a", "fileShareName": "c"}, "AccountKey", "key"),
        ("AzureDataLakeGen1", {"storeName": "c"}, "Certificate", "certificate"),
        ("AzureDataLakeGen2", {"accountName": "a", "filesystem": "c"}, "None", ""),
    ],
)
def test_each_type_has_words_and_credentials_of_its_own(
    alice: Api, kind: str, facts: dict[str, str], credentials: str, secret: str
) -> None:
    given: dict[str, Any] = {"credentialsType": credentials, "thumbprint": "t"}
    if secret:
        given["secrets"] = {secret: "x"}
    body = {"properties": {"datastoreType": kind, **facts, "credentials": given}}
    assert alice.put("datastores/one", body).status == 201
    told = alice.get("datastores/one").json["properties"]
    assert {key: told[key] for key in facts} == facts
    reply = alice.post("datastores/one/listSecrets")
    if secret:
        assert reply.json == {"secretsType": credentials, secret: "x"}
    else:
        assert (reply.status, reply.error["target"]) == (400, "datastore")


def test_the_same_again_changes_nothing_and_a_missing_secret_keeps_the_present_one(
    alice: Api,
) -> None:
    alice.put("datastores/box", blob())
    before = Activity.objects.count()
    assert alice.put("datastores/box", blob()).status == 200
    assert alice.put("datastores/box", blob(key="")).status == 200
    assert Activity.objects.count() == before
    assert alice.post("datastores/box/listSecrets").json["key"] == "a2V5"
    assert alice.put("datastores/BOX", blob(key="other")).status == 200
    assert alice.post("datastores/box/listSecrets").json["key"] == "other"
    assert Datastore.objects.get().name == "box"


REFUSED: list[tuple[str, dict[str, Any], int]] = [
    ("box", {}, 400),
    ("box", blob(datastoreType="AmazonS3"), 400),
    ("box", blob(datastoreType="AzureDataLakeGen2", filesystem="f"), 400),
    ("box", blob(key=""), 400),
    ("box", blob(accountName=""), 400),
    ("box", blob(containerName=None), 400),
    ("box", blob(accountName="a b"), 400),
    ("not-good", blob(), 400),
    ("workspaceblobstore", blob(), 409),
    ("WorkspaceArtifactStore", blob(), 409),
]


@pytest.mark.parametrize(("name", "body", "status"), REFUSED)
def test_what_is_wrong_is_refused_and_nothing_is_kept(
    alice: Api, name: str, body: dict[str, Any], status: int
) -> None:
    reply = alice.put(f"datastores/{name}", body)
    assert reply.status == status, reply
    assert reply.error["message"]
    assert not Datastore.objects.exists()


def test_the_default_is_moved_and_cannot_be_deleted(alice: Api) -> None:
    alice.put("datastores/box", blob())
    alice.put("datastores/lake", LAKE)
    for name in ("box", "lake", "workspaceblobstore", "lake"):
        body = {"properties": {**blob()["properties"], "isDefault": True}}
        body = (
            {"properties": {**LAKE["properties"], "isDefault": True}} if name == "lake" else body
        )
        assert alice.put(f"datastores/{name}", body).status == 200
        assert names(alice.get("datastores?isDefault=true")) == [name]
    assert alice.delete("datastores/lake").status == 409
    assert alice.delete("datastores/workspaceblobstore").status == 409
    assert alice.delete("datastores/box").status == 200
    assert alice.delete("datastores/box").status == 204
    assert alice.get("datastores/box").status == 404
    wrong = {"properties": {**LAKE["properties"], "isDefault": True}}
    assert alice.put("datastores/workspaceartifactstore", wrong).status == 400
    assert names(alice.get("datastores?isDefault=true")) == ["lake"]


def test_data_there_is_noted_but_models_from_there_are_refused(alice: Api) -> None:
    alice.put("datastores/box", blob())
    uri = "azureml://datastores/box/paths/a/b"
    data = {"properties": {"dataType": "uri_folder", "dataUri": uri}}
    assert alice.put("data/there/versions/1", data).status == 201
    reply = alice.put("models/there/versions/1", {"properties": {"modelUri": uri}})
    assert reply.status == 400
    assert "does not read" in reply.error["message"]
    nowhere = {"properties": {"modelUri": "azureml://datastores/nowhere/paths/a"}}
    reply = alice.put("models/there/versions/1", nowhere)
    assert (reply.status, reply.error["target"]) == (400, "properties.modelUri")


def test_a_record_of_another_workspace_is_not_found(alice: Api) -> None:
    Datastore.objects.create(
        workspace=make_workspace(), name="theirs", type="azure_blob", container="c"
    )
    assert alice.get("datastores/theirs").status == 404
    assert alice.post("datastores/theirs/listSecrets").status == 404
    assert alice.delete("datastores/theirs").status == 204
    assert Datastore.objects.count() == 1


def test_the_list_has_pages_and_a_fixed_number_of_queries(alice: Api) -> None:
    alice.get()
    counts = set()
    for number in range(3):
        alice.put(f"datastores/box{number}", blob())
        with CaptureQueriesContext(connection) as captured:
            assert alice.get("datastores").status == 200
        counts.add(len(captured))
    assert counts == {5}, "token, workspace, role, default, rows"
    found, path = [], "datastores?count=2"
    while path:
        answer = alice.get(path)
        found += names(answer)
        path = answer.json.get("nextLink", "").removeprefix("http://testserver")
    assert found == ["workspaceblobstore", "workspaceartifactstore", "box0", "box1", "box2"]
