"""Online endpoints over REST: what the SDK sends, what it must get, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from endpoints import keys
from endpoints.models import EndpointState, OnlineEndpoint, Upstream
from tests.api.conftest import Api
from tests.factories import Cast, make_compute, make_online_endpoint, make_workspace
from workspaces.models import Activity

# As azure-ai-ml 1.35.2 sends it (wire 12.1).
SENT: dict[str, Any] = {
    "location": "local",
    "identity": {"type": "SystemAssigned"},
    "tags": {"k": "v"},
    "properties": {
        "description": "d",
        "authMode": "Key",
        "properties": {},
        "traffic": {},
        "mirrorTraffic": {},
    },
}


def fresh(name: str) -> OnlineEndpoint:
    return OnlineEndpoint.objects.get(name=name)


def test_put_makes_an_endpoint_and_answers_in_the_recorded_shape(alice: Api) -> None:
    reply = alice.put("onlineEndpoints/churn", SENT)
    assert reply.status == 201, reply
    told = reply.json
    arm_id = f"{alice.workspace.arm_id}/onlineEndpoints/churn"
    assert (told["id"], told["name"], told["kind"]) == (arm_id, "churn", "Managed")
    assert told["type"] == "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"
    assert told["location"] == "local"
    assert told["tags"] == {"k": "v"}
    assert told["identity"] == {"type": "SystemAssigned"}
    assert told["systemData"]["createdBy"] == "alice"
    assert told["systemData"]["createdAt"].endswith("Z")
    assert told["systemData"]["lastModifiedAt"].endswith("Z")
    properties = told["properties"]
    operation = properties["properties"].pop("AzureAsyncOperationUri")
    assert properties == {
        "description": "d",
        "authMode": "Key",
        "properties": {},
        "traffic": {},
        "mirrorTraffic": {},
        "publicNetworkAccess": "Enabled",
        "scoringUri": fresh("churn").scoring_uri,
        "swaggerUri": fresh("churn").openapi_uri,
        "provisioningState": "Succeeded",
    }
    assert reply.headers["Azure-AsyncOperation"] == operation
    assert reply.headers["Retry-After"] == "1"
    assert operation.startswith("http://testserver/subscriptions/")
    assert alice.get(operation.removeprefix("http://testserver")).json["status"] == "Succeeded"


def test_the_same_put_twice_changes_nothing(alice: Api) -> None:
    assert alice.put("onlineEndpoints/churn", SENT).status == 201
    before = fresh("churn")
    reply = alice.put("onlineEndpoints/churn", SENT)
    after = fresh("churn")
    assert reply.status == 200, reply
    assert after.revision == before.revision
    assert after.primary_key_sealed == before.primary_key_sealed
    assert Activity.objects.filter(subject="churn").count() == 1


def test_what_the_sdk_read_it_may_send_back(alice: Api) -> None:
    alice.put("onlineEndpoints/churn", SENT)
    read = alice.get("onlineEndpoints/churn").json
    read["properties"]["properties"] |= {
        "createdBy": "alice",
        "createdAt": "2026-01-01T00:00:00Z",
        "lastModifiedAt": None,
        "AzureAsyncOperationUri": "https://elsewhere",
    }
    reply = alice.put("onlineEndpoints/churn", read)
    assert reply.status == 200, reply
    assert fresh("churn").properties == {}
    assert fresh("churn").revision == 1


def test_traffic_is_set_by_put_and_by_patch_and_kept_when_it_is_not_mentioned(
    alice: Api, cast: Cast
) -> None:
    make_online_endpoint(cast.workspace, "churn", deployments={"blue": 100, "green": 0})
    body = {**SENT, "properties": {**SENT["properties"], "traffic": {"blue": 90, "GREEN": 10}}}
    reply = alice.put("onlineEndpoints/churn", body)
    assert reply.json["properties"]["traffic"] == {"blue": 90, "green": 10}
    alice.put("onlineEndpoints/churn", {"tags": {"a": "1"}})
    assert fresh("churn").traffic == {"blue": 90, "green": 10}
    patched = alice.patch("onlineEndpoints/churn", {"properties": {"traffic": {"green": 100}}})
    assert patched.status == 200, patched
    assert fresh("churn").traffic == {"green": 100}
    assert fresh("churn").tags == {"a": "1"}
    mirrored = alice.patch(
        "onlineEndpoints/churn", {"properties": {"mirrorTraffic": {"blue": 20}}}
    )
    assert mirrored.json["properties"]["mirrorTraffic"] == {"blue": 20}
    alice.put("onlineEndpoints/churn", SENT)
    assert fresh("churn").traffic == {}
    assert fresh("churn").mirror_traffic == {}


def test_tags_are_patched_key_by_key(alice: Api) -> None:
    alice.put("onlineEndpoints/churn", {"tags": {"a": "1", "b": "2"}})
    reply = alice.patch("onlineEndpoints/churn", {"tags": {"b": None, "c": "3"}})
    assert reply.json["tags"] == {"a": "1", "c": "3"}


def test_a_refused_part_leaves_the_whole_as_it_was(alice: Api, cast: Cast) -> None:
    make_online_endpoint(cast.workspace, "churn", deployments={"blue": 100})
    body = {"tags": {"new": "1"}, "properties": {"traffic": {"blue": 60}}}
    reply = alice.patch("onlineEndpoints/churn", body)
    assert reply.status == 400, reply
    assert "60 %" in reply.error["message"]
    assert reply.error["target"] == "traffic"
    assert fresh("churn").tags == {}
    assert fresh("churn").traffic == {"blue": 100}


@pytest.mark.parametrize(
    ("body", "target"),
    [
        ({"tags": []}, "tags"),
        ({"tags": {"a": 1}}, "tags"),
        ({"tags": {"a": {"b": []}}}, "tags"),
        ({"properties": []}, "properties"),
        ({"properties": "x"}, "properties"),
        ({"properties": {"authMode": 5}}, "properties.authMode"),
        ({"properties": {"authMode": "Kerberos"}}, "properties.authMode"),
        ({"properties": {"traffic": "blue"}}, "properties.traffic"),
        ({"properties": {"traffic": {"blue": 100}}}, "traffic"),
        ({"properties": {"properties": [1]}}, "properties.properties"),
        ({"properties": {"properties": {"a": 1}}}, "properties.properties"),
        ({"properties": {"description": {"a": "b"}}}, "properties.description"),
        ({"properties": {"publicNetworkAccess": True}}, "properties.publicNetworkAccess"),
        ({"properties": {"compute": "c" * 501}}, "properties.compute"),
        ({"properties": {"compute": "nowhere"}}, "compute"),
        ({"properties": {"compute": "/subscriptions/x/computes/far"}}, "properties.compute"),
        ({"identity": "me"}, "identity"),
        ({"identity": {"type": []}}, "identity.type"),
        ({"identity": {"type": "UserAssigned"}}, "identity.user_assigned_identities"),
        ({"location": 7}, "location"),
        ({"location": "l" * 41}, "location"),
    ],
    ids=str,
)
def test_a_wrong_field_is_named_and_nothing_is_made(alice: Api, body: Any, target: str) -> None:
    reply = alice.put("onlineEndpoints/churn", body)
    assert reply.status == 400, reply
    assert reply.error["target"] == target
    assert not OnlineEndpoint.objects.exists()


def test_all_that_is_wrong_is_told_at_once(alice: Api) -> None:
    body = {"tags": 1, "location": 2, "properties": {"authMode": 3, "traffic": 4}}
    error = alice.put("onlineEndpoints/churn", body).error
    told = {detail["target"] for detail in error["details"]}
    assert told == {"tags", "location", "properties.authMode", "properties.traffic"}
    assert all(detail["code"] and detail["message"] for detail in error["details"])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b'"text"', 400),
        (b"\xff\xfe\x00", 400),
        (b'{"tags": {"a": NaN}}', 400),
        (b'{"tags": {"a": "\\u0000"}}', 400),
        (b'{"tags": {"\\u0000": "a"}}', 400),
        (b'{"tags": {"a": "\\ud800"}}', 400),
        (b'{"properties": {"unknown": ["\\u0000"]}}', 400),
        (b'{"a":' * 200_000 + b"1" + b"}" * 200_000, 400),
        (b'{"unknown":' + b"[" * 60 + b"]" * 60 + b"}", 400),
        (b'{"unknown": ' + b"9" * 5000 + b"}", 400),
        (b'{"tags": {"a": "' + b"x" * (4 * 1024 * 1024) + b'"}}', 413),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_body_that_cannot_be_kept_is_refused(alice: Api, body: bytes, status: int) -> None:
    reply = alice.ask("PUT", "onlineEndpoints/churn", body)
    assert reply.status == status, reply
    assert len(reply.text) < 2000
    assert not OnlineEndpoint.objects.exists()


def test_unknown_properties_are_passed_over(alice: Api) -> None:
    body = {"etag": 1, "sku": {"x": []}, "properties": {"authMode": "key", "newThing": {"a": [1]}}}
    assert alice.put("onlineEndpoints/churn", body).status == 201


@pytest.mark.parametrize(
    "name", ["a", "-abc", "has_underscore", "x" * 33, "%20%20%20", "a%22b%22c"]
)
def test_a_name_that_is_not_allowed_is_refused(alice: Api, name: str) -> None:
    reply = alice.put(f"onlineEndpoints/{name}", {})
    assert (reply.status, reply.error["target"]) == (400, "name")


def test_what_never_changes_cannot_be_changed(alice: Api) -> None:
    alice.put("onlineEndpoints/churn", SENT)
    identity = {"type": "UserAssigned", "userAssignedIdentities": {"/subscriptions/x": {}}}
    for body in (
        {"identity": identity},
        {"location": "eastus"},
    ):
        reply = alice.patch("onlineEndpoints/churn", body)
        assert reply.status == 400, reply
        assert "cannot be changed" in reply.error["message"]


def test_an_endpoint_on_an_attached_compute_moves_until_it_has_deployments(
    alice: Api,
) -> None:
    workspace = alice.workspace
    for name in ("edge", "lab"):
        make_compute(workspace, name, kind="kubernetes")
    address = f"{workspace.arm_id}/computes/edge"
    body = {**SENT, "properties": {**SENT["properties"], "compute": f"azureml:{address}"}}
    made = alice.put("onlineEndpoints/churn", body).json
    assert (made["kind"], made["properties"]["compute"]) == ("Kubernetes", address)
    assert alice.put("onlineEndpoints/churn", body).status == 200

    moved = alice.patch("onlineEndpoints/churn", {"properties": {"compute": "azureml:LAB "}})
    assert moved.json["properties"]["compute"] == f"{workspace.arm_id}/computes/lab"

    endpoint = workspace.online_endpoints.get()
    Upstream.objects.create(endpoint=endpoint, deployment_name="blue")
    refused = alice.patch("onlineEndpoints/churn", {"properties": {"compute": "edge"}})
    assert (refused.status, refused.error["target"]) == (409, "compute")
    assert (
        "run on compute 'lab'. Delete them before it moves to compute 'edge'"
        in (refused.error["message"])
    )


def test_a_user_assigned_identity_is_told_as_it_was_given(alice: Api) -> None:
    identity = {"type": "UserAssigned", "userAssignedIdentities": {"/subscriptions/x": {}}}
    assert alice.put("onlineEndpoints/churn", {"identity": identity}).status == 201
    read = alice.get("onlineEndpoints/churn").json
    assert read["identity"] == identity
    assert alice.put("onlineEndpoints/churn", read).status == 200


def test_a_name_taken_elsewhere_is_a_conflict(alice: Api, cast: Cast) -> None:
    make_online_endpoint(make_workspace(), "taken")
    reply = alice.put("onlineEndpoints/Taken", SENT)
    assert (reply.status, reply.error["code"]) == (409, "Conflict")
    assert alice.get("onlineEndpoints/taken").status == 404


def test_delete_is_polled_until_the_endpoint_is_gone(alice: Api, cast: Cast) -> None:
    endpoint = make_online_endpoint(cast.workspace, "churn")
    reply = alice.delete("onlineEndpoints/churn")
    assert reply.status == 202
    assert reply.text == ""
    operation = reply.headers["Azure-AsyncOperation"].removeprefix("http://testserver")
    running = alice.get(operation)
    assert running.json["status"] == "InProgress"
    assert running.headers["Retry-After"] == "1"
    assert alice.get("onlineEndpoints/churn").json["properties"]["provisioningState"] == "Deleting"
    assert alice.put("onlineEndpoints/churn", SENT).status == 409
    assert alice.delete("onlineEndpoints/churn").status == 202
    endpoint.delete()
    assert alice.get(operation).json["status"] == "Succeeded"
    assert alice.delete("onlineEndpoints/churn").status == 204


def test_an_operation_id_is_good_in_its_workspace_alone_and_cannot_be_made_up(
    alice: Api, cast: Cast
) -> None:
    url = alice.put("onlineEndpoints/churn", SENT).headers["Azure-AsyncOperation"]
    name = url.split("/")[-1].split("?")[0]
    other = make_workspace(owner=cast.alice)
    assert alice.get(f"{other.arm_id}/operations/{name}").status == 404
    assert alice.get(f"operations/{name[:-1]}").status == 404
    assert alice.get("operations/endpoint.delete.1.0").status == 404


def test_the_list_has_pages_and_a_fixed_number_of_queries(alice: Api, cast: Cast) -> None:
    for number in range(7):
        make_online_endpoint(cast.workspace, f"churn-{number}")
    make_online_endpoint(make_workspace(), "elsewhere")
    alice.get()  # the first use of a token is noted
    names, path, queries = [], "onlineEndpoints?count=3", set()
    while path:
        with CaptureQueriesContext(connection) as captured:
            answer = alice.get(path).json
        queries.add(len(captured))
        names += [item["name"] for item in answer["value"]]
        path = answer.get("nextLink", "").removeprefix("http://testserver")
        assert "api-version" in path or not path
    assert names == [f"churn-{number}" for number in range(7)]
    assert queries == {4}, "token, workspace, role, rows"
    assert len(alice.get("onlineEndpoints?$top=2").json["value"]) == 2
    assert "nextLink" not in alice.get("onlineEndpoints?$top=2").json
    for wrong in ("count=0", "count=x", "$top=-1", "count=99999999999", "$skip=%00"):
        assert alice.get(f"onlineEndpoints?{wrong}").status == 400, wrong


def test_keys_are_listed_and_renewed_as_the_sdk_does_it(alice: Api, cast: Cast) -> None:
    make_online_endpoint(cast.workspace, "churn")
    before = alice.post("onlineEndpoints/churn/listKeys").json
    assert set(before) == {"primaryKey", "secondaryKey"}
    body = {"keyType": "Primary", "keyValue": before["primaryKey"]}
    reply = alice.post("onlineEndpoints/churn/regenerateKeys", body)
    assert (reply.status, reply.text) == (200, "")
    after = alice.post("onlineEndpoints/churn/listKeys").json
    assert after["primaryKey"] != before["primaryKey"]
    assert after["secondaryKey"] == before["secondaryKey"]
    own = {"keyType": "secondary", "keyValue": "a-key-of-my-own-choice"}
    assert alice.post("onlineEndpoints/churn/regenerateKeys", own).status == 200
    assert keys.keys_of(fresh("churn")).secondary == "a-key-of-my-own-choice"


@pytest.mark.parametrize(
    "body",
    [
        {"keyType": "third"},
        {"keyType": 1},
        {"keyType": "Primary", "keyValue": "short"},
        {"keyValue": "\u00e9" * 20},
    ],
    ids=str,
)
def test_a_wrong_key_is_refused(alice: Api, cast: Cast, body: Any) -> None:
    make_online_endpoint(cast.workspace, "churn")
    before = keys.keys_of(fresh("churn"))
    assert alice.post("onlineEndpoints/churn/regenerateKeys", body).status == 400
    assert keys.keys_of(fresh("churn")) == before


def test_a_token_is_given_for_token_endpoints_alone(alice: Api, cast: Cast) -> None:
    make_online_endpoint(cast.workspace, "tokens", auth_mode="aml_token")
    make_online_endpoint(cast.workspace, "churn")
    told = alice.post("onlineEndpoints/tokens/token").json
    assert told["tokenType"] == "Bearer"
    assert told["accessToken"].count(".") == 2
    assert told["expiryTimeUtc"] > told["refreshAfterTimeUtc"] > 1_700_000_000
    assert alice.post("onlineEndpoints/churn/token").status == 400
    assert alice.post("onlineEndpoints/tokens/listKeys").status == 400


def test_a_workspace_is_told_in_the_recorded_shape(alice: Api, cast: Cast) -> None:
    told = alice.get().json
    assert told["id"] == cast.workspace.arm_id
    assert told["type"] == "Microsoft.MachineLearningServices/workspaces"
    assert (told["name"], told["location"], told["kind"]) == (
        cast.workspace.name,
        "local",
        "Default",
    )
    assert told["properties"]["provisioningState"] == "Succeeded"
    make_workspace("unseen")
    base = cast.workspace.arm_id.rsplit("/", 1)[0]
    assert [item["name"] for item in alice.get(base).json["value"]] == [cast.workspace.name]
    whole = base.replace("/resourceGroups/portico", "")
    assert [item["name"] for item in alice.get(whole).json["value"]] == [cast.workspace.name]
    assert alice.get(base.replace("portico", "other")).json["value"] == []


def test_an_endpoint_that_failed_is_told_so(alice: Api, cast: Cast) -> None:
    make_online_endpoint(cast.workspace, "churn", state=EndpointState.FAILED)
    assert alice.get("onlineEndpoints/churn").json["properties"]["provisioningState"] == "Failed"
