"""Online deployments over REST, provisioned by the fake runtime."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from deployments import installation
from deployments.models import DeploymentState, OnlineDeployment, Operation
from deployments.runtimes.fake import FakeRuntime
from tests.api.conftest import Api, Assets, speak_as, store_assets
from tests.deployments.conftest import advance_once, advance_until
from tests.factories import Cast, make_deployment, make_online_endpoint, make_workspace
from workspaces.models import EnvironmentVersion

PATH = "onlineEndpoints/churn/deployments/blue"
PARALLEL, HEADERS = "maxConcurrentRequestsPerInstance", "captureHeaders"


@pytest.fixture(autouse=True)
def runtime(settings: Settings, tmp_path: Path) -> Iterator[FakeRuntime]:
    settings.DEPLOYMENT_RUNTIME = "fake"
    settings.DEPLOYMENTS_ROOT = tmp_path / "deployments"
    settings.PACKAGES_OFFLINE = True
    installation.forget_runtimes()
    fake = installation.runtime()
    assert isinstance(fake, FakeRuntime)
    yield fake
    installation.forget_runtimes()


@pytest.fixture
def assets(cast: Cast) -> Assets:
    make_online_endpoint(cast.workspace, "churn")
    return store_assets(cast.workspace)


def sent(workspace_id: str, **properties: Any) -> dict[str, Any]:
    """As azure-ai-ml 1.35.2 sends it (wire 12.2)."""
    return {
        "location": "local",
        "tags": {"t": "1"},
        "sku": {"name": "Default", "capacity": 1},
        "properties": {
            "endpointComputeType": "Managed",
            "model": f"{workspace_id}/models/churn/versions/1",
            "environmentId": f"{workspace_id}/environments/bare/versions/1",
            "codeConfiguration": {
                "codeId": f"{workspace_id}/codes/churn-code/versions/1",
                "scoringScript": "score.py",
            },
            "instanceType": "Standard_DS3_v2",
            "environmentVariables": {"A": "1"},
            "appInsightsEnabled": True,
            "properties": {},
            "requestSettings": {
                "maxQueueWait": "PT0.4S",
                "maxConcurrentRequestsPerInstance": 2,
                "requestTimeout": "PT3S",
            },
            "livenessProbe": {"initialDelay": "PT10S"},
            "readinessProbe": {"initialDelay": "PT10S"},
            **properties,
        },
    }


def fresh() -> OnlineDeployment:
    return OnlineDeployment.objects.select_related("revision__instance_type").get(name="blue")


def poll(api: Api, reply: Any) -> Any:
    url = reply.headers["Azure-AsyncOperation"].removeprefix("http://testserver")
    return api.get(url)


def test_put_makes_a_deployment_and_the_operation_ends_when_it_answers(
    alice: Api, assets: Assets
) -> None:
    body = sent(alice.workspace.arm_id)
    reply = alice.put(PATH, body)
    assert reply.status == 201, reply
    told = reply.json
    assert told["id"] == f"{alice.workspace.arm_id}/{PATH}"
    assert (
        told["type"] == "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/deployments"
    )
    assert told["kind"] == "Managed"
    assert told["sku"] == {"name": "Default", "capacity": 1}
    assert told["tags"] == {"t": "1"}
    assert told["properties"].pop("provisioningState") == "Creating"
    url = told["properties"]["properties"].pop("AzureAsyncOperationUri")
    assert url == reply.headers["Azure-AsyncOperation"]
    assert told["properties"] == {
        **body["properties"],
        "description": "",
        "scaleSettings": {"scaleType": "Default"},
        "egressPublicNetworkAccess": "Enabled",
        "privateNetworkConnection": False,
    }
    running = poll(alice, reply)
    assert running.json["status"] == "InProgress"
    assert running.headers["Retry-After"] == "1"
    advance_until(fresh(), DeploymentState.SUCCEEDED)
    ended = poll(alice, reply).json
    assert ended["status"] == "Succeeded"
    assert {"id", "name", "startTime", "endTime"} <= set(ended)
    phases = ended["properties"]["phases"]
    assert [phase["name"] for phase in phases][:2] == ["Validate", "Fetch model"]
    assert {phase["state"] for phase in phases} == {"Succeeded"}
    assert all(phase["startTime"] <= phase["endTime"] for phase in phases)
    assert alice.get(PATH).json["properties"]["provisioningState"] == "Succeeded"
    wanted = fresh().revision
    assert wanted is not None
    assert (wanted.request_timeout_ms, wanted.max_queue_wait_ms) == (3000, 400)
    assert wanted.liveness_probe == {"initial_delay": 10}
    assert wanted.startup_probe == {}
    assert "startupProbe" not in alice.get(PATH).json["properties"]


def test_a_startup_probe_is_kept_and_told(alice: Api, assets: Assets) -> None:
    body = sent(alice.workspace.arm_id)
    body["properties"]["startupProbe"] = {"period": "PT5S", "failureThreshold": 60}
    told = alice.put(PATH, body)
    assert told.status == 201, told
    assert told.json["properties"]["startupProbe"] == {"period": "PT5S", "failureThreshold": 60}
    revision = fresh().revision
    assert revision is not None
    assert revision.startup_probe == {"period": 5, "failure_threshold": 60}


def test_a_failed_operation_tells_the_cause_and_what_to_do(
    alice: Api, assets: Assets, runtime: FakeRuntime
) -> None:
    body = sent(alice.workspace.arm_id)
    body["properties"]["environmentId"] = "azureml:image:1"
    image = {"properties": {"image": "registry/own:1"}}
    assert alice.put("environments/image/versions/1", image).status == 201
    reply = alice.put(PATH, body)
    assert reply.status == 201, reply
    advance_until(fresh(), DeploymentState.FAILED)
    told = poll(alice, reply).json
    assert told["status"] == "Failed"
    assert "needs the docker runtime" in told["error"]["message"]
    details = told["error"]["details"]
    assert details[0] == {"code": "Phase", "message": "Build environment"}
    # What the buttons of the studio offer, in words.
    assert details[-1]["code"] == "Fix"
    assert details[-1]["message"].endswith(".")
    assert alice.get(PATH).json["properties"]["provisioningState"] == "Failed"


def test_the_same_put_twice_starts_nothing_in_any_state(alice: Api, assets: Assets) -> None:
    body = sent(alice.workspace.arm_id)
    first = alice.put(PATH, body)
    again = alice.put(PATH, body)
    assert (first.status, again.status) == (201, 200)
    assert again.headers["Azure-AsyncOperation"] == first.headers["Azure-AsyncOperation"]
    advance_until(fresh(), DeploymentState.SUCCEEDED)
    body["properties"]["instanceType"] = "standard_ds3_V2"
    later = alice.put(PATH, body)
    assert later.json["properties"]["provisioningState"] == "Succeeded"
    assert Operation.objects.count() == 1
    assert poll(alice, later).json["status"] == "Succeeded"


def test_what_was_read_may_be_sent_back_with_another_capacity(alice: Api, assets: Assets) -> None:
    """The SDK scales so: no new revision, nothing is replaced."""
    alice.put(PATH, sent(alice.workspace.arm_id))
    advance_until(fresh(), DeploymentState.SUCCEEDED)
    read = alice.get(PATH).json
    read["sku"]["capacity"] = 3
    reply = alice.put(PATH, read)
    assert reply.status == 200, reply
    assert fresh().operations.first().kind == Operation.Kind.SCALE  # type: ignore[union-attr]
    assert fresh().instance_count == 3
    assert fresh().revisions.count() == 1


def test_patch_scales_and_merges(alice: Api, assets: Assets) -> None:
    alice.put(PATH, sent(alice.workspace.arm_id))
    advance_until(fresh(), DeploymentState.SUCCEEDED)
    body = {
        "tags": {"u": "2"},
        "sku": {"capacity": 2},
        "properties": {
            "environmentVariables": {"B": "2", "A": None},
            "requestSettings": {"requestTimeout": "PT1M"},
        },
    }
    told = alice.patch(PATH, body).json
    assert told["sku"]["capacity"] == 2
    assert told["tags"] == {"t": "1", "u": "2"}
    assert told["properties"]["environmentVariables"] == {"B": "2"}
    assert told["properties"]["requestSettings"] == {
        "requestTimeout": "PT60S",
        "maxConcurrentRequestsPerInstance": 2,
        "maxQueueWait": "PT0.4S",
    }


def test_a_busy_deployment_is_a_conflict(alice: Api, assets: Assets) -> None:
    alice.put(PATH, sent(alice.workspace.arm_id))
    reply = alice.patch(PATH, {"sku": {"capacity": 2}})
    assert (reply.status, reply.error["code"]) == (409, "Conflict")
    assert "Creating" in reply.error["message"]
    assert fresh().instance_count == 1


def test_a_deployment_with_traffic_is_not_deleted(alice: Api, cast: Cast) -> None:
    make_online_endpoint(cast.workspace, "churn", deployments={"blue": 100})
    reply = alice.delete(PATH)
    assert (reply.status, reply.error["code"]) == (409, "DeploymentHasTraffic")


def test_delete_is_polled_until_the_deployment_is_gone(alice: Api, assets: Assets) -> None:
    created = alice.put(PATH, sent(alice.workspace.arm_id))
    advance_until(fresh(), DeploymentState.SUCCEEDED)
    reply = alice.delete(PATH)
    assert (reply.status, reply.text) == (202, "")
    assert poll(alice, reply).json["status"] == "InProgress"
    while OnlineDeployment.objects.exists():
        OnlineDeployment.objects.update(lease_until=None)
        row = fresh()
        row.instances.update(remove_after=row.created_at - timedelta(hours=1))
        advance_once(row)
    assert poll(alice, reply).json["status"] == "Succeeded"
    assert poll(alice, created).json["status"] == "Canceled"
    assert alice.delete(PATH).status == 204


@pytest.mark.parametrize(
    ("changes", "target"),
    [
        ({"model": 5}, "model"),
        ({"model": "azureml:nothing:1"}, "model"),
        ({"model": "azureml:churn"}, "model"),
        ({"model": "somewhere/models/churn/versions/1"}, "model"),
        ({"model": "azureml://registries/r/models/churn/versions/1"}, "model"),
        ({"environmentId": "azureml:AzureML-unheard-of:1"}, "environmentId"),
        ({"environmentId": ["bare"]}, "environmentId"),
        ({"codeConfiguration": "score.py"}, "codeConfiguration"),
        ({"codeConfiguration": {"codeId": "x/y"}}, "codeConfiguration.codeId"),
        ({"instanceType": "Standard_Nothing"}, "instance_type"),
        ({"instanceType": {}}, "instanceType"),
        ({"environmentVariables": {"A": 1}}, "environmentVariables"),
        ({"environmentVariables": {"1A": "x"}}, "environment_variables.1A"),
        (
            {"requestSettings": {"requestTimeout": "5s"}},
            "requestSettings.requestTimeout",
        ),
        (
            {"requestSettings": {"requestTimeout": "PT99999999999999999999S"}},
            "requestSettings.requestTimeout",
        ),
        ({"requestSettings": {"requestTimeout": "PT1H"}}, "request_settings.request_timeout_ms"),
        ({"requestSettings": {"maxQueueWait": 4}}, "requestSettings.maxQueueWait"),
        (
            {"requestSettings": {PARALLEL: 1.5}},
            f"requestSettings.{PARALLEL}",
        ),
        (
            {"requestSettings": {PARALLEL: True}},
            f"requestSettings.{PARALLEL}",
        ),
        ({"livenessProbe": {"initialDelay": "PT0.5S"}}, "liveness_probe.initial_delay"),
        (
            {"livenessProbe": {"failureThreshold": "3"}},
            "livenessProbe.failureThreshold",
        ),
        ({"readinessProbe": [1]}, "readinessProbe"),
        ({"startupProbe": {"period": "PT0S"}}, "startup_probe.period"),
        ({"startupProbe": {"successThreshold": 2}}, "startup_probe.success_threshold"),
        ({"readinessProbe": {"timeout": "PT0S"}}, "readiness_probe.timeout"),
        ({"appInsightsEnabled": "yes"}, "appInsightsEnabled"),
        ({"scaleSettings": {"scaleType": "Wild"}}, "scaleSettings.scaleType"),
        ({"scaleSettings": {"scaleType": "TargetUtilization"}}, "scale_settings.type"),
        ({"endpointComputeType": "Moon"}, "endpointComputeType"),
        ({"dataCollector": 5}, "dataCollector"),
        ({"dataCollector": {"collections": {"x": 5}}}, "dataCollector.collections.x"),
        (
            {"dataCollector": {"collections": {"x": {"samplingRate": 2}}}},
            "dataCollector.collections.x.samplingRate",
        ),
        (
            {"dataCollector": {"requestLogging": {HEADERS: [1]}}},
            f"dataCollector.requestLogging.{HEADERS}",
        ),
    ],
    ids=str,
)
def test_a_wrong_field_is_named_and_nothing_is_made(
    alice: Api, assets: Assets, changes: Any, target: str
) -> None:
    reply = alice.put(PATH, sent(alice.workspace.arm_id, **changes))
    assert reply.status == 400, reply
    assert reply.error["target"].removeprefix("properties.") == target
    assert not OnlineDeployment.objects.exists()


@pytest.mark.parametrize("capacity", ["two", 1.5, True, [], 0, -1, 51, 10**30])
def test_a_wrong_capacity_is_refused(alice: Api, assets: Assets, capacity: Any) -> None:
    body = {**sent(alice.workspace.arm_id), "sku": {"capacity": capacity}}
    assert alice.put(PATH, body).status == 400
    assert not OnlineDeployment.objects.exists()


def test_a_reference_into_another_workspace_or_family_is_refused(
    alice: Api, cast: Cast, assets: Assets
) -> None:
    other = make_workspace(owner=cast.alice)
    store_assets(other)
    here = alice.workspace.arm_id
    for wrong, words in (
        (f"{other.arm_id}/models/churn/versions/1", "another workspace"),
        (f"{here}/environments/bare/versions/1", "must be one of its models"),
    ):
        reply = alice.put(PATH, sent(here, model=wrong))
        assert reply.status == 400
        assert words in reply.error["message"]


@pytest.mark.parametrize(
    "reference",
    [
        "azureml:churn:1",
        "azureml:churn@latest",
        "churn:1",
        "azureml:{ws}/models/churn/versions/1",
        "{ws}/models/churn/labels/latest",
        "azureml:/{ws}/models/churn/versions/1",
    ],
)
def test_a_model_may_be_named_in_each_of_azures_ways(
    alice: Api, assets: Assets, reference: str
) -> None:
    here = alice.workspace.arm_id
    reply = alice.put(PATH, sent(here, model=reference.format(ws=here)))
    assert reply.status == 201, reply
    assert reply.json["properties"]["model"] == f"{here}/models/churn/versions/1"


@pytest.mark.parametrize(
    "reference",
    [
        "azureml://registries/azureml/environments/sklearn-1.5/labels/latest",
        "azureml://registries/azureml/environments/sklearn-1.5/versions/9",
        "azureml:AzureML-sklearn-1.5@latest",
    ],
)
def test_a_curated_environment_is_found_and_told_by_its_registry_address(
    alice: Api, assets: Assets, reference: str
) -> None:
    reply = alice.put(PATH, sent(alice.workspace.arm_id, environmentId=reference))
    assert reply.status == 201, reply
    told = reply.json["properties"]["environmentId"]
    assert told == "azureml://registries/azureml/environments/sklearn-1.5/labels/latest"
    assert alice.put(PATH, reply.json).status == 200
    assert EnvironmentVersion.objects.filter(curated="sklearn-1.5").count() == 1
    assert Operation.objects.count() == 1


def test_a_data_collector_comes_back_as_it_was_sent(alice: Api, assets: Assets) -> None:
    collector = {
        "collections": {
            "model_inputs": {
                "dataCollectionMode": "Enabled",
                "samplingRate": 0.5,
                "dataId": f"{alice.workspace.arm_id}/data/x/versions/1",
            }
        },
        "rollingRate": "Day",
        "requestLogging": {"captureHeaders": ["x-a"]},
    }
    reply = alice.put(PATH, sent(alice.workspace.arm_id, dataCollector=collector))
    assert reply.status == 201, reply
    assert reply.json["properties"]["dataCollector"] == collector
    assert alice.put(PATH, reply.json).status == 200
    assert Operation.objects.count() == 1


def test_readers_see_the_names_of_variables_but_not_their_values(
    alice: Api, bob: Api, assets: Assets
) -> None:
    secret = {"environmentVariables": {"KEY": "secret-of-alice"}}
    alice.put(PATH, sent(alice.workspace.arm_id, **secret))
    for path in (PATH, "onlineEndpoints/churn/deployments"):
        assert "secret-of-alice" in alice.get(path).text
        seen = bob.get(path)
        assert "secret-of-alice" not in seen.text
        assert '"KEY":"********"' in seen.text


def test_the_list_has_a_fixed_number_of_queries(alice: Api, cast: Cast) -> None:
    endpoint = make_online_endpoint(cast.workspace, "churn")
    alice.get()  # the first use of a token is noted
    counts = set()
    for number in range(3):
        make_deployment(endpoint, f"blue-{number}")
        with CaptureQueriesContext(connection) as captured:
            told = alice.get("onlineEndpoints/churn/deployments").json["value"]
        assert len(told) == number + 1
        counts.add(len(captured))
    assert counts == {5}, "token, workspace, role, endpoint, rows"


def test_logs_are_read_by_container(alice: Api, cast: Cast) -> None:
    make_online_endpoint(cast.workspace, "churn", deployments={"blue": 0})
    assert alice.post(f"{PATH}/getLogs", {"tail": 50}).json == {"content": ""}
    for wrong in ({"containerType": "Sidecar"}, {"tail": "many"}, {"tail": 0}):
        reply = alice.post(f"{PATH}/getLogs", wrong)
        assert reply.status == 400, wrong
    both = alice.post(f"{PATH}/getLogs", {"containerType": "Sidecar"}).error["message"]
    assert "InferenceServer, StorageInitializer" in both


def test_skus_tell_between_which_counts_one_can_choose(alice: Api, cast: Cast) -> None:
    make_online_endpoint(cast.workspace, "churn", deployments={"blue": 0})
    (sku,) = alice.get(f"{PATH}/skus").json["value"]
    assert sku["sku"] == {"name": "Default"}
    assert sku["capacity"] == {"minimum": 1, "maximum": 50, "default": 1, "scaleType": "Manual"}


def test_a_deployment_under_a_missing_endpoint_is_not_found(alice: Api, assets: Assets) -> None:
    path = "onlineEndpoints/nothing/deployments/blue"
    for method in ("GET", "PUT", "PATCH"):
        assert alice.ask(method, path, sent(alice.workspace.arm_id)).status == 404
    assert alice.delete(path).status == 204


def test_another_workspace_is_not_reached_through_ones_own(
    alice: Api, cast: Cast, assets: Assets
) -> None:
    mallory = speak_as(cast.charlie, make_workspace(owner=cast.charlie))
    make_deployment(make_online_endpoint(cast.workspace, "target"), "blue")
    path = "onlineEndpoints/target/deployments/blue"
    assert mallory.get(path).status == 404
    assert mallory.post(f"{path}/getLogs").status == 404
    assert mallory.post("onlineEndpoints/target/listKeys").status == 404
    assert mallory.delete(path).status == 204
    assert OnlineDeployment.objects.get(endpoint__name="target").state == "Succeeded"
