"""Batch endpoints and deployments over REST: what the SDK sends, what it must get, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from deployments.models import BatchDeployment
from endpoints.models import BatchEndpoint
from tests.api.conftest import Api, store_assets
from tests.factories import (
    Cast,
    make_batch_deployment,
    make_batch_endpoint,
    make_component,
    make_compute,
    make_online_endpoint,
)
from workspaces import vault
from workspaces.models import Activity

# As azure-ai-ml 1.35.2 sends it (wire 13.1).
ENDPOINT: dict[str, Any] = {
    "location": "local",
    "tags": {"k": "v"},
    "properties": {"description": "d", "authMode": "aadToken", "properties": {}},
}


def sent(workspace_id: str, **properties: Any) -> dict[str, Any]:
    """A deployment as azure-ai-ml 1.35.2 sends it (wire 13.2)."""
    return {
        "location": "local",
        "tags": {"t": "1"},
        "properties": {
            "model": {
                "referenceType": "Id",
                "assetId": f"{workspace_id}/models/churn/versions/1",
            },
            "environmentId": f"{workspace_id}/environments/bare/versions/1",
            "codeConfiguration": {
                "codeId": f"{workspace_id}/codes/churn-code/versions/1",
                "scoringScript": "score.py",
            },
            "compute": f"{workspace_id}/computes/cpu-cluster",
            "resources": {"instanceCount": 1, "properties": {}},
            "outputAction": "AppendRow",
            "outputFileName": "predictions.csv",
            "errorThreshold": -1,
            "loggingLevel": "info",
            "miniBatchSize": 2,
            "maxConcurrencyPerInstance": 1,
            "retrySettings": {"maxRetries": 2, "timeout": "PT30S"},
            "environmentVariables": {"A": "1"},
            "properties": {},
            **properties,
        },
    }


def pipeline(workspace_id: str) -> dict[str, Any]:
    """A deployment of a component, as the SDK sends it."""
    return {
        "location": "local",
        "properties": {
            "description": "d",
            "errorThreshold": -1,
            "miniBatchSize": 10,
            "maxConcurrencyPerInstance": 1,
            "outputFileName": "predictions.csv",
            "deploymentConfiguration": {
                "deploymentConfigurationType": "PipelineComponent",
                "componentId": {
                    "referenceType": "Id",
                    "assetId": f"{workspace_id}/components/flow/versions/1",
                },
                "settings": {
                    "ComponentDeployment.Settings.continue_on_step_failure": "False",
                    "default_compute": "azureml:cpu-cluster",
                },
            },
        },
    }


@pytest.fixture
def ready(cast: Cast) -> BatchEndpoint:
    """All that a deployment names, and the endpoint that it goes to."""
    store_assets(cast.workspace)
    make_compute(cast.workspace, "cpu-cluster")
    make_component(cast.workspace, "flow", type="pipeline")
    return make_batch_endpoint(cast.workspace, "churn")


def operation_of(reply: Any) -> str:
    assert reply.headers["Retry-After"] == "1"
    return str(reply.headers["Azure-AsyncOperation"]).removeprefix("http://testserver")


def test_put_makes_an_endpoint_and_answers_in_the_recorded_shape(alice: Api) -> None:
    reply = alice.put("batchEndpoints/churn", ENDPOINT)
    assert reply.status == 201, reply
    told = reply.json
    assert told["id"] == f"{alice.workspace.arm_id}/batchEndpoints/churn"
    assert told["type"] == "Microsoft.MachineLearningServices/workspaces/batchEndpoints"
    assert (told["location"], told["tags"]) == ("local", {"k": "v"})
    properties = told["properties"]
    properties["properties"].pop("AzureAsyncOperationUri")
    assert properties == {
        "description": "d",
        "authMode": "AADToken",
        "properties": {},
        "defaults": {"deploymentName": None},
        "scoringUri": BatchEndpoint.objects.get().scoring_uri,
        "provisioningState": "Succeeded",
    }
    assert alice.get(operation_of(reply)).json["status"] == "Succeeded"


def test_the_same_put_twice_and_what_was_read_change_nothing(alice: Api) -> None:
    alice.put("batchEndpoints/churn", ENDPOINT)
    read = alice.put("batchEndpoints/CHURN", ENDPOINT).json
    read["properties"]["properties"] |= {"createdBy": "a", "lastModifiedAt": None}
    assert alice.put("batchEndpoints/churn", read).status == 200
    assert Activity.objects.count() == 1


def test_the_default_is_set_by_put_and_kept_when_it_is_not_mentioned(
    alice: Api, cast: Cast
) -> None:
    make_batch_endpoint(cast.workspace, "churn", deployments=["blue", "green"])
    chosen = {"properties": {"defaults": {"deploymentName": "GREEN"}}}
    reply = alice.put("batchEndpoints/churn", chosen)
    assert reply.json["properties"]["defaults"] == {"deploymentName": "green"}
    assert alice.put("batchEndpoints/churn", ENDPOINT).status == 200
    assert BatchEndpoint.objects.get().default_deployment == "green"
    reply = alice.patch(
        "batchEndpoints/churn", {"properties": {"defaults": {"deploymentName": "x"}}}
    )
    assert (reply.status, reply.error["target"]) == (400, "defaults.deployment_name")


@pytest.mark.parametrize("word", ["key", "AMLToken"])
def test_only_a_token_of_the_caller_opens_a_batch_endpoint(alice: Api, word: str) -> None:
    reply = alice.put("batchEndpoints/churn", {"properties": {"authMode": word}})
    assert (reply.status, reply.error["target"]) == (400, "auth_mode")
    assert "aad_token" in reply.error["message"]


def test_a_name_of_an_online_endpoint_is_taken(alice: Api, cast: Cast) -> None:
    make_online_endpoint(cast.workspace, "churn")
    reply = alice.put("batchEndpoints/Churn", ENDPOINT)
    assert (reply.status, reply.error["code"]) == (409, "Conflict")


def test_there_are_no_keys_to_list(alice: Api, cast: Cast) -> None:
    make_batch_endpoint(cast.workspace, "churn")
    reply = alice.post("batchEndpoints/churn/listkeys")
    assert (reply.status, reply.error["target"]) == (400, "authMode")


def test_deleting_an_endpoint_takes_its_deployments_along(alice: Api, cast: Cast) -> None:
    make_batch_endpoint(cast.workspace, "churn", deployments=["blue"])
    reply = alice.delete("batchEndpoints/churn")
    assert reply.status == 202
    assert alice.get(operation_of(reply)).json["status"] == "Succeeded"
    assert alice.get("batchEndpoints/churn").status == 404
    assert alice.delete("batchEndpoints/churn").status == 204
    assert not BatchDeployment.objects.exists()


def test_put_makes_a_deployment_and_answers_with_all_of_it(
    alice: Api, ready: BatchEndpoint
) -> None:
    body = sent(alice.workspace.arm_id)
    reply = alice.put("batchEndpoints/churn/deployments/blue", body)
    assert reply.status == 201, reply
    told = reply.json
    assert told["id"] == f"{ready.arm_id}/deployments/blue"
    assert told["tags"] == {"t": "1"}
    told["properties"]["properties"].pop("AzureAsyncOperationUri")
    assert told["properties"] == {
        **body["properties"],
        "description": "",
        "loggingLevel": "Info",
        "provisioningState": "Succeeded",
    }
    assert alice.get(operation_of(reply)).json["status"] == "Succeeded"


def test_what_was_read_may_be_sent_back_with_another_setting(
    alice: Api, ready: BatchEndpoint
) -> None:
    path = "batchEndpoints/churn/deployments/blue"
    alice.put(path, sent(alice.workspace.arm_id))
    read = alice.get(path).json
    before = Activity.objects.count()
    assert alice.put(path, read).status == 200
    assert Activity.objects.count() == before
    read["properties"]["miniBatchSize"] = 7
    assert alice.put(path, read).json["properties"]["miniBatchSize"] == 7


def test_what_is_not_said_has_azures_defaults(alice: Api, ready: BatchEndpoint) -> None:
    whole = sent(alice.workspace.arm_id)["properties"]
    named = ("model", "environmentId", "codeConfiguration")
    least = {name: whole[name] for name in named} | {"compute": "azureml:CPU-cluster"}
    reply = alice.put("batchEndpoints/churn/deployments/blue", {"properties": least})
    assert reply.status == 201, reply
    told = reply.json["properties"]
    assert told["compute"] == f"{alice.workspace.arm_id}/computes/cpu-cluster"
    assert told["resources"]["instanceCount"] == 1
    assert (told["miniBatchSize"], told["errorThreshold"]) == (10, -1)
    assert told["retrySettings"] == {"maxRetries": 3, "timeout": "PT30S"}
    assert (told["outputAction"], told["outputFileName"]) == ("AppendRow", "predictions.csv")
    assert told["maxConcurrencyPerInstance"] == 1


def test_patch_changes_what_it_mentions_and_the_file_name_goes_with_the_action(
    alice: Api, ready: BatchEndpoint
) -> None:
    path = "batchEndpoints/churn/deployments/blue"
    alice.put(path, sent(alice.workspace.arm_id, outputFileName="mine.csv"))
    body = {
        "tags": {"u": "2"},
        "properties": {"outputAction": "SummaryOnly", "environmentVariables": {"B": "2"}},
    }
    reply = alice.patch(path, body)
    assert reply.status == 200, reply
    assert reply.json["tags"] == {"t": "1", "u": "2"}
    told = reply.json["properties"]
    assert told["environmentVariables"] == {"A": "1", "B": "2"}
    assert (told["miniBatchSize"], "outputFileName" in told) == (2, False)
    back = alice.patch(path, {"properties": {"outputAction": "AppendRow"}})
    assert back.json["properties"]["outputFileName"] == "predictions.csv"


def test_a_pipeline_component_is_told_as_it_was_given(alice: Api, ready: BatchEndpoint) -> None:
    path = "batchEndpoints/churn/deployments/flow"
    body = pipeline(alice.workspace.arm_id)
    reply = alice.put(path, body)
    assert reply.status == 201, reply
    told = reply.json["properties"]["deploymentConfiguration"]
    given = body["properties"]["deploymentConfiguration"]
    assert told["componentId"] == given["componentId"]
    assert told["settings"] == {
        "continue_on_step_failure": "False",
        "default_compute": "cpu-cluster",
    }
    before = Activity.objects.count()
    assert alice.put(path, alice.get(path).json).status == 200
    assert Activity.objects.count() == before


@pytest.mark.parametrize(
    ("properties", "target"),
    [
        ({"model": "azureml:churn:1"}, "properties.model"),
        (
            {"model": {"referenceType": "DataPath", "path": "x"}},
            "properties.model.referenceType",
        ),
        ({"model": {"assetId": "azureml:none:1"}}, "properties.model.assetId"),
        ({"environmentId": "azureml:none:1"}, "properties.environmentId"),
        ({"codeConfiguration": {"codeId": "x/y"}}, "properties.codeConfiguration.codeId"),
        ({"compute": "/subscriptions/x"}, "properties.compute"),
        ({"compute": "nothing"}, "compute"),
        ({"miniBatchSize": "2"}, "properties.miniBatchSize"),
        ({"retrySettings": {"timeout": 30}}, "properties.retrySettings.timeout"),
        ({"resources": {"instanceCount": 9}}, "resources.instance_count"),
        ({"loggingLevel": "loud"}, "properties.loggingLevel"),
        ({"outputAction": "SummaryOnly", "outputFileName": "x"}, "settings.output_file_name"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_made(
    alice: Api, ready: BatchEndpoint, properties: Any, target: str
) -> None:
    body = sent(alice.workspace.arm_id, **properties)
    reply = alice.put("batchEndpoints/churn/deployments/blue", body)
    assert reply.status == 400, reply
    targets = [item["target"] for item in reply.error.get("details", [reply.error])]
    assert target in targets, reply
    assert not BatchDeployment.objects.exists()


def test_a_compute_of_another_workspace_is_refused(alice: Api, ready: BatchEndpoint) -> None:
    foreign = alice.workspace.arm_id.replace(alice.workspace.name, "other")
    body = sent(alice.workspace.arm_id, compute=f"{foreign}/computes/cpu-cluster")
    reply = alice.put("batchEndpoints/churn/deployments/blue", body)
    assert (reply.status, reply.error["target"]) == (400, "properties.compute")
    assert "another workspace" in reply.error["message"]


def test_readers_do_not_see_the_values_of_environment_variables(
    bob: Api, alice: Api, cast: Cast
) -> None:
    endpoint = make_batch_endpoint(cast.workspace, "churn")
    sealed = vault.seal_map({"PASSWORD": "hunter2"})
    make_batch_deployment(endpoint, environment_variables_sealed=sealed)
    for path in ("batchEndpoints/churn/deployments", "batchEndpoints/churn/deployments/blue"):
        assert "hunter2" in alice.get(path).text
        assert "hunter2" not in bob.get(path).text


def test_deleting_a_deployment_is_accepted_then_answered_204(alice: Api, cast: Cast) -> None:
    make_batch_endpoint(cast.workspace, "churn", deployments=["blue"])
    path = "batchEndpoints/churn/deployments/BLUE"
    reply = alice.delete(path)
    assert reply.status == 202
    assert alice.get(operation_of(reply)).json["status"] == "Succeeded"
    assert alice.get(path).status == 404
    assert alice.delete(path).status == 204
    assert alice.get("batchEndpoints/churn").json["properties"]["defaults"] == {
        "deploymentName": None
    }


def test_lists_cost_the_same_for_one_row_and_for_many(alice: Api, cast: Cast) -> None:
    paths = ("batchEndpoints", "batchEndpoints/churn/deployments")

    def costs() -> list[int]:
        found = []
        for path in paths:
            with CaptureQueriesContext(connection) as queries:
                assert alice.get(path).status == 200
            found.append(len(queries))
        return found

    churn = make_batch_endpoint(cast.workspace, "churn", deployments=["blue"])
    alice.get()  # notes that the token was used
    before = costs()
    for name in ("a-1", "b-2", "c-3"):
        make_batch_endpoint(cast.workspace, name, deployments=["red"])
        make_batch_deployment(churn, name)
    assert costs() == before
    assert [row["name"] for row in alice.get(paths[1]).json["value"]] == [
        "a-1",
        "b-2",
        "blue",
        "c-3",
    ]
