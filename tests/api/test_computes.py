"""Computes over REST: what the SDK sends, what it must get, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.api.conftest import Api, speak_as
from tests.factories import Cast, make_compute, make_deployment, make_online_endpoint, make_user
from workspaces.models import Activity, Compute

# As azure-ai-ml 1.35.2 sends it (wire 11).
SENT: dict[str, Any] = {
    "location": "local",
    "tags": {"k": "v"},
    "properties": {
        "computeType": "AmlCompute",
        "disableLocalAuth": True,
        "properties": {
            "vmSize": "Standard_DS3_v2",
            "scaleSettings": {
                "maxNodeCount": 2,
                "minNodeCount": 0,
                "nodeIdleTimeBeforeScaleDown": "PT2M",
            },
            "remoteLoginPortPublicAccess": "NotSpecified",
            "enableNodePublicIp": True,
            "osType": "Linux",
        },
    },
}
KUBERNETES: dict[str, Any] = {
    "location": "local",
    "properties": {
        "computeType": "Kubernetes",
        "resourceId": "/subscriptions/s/resourceGroups/g/providers/x/connectedClusters/k",
        "properties": {
            "namespace": "scoring",
            "defaultInstanceType": "small",
            "instanceTypes": {"small": {"resources": {"limits": {"cpu": "1", "memory": "2Gi"}}}},
        },
    },
}


def test_put_makes_a_cluster_and_answers_in_the_recorded_shape(alice: Api) -> None:
    reply = alice.put("computes/cpu-cluster", SENT)
    assert reply.status == 201, reply
    told = reply.json
    assert told["id"] == f"{alice.workspace.arm_id}/computes/cpu-cluster"
    assert told["type"] == "Microsoft.MachineLearningServices/workspaces/computes"
    assert (told["name"], told["location"], told["tags"]) == ("cpu-cluster", "local", {"k": "v"})
    outer = told["properties"]
    assert (outer["computeType"], outer["provisioningState"]) == ("AmlCompute", "Succeeded")
    assert outer["isAttachedCompute"] is False
    inner = outer["properties"]
    assert (inner["vmSize"], inner["vmPriority"]) == ("Standard_DS3_v2", "Dedicated")
    assert inner["scaleSettings"] == {
        "maxNodeCount": 2,
        "minNodeCount": 0,
        "nodeIdleTimeBeforeScaleDown": "PT120S",
    }
    assert inner["currentNodeCount"] == 0
    operation = reply.headers["Azure-AsyncOperation"].removeprefix("http://testserver")
    assert reply.headers["Retry-After"] == "1"
    assert alice.get(operation).json["status"] == "Succeeded"
    assert alice.get("computes/CPU-cluster").json == told


def test_the_same_put_twice_changes_nothing(alice: Api) -> None:
    assert alice.put("computes/cpu", SENT).status == 201
    assert alice.put("computes/cpu", SENT).status == 200
    assert Activity.objects.count() == 1


def test_what_was_read_may_be_sent_back_with_another_size_of_the_cluster(alice: Api) -> None:
    alice.put("computes/cpu", SENT)
    read = alice.get("computes/cpu").json
    assert alice.put("computes/cpu", read).status == 200
    assert Activity.objects.count() == 1
    read["properties"]["properties"]["scaleSettings"]["maxNodeCount"] = 3
    reply = alice.put("computes/cpu", read)
    assert reply.json["properties"]["properties"]["scaleSettings"]["maxNodeCount"] == 3


def test_an_update_need_not_repeat_what_never_changes(alice: Api) -> None:
    small = {**SENT["properties"]["properties"], "vmSize": "Standard_F2s_v2"}
    alice.put("computes/cpu", {"properties": {"computeType": "AmlCompute", "properties": small}})
    body = {"properties": {"properties": {"scaleSettings": {"maxNodeCount": 5}}}}
    reply = alice.put("computes/cpu", body)
    assert reply.status == 200, reply
    assert reply.json["properties"]["properties"]["vmSize"] == "Standard_F2s_v2"


def test_patch_changes_the_number_of_nodes_and_tags_key_by_key(alice: Api) -> None:
    alice.put("computes/cpu", SENT)
    body = {
        "tags": {"k": None, "n": "1"},
        "properties": {"properties": {"scaleSettings": {"maxNodeCount": 7}}},
    }
    reply = alice.patch("computes/cpu", body)
    assert reply.status == 200, reply
    assert reply.json["tags"] == {"n": "1"}
    row = Compute.objects.get()
    assert (row.min_instances, row.max_instances, row.idle_seconds) == (0, 7, 120)


def test_a_kubernetes_cluster_is_told_as_it_was_given(alice: Api) -> None:
    reply = alice.put("computes/k8s", KUBERNETES)
    assert reply.status == 201, reply
    outer = reply.json["properties"]
    assert (outer["computeType"], outer["isAttachedCompute"]) == ("Kubernetes", True)
    assert outer["resourceId"] == KUBERNETES["properties"]["resourceId"]
    assert outer["properties"] == KUBERNETES["properties"]["properties"]
    assert alice.put("computes/k8s", reply.json).status == 200
    assert Activity.objects.count() == 1


def test_settings_of_access_are_kept_without_the_password(alice: Api) -> None:
    given = {
        "userAccountCredentials": {
            "adminUserName": "ada",
            "adminUserPassword": "hunter2hunter2",
            "adminUserSshPublicKey": "ssh-rsa AAAA",
        },
        "subnet": {"id": "/subscriptions/s/subnets/x"},
        "remoteLoginPortPublicAccess": "Enabled",
        "enableNodePublicIp": False,
        "vmPriority": "LowPriority",
    }
    body = {"properties": {"computeType": "amlcompute", "properties": given}}
    reply = alice.put("computes/cpu", body)
    assert reply.status == 201, reply
    inner = reply.json["properties"]["properties"]
    assert inner["userAccountCredentials"] == {
        "adminUserName": "ada",
        "adminUserSshPublicKey": "ssh-rsa AAAA",
    }
    assert reply.json["properties"]["disableLocalAuth"] is False
    assert inner["subnet"] == given["subnet"]
    assert inner["remoteLoginPortPublicAccess"] == "Enabled"
    assert inner["enableNodePublicIp"] is False
    assert inner["vmPriority"] == "LowPriority"
    assert "hunter2" not in str(Compute.objects.values().get()) + reply.text


@pytest.mark.parametrize(
    ("body", "target"),
    [
        ({"properties": {"computeType": "ComputeInstance"}}, "properties.computeType"),
        ({"properties": {"computeType": 3}}, "properties.computeType"),
        ({"properties": {"properties": {"vmSize": "Nothing"}}}, "size"),
        (
            {"properties": {"properties": {"scaleSettings": {"maxNodeCount": "2"}}}},
            "properties.properties.scaleSettings.maxNodeCount",
        ),
        (
            {"properties": {"properties": {"scaleSettings": {"maxNodeCount": 1000}}}},
            "max_instances",
        ),
        (
            {
                "properties": {
                    "properties": {"scaleSettings": {"nodeIdleTimeBeforeScaleDown": "soon"}}
                }
            },
            "properties.properties.scaleSettings.nodeIdleTimeBeforeScaleDown",
        ),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_made(alice: Api, body: Any, target: str) -> None:
    reply = alice.put("computes/cpu", body)
    assert (reply.status, reply.error["target"]) == (400, target), reply
    assert not Compute.objects.exists()


def test_the_size_never_changes(alice: Api, cast: Cast) -> None:
    make_compute(cast.workspace, "cpu")
    reply = alice.patch("computes/cpu", {"properties": {"properties": {"vmSize": "F4"}}})
    assert (reply.status, reply.error["target"]) == (400, "size")
    assert "cannot be changed" in reply.error["message"]


def test_delete_is_accepted_then_answered_204(alice: Api, cast: Cast) -> None:
    make_compute(cast.workspace, "cpu")
    reply = alice.delete("computes/cpu?underlyingResourceAction=Delete")
    assert reply.status == 202, reply
    operation = reply.headers["Azure-AsyncOperation"].removeprefix("http://testserver")
    assert alice.get(operation).json["status"] == "Succeeded"
    assert alice.get("computes/cpu").status == 404
    assert alice.delete("computes/cpu").status == 204


def test_only_an_attached_cluster_can_be_detached(alice: Api, cast: Cast) -> None:
    make_compute(cast.workspace, "cpu")
    make_compute(cast.workspace, "k8s", kind="kubernetes")
    refused = alice.delete("computes/cpu?underlyingResourceAction=Detach")
    assert (refused.status, refused.error["target"]) == (400, "underlyingResourceAction")
    assert alice.delete("computes/cpu?underlyingResourceAction=Burn").status == 400
    assert alice.delete("computes/k8s?underlyingResourceAction=Detach").status == 202
    assert [row.name for row in Compute.objects.all()] == ["cpu"]


def test_a_cluster_has_no_nodes_while_no_job_runs(alice: Api, cast: Cast) -> None:
    make_compute(cast.workspace, "cpu")
    assert alice.post("computes/cpu/listNodes").json == {"nodes": []}
    assert alice.post("computes/other/listNodes").status == 404


def test_a_list_costs_the_same_for_one_row_and_for_many(alice: Api, cast: Cast) -> None:
    def cost() -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert alice.get("computes").status == 200
        return len(queries)

    make_compute(cast.workspace)
    alice.get()  # notes that the token was used
    one = cost()
    for _ in range(5):
        make_compute(cast.workspace)
    make_compute()
    assert cost() == one
    names = [row["name"] for row in alice.get("computes").json["value"]]
    assert names == sorted(names)
    assert len(names) == 6
    assert len(alice.get("computes?count=4").json["value"]) == 4


@pytest.fixture
def admin(cast: Cast) -> Api:
    """Of the installation, and no member."""
    return speak_as(make_user("olga", is_superuser=True), cast.workspace)


def place(runtime: str = "docker", **engine: Any) -> dict[str, Any]:
    """A body that says where deployments run."""
    wish = {"runtime": runtime, "engines": [{"name": "a", "url": "unix:///a.sock", **engine}]}
    return {"properties": {**KUBERNETES["properties"], "properties": {"portico": wish}}}


def test_an_administrator_says_where_a_compute_runs_and_members_see_no_address(
    alice: Api, bob: Api, admin: Api
) -> None:
    assert alice.put("computes/edge", place()).status == 403
    assert admin.put("computes/edge", place(maxCores=2, maxMemoryBytes=2**33)).status == 201
    told = {"name": "a", "isSchedulable": True, "maxCores": 2.0, "maxMemoryBytes": 2**33}
    shown = bob.get("computes/edge").json["properties"]["properties"]["portico"]
    assert shown == {"runtime": "docker", "engines": [told]}
    assert bob.get("computes").json["value"][0]["properties"]["properties"]["portico"] == shown
    whole = admin.get("computes/edge").json
    assert whole["properties"]["properties"]["portico"]["engines"] == [
        {**told, "url": "unix:///a.sock"}
    ]

    # What Azure's clients hand back whole changes nothing, with an address or without.
    for api in (alice, admin):
        seen = api.get("computes/edge").json
        assert api.put("computes/edge", {**seen, "tags": {"by": "all"}}).status == 200
    plain = {"computeType": "Kubernetes", "resourceId": KUBERNETES["properties"]["resourceId"]}
    assert admin.put("computes/edge", {"properties": plain}).status == 200
    assert admin.get("computes/edge").json["properties"]["properties"]["portico"]["engines"] == [
        {**told, "url": "unix:///a.sock"}
    ]


def test_engines_come_change_and_go_one_by_one(alice: Api, bob: Api, admin: Api) -> None:
    alice.put("computes/edge", KUBERNETES)
    made = admin.put("computes/edge/engines/far", {"url": "unix:///nowhere/far.sock"})
    assert (made.status, made.json["answers"]) == (201, False)
    assert "No such file" in made.json["reason"]
    assert bob.get("computes/edge/engines/far").json["reason"] == ""
    assert bob.get("computes/edge/engines").json["value"] == [
        {"name": "far", "isSchedulable": True, "answers": False, "reason": ""}
    ]
    changed = admin.patch("computes/edge/engines/FAR", {"isSchedulable": False, "maxCores": 4})
    assert (changed.json["isSchedulable"], changed.json["maxCores"]) == (False, 4.0)
    changed = admin.patch("computes/edge/engines/far", {"maxCores": 0})
    assert "maxCores" not in changed.json
    assert admin.post("computes/edge/engines/far/check").json["answers"] is False
    drained = admin.post("computes/edge/engines/far/drain")
    assert (drained.status, drained.json) == (202, {"name": "far", "instances": 0})

    wrong = admin.put("computes/edge/engines/b", {"url": "http://x"})
    assert (wrong.status, wrong.error["target"]) == (400, "engines.b.url")
    missing = admin.post("computes/edge/engines/b/check")
    assert (missing.status, missing.error["message"]) == (
        404,
        "Compute 'edge' has no engine 'b'; its engines are: far.",
    )
    assert admin.delete("computes/edge/engines/far").status == 200
    assert admin.delete("computes/edge/engines/far").status == 204


def test_a_compute_with_deployments_stays(alice: Api, cast: Cast) -> None:
    alice.put("computes/edge", KUBERNETES)
    endpoint = make_online_endpoint(cast.workspace, "churn", compute="edge")
    make_deployment(endpoint, "blue")
    reply = alice.delete("computes/edge")
    assert (reply.status, reply.error["target"]) == (409, "compute")
    assert "churn/blue" in reply.error["message"]
