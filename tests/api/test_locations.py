"""Sizes, limits and usages of a region: for members, each of whom sees their own workspaces."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.api.conftest import Api, speak_as
from tests.factories import (
    Cast,
    make_compute,
    make_online_endpoint,
    make_user,
    make_workspace,
)
from workspaces.models import InstanceType, Quota, Role, User

WORDS = {"vmSizes", "usages", "quotas"}


def place(api: Api, word: str, location: str = "local") -> str:
    provider = "providers/Microsoft.MachineLearningServices"
    return f"/subscriptions/{api.workspace.subscription_id}/{provider}/locations/{location}/{word}"


def by_name(reply: Any, number: str) -> dict[str, int]:
    return {row["name"]["value"]: row[number] for row in reply.json["value"]}


def test_sizes_are_the_enabled_instance_types(bob: Api) -> None:
    InstanceType.objects.filter(name="Standard_DS2_v2").update(is_enabled=False)
    reply = bob.get(place(bob, "vmSizes"))
    sizes = {row["name"]: row for row in reply.json["value"]}
    assert "Standard_DS2_v2" not in sizes
    size = sizes["Standard_DS3_v2"]
    assert (size["vCPUs"], size["gpus"], size["memoryGB"]) == (4, 0, 14)
    assert size["supportedComputeTypes"] == ["AmlCompute"]


def test_usages_count_what_each_quota_limits(bob: Api, cast: Cast) -> None:
    make_online_endpoint(cast.workspace, deployments={"blue": 100, "green": 0})
    make_compute(cast.workspace)
    Quota.objects.create(workspace=cast.workspace, resource="cores", limit=40)
    reply = bob.get(place(bob, "usages"))
    # Two deployments of one instance with four cores, each with the reserve for updates.
    assert by_name(reply, "currentValue") == {
        "endpoints": 1,
        "deployments": 2,
        "dedicatedCores": 16,
        "lowPriorityCores": 0,
        "computes": 1,
    }
    assert by_name(reply, "limit")["dedicatedCores"] == 40
    row = reply.json["value"][0]
    assert row["id"] == f"{bob.workspace.arm_id}/usages/endpoints"
    assert (row["unit"], row["amlWorkspaceLocation"]) == ("Count", "local")


def test_quotas_are_the_limits_of_the_workspace(bob: Api, cast: Cast) -> None:
    Quota.objects.create(workspace=cast.workspace, resource="endpoints", limit=3)
    limits = by_name(bob.get(place(bob, "quotas")), "limit")
    assert limits["endpoints"] == 3
    assert limits["deploymentsPerEndpoint"] == 20


def test_a_stranger_sees_nothing_and_nobody_must_sign_in(charlie: Api) -> None:
    for word in WORDS:
        reply = charlie.get(place(charlie, word))
        assert (reply.status, reply.json["value"]) == (200, []), word
        assert Api(charlie.workspace).get(place(charlie, word)).status == 401


def test_another_region_or_subscription_has_nothing(bob: Api) -> None:
    for word in WORDS:
        assert bob.get(place(bob, word, "mars")).json["value"] == []
        assert bob.get(place(bob, word, "LOCAL")).json["value"] != []
        elsewhere = place(bob, word).replace(bob.workspace.subscription_id, "other")
        assert bob.get(elsewhere).json["value"] == []


def test_many_workspaces_cost_as_many_queries_as_one(alice: Api, cast: Cast) -> None:
    def cost(word: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert alice.get(place(alice, word)).status == 200
        return len(queries)

    alice.get()  # notes that the token was used
    before = {word: cost(word) for word in WORDS}
    for _ in range(3):
        other = make_workspace(owner=cast.alice)
        make_online_endpoint(other, deployments={"blue": 100})
        make_compute(other)
    assert {word: cost(word) for word in WORDS} == before
    first = alice.get(place(alice, "usages") + "?count=1").json
    assert len({row["id"].split("/")[8] for row in first["value"]}) == 1
    assert "$skip" in first["nextLink"]


def wish(api: Api, limit: Any, word: str = "endpoints") -> dict[str, Any]:
    return {"value": [{"id": f"{api.workspace.arm_id}/quotas/{word}", "limit": limit}]}


def update(api: Api, body: Any, location: str = "local") -> Any:
    return api.post(place(api, "updateQuotas", location), body)


def limit_of(api: Api, word: str = "endpoints") -> int:
    return by_name(api.get(place(api, "quotas")), "limit")[word]


def test_an_owner_lowers_a_quota_and_an_administrator_raises_it(alice: Api, cast: Cast) -> None:
    lowered = update(alice, wish(alice, 7))
    assert lowered.status == 200, lowered
    [row] = lowered.json["value"]
    assert (row["limit"], row["status"], row["unit"]) == (7, "Success", "Count")
    assert update(alice, wish(alice, 7)).status == 200
    assert limit_of(alice) == 7
    raised = update(alice, wish(alice, 8))
    assert raised.status == 403
    assert "ask an administrator to raise it to 8" in raised.error["message"]
    assert update(alice, wish(alice, -1)).status == 403
    root = speak_as(User.objects.create(username="root", is_superuser=True), cast.workspace)
    assert update(root, wish(root, 500)).json["value"][0]["limit"] == 500
    assert update(root, wish(root, -1)).json["value"][0]["limit"] == 100
    assert not Quota.objects.exists()
    rows = cast.workspace.activities.filter(verb="set quota").order_by("pk")
    assert [row.after for row in rows] == [
        {"endpoints": 7},
        {"endpoints": 500},
        {"endpoints": 100},
    ]


def test_readers_contributors_and_strangers_set_no_quota(
    alice: Api, bob: Api, charlie: Api, cast: Cast
) -> None:
    cast.workspace.memberships.create(user=make_user("dora"), role=Role.CONTRIBUTOR)
    dora = speak_as(make_user("dora"), cast.workspace)
    for api in (bob, charlie, dora):
        refused = update(api, wish(api, 7))
        assert (refused.status, refused.error["code"]) == (403, "AuthorizationFailed")
    assert update(alice, wish(alice, 7), "mars").status == 403
    nowhere = wish(alice, 7)
    nowhere["value"][0]["id"] = nowhere["value"][0]["id"].replace(alice.workspace.name, "nowhere")
    assert update(alice, nowhere).status == 403
    assert Api(cast.workspace).post(place(alice, "updateQuotas"), wish(alice, 7)).status == 401
    assert not Quota.objects.exists()


@pytest.mark.parametrize(
    ("word", "limit", "target"),
    [
        ("endpoints", -2, "limit"),
        ("endpoints", 10**7, "limit"),
        ("endpoints", "7", "value[1].limit"),
        ("endpoints", None, "value[1].limit"),
        ("wishes", 7, "value[1].id"),
    ],
)
def test_a_quota_that_cannot_be_changes_nothing(
    alice: Api, word: str, limit: Any, target: str
) -> None:
    body = {"value": [*wish(alice, 3)["value"], *wish(alice, limit, word)["value"]]}
    refused = update(alice, body)
    assert (refused.status, refused.error["target"]) == (400, target), refused
    assert not Quota.objects.exists()
