"""Instances over REST, and the logs of builds; who may is in `test_access`."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from deployments.models import EnvironmentBuild, Instance, OnlineDeployment, Phase
from monitoring.rollups import UsageKey, add_usage, minute_of
from tests.api.conftest import Api
from tests.factories import (
    Cast,
    make_deployment,
    make_environment,
    make_online_endpoint,
    make_operation,
)
from workspaces.models import Activity

PATH = "onlineEndpoints/churn/deployments/blue"


@pytest.fixture
def deployment(cast: Cast) -> OnlineDeployment:
    return make_deployment(make_online_endpoint(cast.workspace, "churn"), instance_count=2)


def build(deployment: OnlineDeployment, log: str, **fields: object) -> Phase:
    operation = make_operation(deployment, **fields)
    return Phase.objects.create(
        operation=operation,
        name=Phase.Name.BUILD_ENVIRONMENT,
        state=operation.state,
        started_at=timezone.now(),
        log=log,
    )


def test_an_instance_is_told_with_its_last_end_and_what_it_uses(
    bob: Api,
    deployment: OnlineDeployment,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    one = deployment.instances.get(number=1)
    ended = {"at": "2026-01-02T12:00:00+00:00", "code": "OutOfMemory", "exit_code": 137}
    Instance.objects.filter(pk=one.pk).update(
        node="gpu-box",
        last_exit={**ended, "reason": "Killed at 2.0 GiB, limit 2.0 GiB.", "evidence": ["a"]},
    )
    key = UsageKey(minute_of(datetime.now(UTC)), "churn", "blue", one.name)
    add_usage({key: (30.0, 50.0)})
    add_usage({key: (10.0, 50.0)})
    with django_assert_max_num_queries(12):
        told, other = bob.get(f"{PATH}/instances").json["value"]
    assert (told["number"], told["state"], told["node"]) == (1, "Healthy", "gpu-box")
    assert told["lastExit"] == {
        "time": "2026-01-02T12:00:00+00:00",
        "code": "OutOfMemory",
        "reason": "Killed at 2.0 GiB, limit 2.0 GiB.",
        "evidence": ["a"],
        "exitCode": 137,
    }
    assert (told["cpuPercent"], told["memoryPercent"]) == (20.0, 50.0)
    assert "cpuPercent" not in other


def test_restart_and_drain_are_wanted_at_once_and_recorded(
    alice: Api, deployment: OnlineDeployment
) -> None:
    assert alice.post(f"{PATH}/instances/1/restart").json["isRestarting"] is True
    name = deployment.instances.get(number=2).name
    reply = alice.post(f"{PATH}/instances/{name}/drain")
    assert (reply.status, reply.json["isBeingReplaced"]) == (202, True)
    verbs = Activity.objects.order_by("pk").values_list("verb", "actor__username")
    assert list(verbs) == [("restart instance", "alice"), ("drain instance", "alice")]
    missing = alice.post(f"{PATH}/instances/9/drain")
    assert missing.status == 404
    assert "its instances are: 1, 2" in missing.error["message"]
    OnlineDeployment.objects.update(state="Updating")
    assert alice.post(f"{PATH}/instances/1/restart").status == 409


def test_the_log_of_the_newest_build_and_of_the_one_that_is_named(
    alice: Api, deployment: OnlineDeployment
) -> None:
    build(deployment, "Resolving\nInstalled\n", revision_number=1)
    failure = {"code": "ImageBuildFailure", "cause": "numpy 9 does not exist.", "evidence": ["no"]}
    build(deployment, "a\nb\nc\n", state="Failed", revision_number=2, failure=failure)
    newest = alice.post(f"{PATH}/getBuildLog", {"tail": 2}).json
    assert (newest["content"], newest["state"], newest["revision"]) == ("b\nc", "Failed", 2)
    assert newest["error"]["message"] == "numpy 9 does not exist."
    assert newest["revisions"] == [2, 1]
    first = alice.post(f"{PATH}/getBuildLog", {"revision": 1}).json
    assert first["content"] == "Resolving\nInstalled"
    assert alice.post(f"{PATH}/getBuildLog", {"tail": 0}).error["target"] == "tail"
    missing = alice.post(f"{PATH}/getBuildLog", {"revision": 7})
    assert "builds of revision 2, 1." in missing.error["message"]


def test_a_build_of_an_environment_is_begun_told_and_canceled(alice: Api, cast: Cast) -> None:
    make_environment(cast.workspace)
    base = "environments/sklearn/versions/1"
    begun = alice.post(f"{base}/builds")
    assert (begun.status, begun.json["state"], begun.json["createdBy"]) == (202, "Queued", "alice")
    assert alice.post(f"{base}/builds").json["id"] == begun.json["id"]
    one = f"{base}/builds/{begun.json['id']}"
    assert alice.post(f"{one}/cancel").json["isCanceling"] is True
    failure = {"code": "ImageBuildFailure", "cause": "numpy 9 does not exist.", "evidence": []}
    EnvironmentBuild.objects.update(state="Failed", log="a\nb\n", failure=failure, size_bytes=5)
    assert alice.get(one).json["error"]["message"] == "numpy 9 does not exist."
    assert alice.post(f"{one}/getLog", {"tail": 1}).json == {"content": "b"}
    assert alice.get(f"{base}/builds").json["value"][0]["sizeBytes"] == 5
    assert alice.post(f"{one}/cancel").status == 409
    assert alice.get(f"{base}/builds/x").status == 404


def test_a_check_tells_the_packages(alice: Api, cast: Cast) -> None:
    # What no other test has built.
    make_environment(cast.workspace, conda_file="dependencies: [python=3.11, pytz]")
    told = alice.post("environments/sklearn/versions/1/check").json
    assert told == {
        "isBuilt": False,
        "warnings": told["warnings"],
        "python": "3.11",
        "requirements": ["pytz"],
    }
