"""Sizes, limits and usages of a region: for members, each of whom sees their own workspaces."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.api.conftest import Api
from tests.factories import (
    Cast,
    make_compute,
    make_online_endpoint,
    make_workspace,
)
from workspaces.models import InstanceType, Quota

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
