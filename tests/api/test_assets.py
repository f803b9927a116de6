"""Models, environments and code over REST."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.api.conftest import Api, store_assets
from tests.factories import CONDA, Cast, make_code, make_environment, make_model
from workspaces.models import EnvironmentVersion, ModelVersion

ENVIRONMENT: dict[str, Any] = {
    "properties": {
        "image": "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04",
        "condaFile": CONDA,
        "isAnonymous": False,
        "isArchived": False,
    }
}


def put(api: Api, version: str = "1", name: str = "sklearn", **properties: Any) -> Any:
    body = {"properties": {**ENVIRONMENT["properties"], **properties}}
    return api.put(f"environments/{name}/versions/{version}", body)


def test_an_environment_is_registered_and_told_in_the_recorded_shape(alice: Api) -> None:
    reply = put(alice, tags={"a": "b"}, description="d")
    assert reply.status == 201, reply
    told = reply.json
    assert told["id"] == f"{alice.workspace.arm_id}/environments/sklearn/versions/1"
    assert told["name"] == "1"
    assert told["type"] == "Microsoft.MachineLearningServices/workspaces/environments/versions"
    assert told["properties"] == {
        **ENVIRONMENT["properties"],
        "description": "d",
        "tags": {"a": "b"},
        "properties": {},
        "osType": "Linux",
        "environmentType": "UserCreated",
        "provisioningState": "Succeeded",
    }
    assert told["systemData"]["createdBy"] == "alice"
    assert alice.get("environments/sklearn/versions/1").json == told


def test_the_same_environment_again_is_success_and_another_one_a_conflict(alice: Api) -> None:
    assert put(alice).status == 201
    assert put(alice).status == 200
    reply = put(alice, condaFile="dependencies: [python=3.12]")
    assert (reply.status, reply.error["code"]) == (409, "Conflict")
    assert EnvironmentVersion.objects.get().conda_file == CONDA
    assert put(alice, "2", condaFile="dependencies: [python=3.12]").status == 201


def test_the_sdk_archives_and_restores_by_sending_back_what_it_read(alice: Api) -> None:
    put(alice)
    read = alice.get("environments/sklearn/versions/1").json
    read["properties"]["isArchived"] = True
    assert alice.put("environments/sklearn/versions/1", read).json["properties"]["isArchived"]
    assert alice.get("environments/sklearn/versions").json["value"] == []
    archived = alice.get("environments/sklearn/versions?listViewType=ArchivedOnly").json["value"]
    assert [item["name"] for item in archived] == ["1"]
    read["properties"]["isArchived"] = False
    assert alice.put("environments/sklearn/versions/1", read).status == 200
    assert len(alice.get("environments/sklearn/versions").json["value"]) == 1


def test_an_anonymous_environment_of_the_sdk_has_a_hash_for_its_version(alice: Api) -> None:
    version = "0123456789abcdef" * 4
    for expected in (201, 200):
        reply = put(alice, version, "CliV2AnonymousEnvironment", isAnonymous=True)
        assert reply.status == expected, reply
    assert reply.json["properties"]["isAnonymous"] is True
    assert alice.get("environments").json["value"] == []


def test_routes_that_the_sdk_leaves_out_of_the_hash_make_another_version(alice: Api) -> None:
    """It names an anonymous build context by its files alone, whatever the inference_config says."""
    version, route = "0123456789abcdef" * 4, {"path": "/", "port": 8501}
    first = put(alice, version, "CliV2AnonymousEnvironment", isAnonymous=True)
    routes = {"livenessRoute": route, "readinessRoute": route, "scoringRoute": route}
    wish = {"isAnonymous": True, "inferenceConfig": routes}
    other = put(alice, version, "CliV2AnonymousEnvironment", **wish)
    again = put(alice, version, "CliV2AnonymousEnvironment", **wish)
    assert (first.status, other.json["id"]) == (201, again.json["id"])
    assert other.json["properties"]["inferenceConfig"] == routes
    assert other.json["name"] != version
    assert (
        alice.get(f"environments/CliV2AnonymousEnvironment/versions/{version}").json == first.json
    )


def test_a_curated_image_alone_is_one_of_ours(alice: Api) -> None:
    image = "mcr.microsoft.com/azureml/curated/sklearn-1.5:9"
    reply = alice.put("environments/curated/versions/1", {"properties": {"image": image}})
    assert reply.status == 201, reply
    assert reply.json["properties"]["environmentType"] == "Curated"
    assert EnvironmentVersion.objects.get().curated == "sklearn-1.5"


@pytest.mark.parametrize(
    "properties",
    [
        {"condaFile": "dependencies: 5"},
        {"condaFile": "a: [b"},
        {"condaFile": {"dependencies": []}},
        {"image": 5},
        {"image": "i" * 501},
        {"image": None, "condaFile": None},
        {"osType": "BeOS"},
        {"tags": {"a": []}},
        {"properties": {"a": [1]}},
        {"isArchived": "no"},
        {"inferenceConfig": {"livenessRoute": "x"}},
        {"inferenceConfig": {"livenessRoute": {"path": 1, "port": "x"}}},
        {"build": {"contextUri": "https://elsewhere/context"}},
    ],
    ids=str,
)
def test_a_wrong_environment_is_refused(alice: Api, properties: Any) -> None:
    reply = put(alice, **properties)
    assert reply.status == 400, reply
    assert not EnvironmentVersion.objects.exists()


@pytest.mark.parametrize(
    "path",
    ["environments/-x/versions/1", "environments/x%20y/versions/1", "environments/x/versions/-"],
)
def test_a_name_that_is_not_allowed_is_refused(alice: Api, path: str) -> None:
    assert alice.put(path, ENVIRONMENT).status == 400


def test_routes_of_a_custom_container_come_back(alice: Api) -> None:
    route = {"path": "/live", "port": 8080}
    config = {"livenessRoute": route, "readinessRoute": route, "scoringRoute": route}
    reply = put(alice, inferenceConfig=config)
    assert reply.json["properties"]["inferenceConfig"] == config


def test_a_container_tells_the_latest_and_the_next_version(alice: Api, cast: Cast) -> None:
    put(alice, "9")
    put(alice, "10", condaFile="dependencies: [python=3.12]")
    put(alice, "named", condaFile="dependencies: [python=3.10]")
    told = alice.get("environments/sklearn").json
    assert told["properties"]["latestVersion"] == "named"
    assert told["properties"]["nextVersion"] == "11"
    assert alice.get("environments/nothing").status == 404
    make_model(cast.workspace)
    listed = alice.get("models").json["value"]
    assert [(item["name"], item["properties"]["nextVersion"]) for item in listed] == [
        ("diabetes", "2")
    ]


def test_versions_come_newest_first_and_unknown_names_have_none(alice: Api, cast: Cast) -> None:
    for version in ("1", "2", "3"):
        make_model(cast.workspace, version=version)
    path = "models/diabetes/versions?$orderBy=createdtime desc&$top=1"
    assert [item["name"] for item in alice.get(path).json["value"]] == ["3"]
    names, path = [], "models/diabetes/versions?count=2"
    while path:
        answer = alice.get(path).json
        names += [item["name"] for item in answer["value"]]
        path = answer.get("nextLink", "").removeprefix("http://testserver")
    assert names == ["3", "2", "1"]
    assert alice.get("models/nothing/versions").json == {"value": []}
    assert alice.get("models/diabetes/versions?$skip=x").status == 400
    assert alice.get("models/diabetes/versions?listViewType=Some").status == 400


def test_a_model_version_has_what_the_sdk_needs(alice: Api, cast: Cast) -> None:
    store_assets(cast.workspace)
    told = alice.get("models/churn/versions/1").json
    assert told["properties"]["modelType"] == "custom_model"
    assert told["properties"]["flavors"] == {}
    assert alice.get("models/churn/versions/2").status == 404
    assert alice.get("models/churn/versions/1%00").status == 404
    code = alice.get("codes/churn-code/versions/1").json
    assert code["type"].endswith("/codes/versions")


def test_flavors_of_mlflow_models_are_told(alice: Api, cast: Cast) -> None:
    make_model(cast.workspace, type="mlflow_model", flavors={"sklearn": {"version": "1.5"}})
    told = alice.get("models/diabetes/versions/1").json["properties"]
    assert told["flavors"] == {"sklearn": {"data": {"version": "1.5"}}}


def test_archiving_by_patch_hides_and_restoring_shows(alice: Api, cast: Cast) -> None:
    make_model(cast.workspace)
    path = "models/diabetes"
    assert alice.patch(path, {"properties": {"isArchived": True}}).status == 200
    assert alice.get("models").json["value"] == []
    assert len(alice.get("models?listViewType=All").json["value"]) == 1
    assert alice.patch(path, {"properties": {}}).json["properties"]["isArchived"] is True
    assert alice.put(path, {"properties": {"isArchived": False}}).status == 200
    assert len(alice.get("models").json["value"]) == 1
    body = {"properties": {"isArchived": True, "description": "old", "tags": {"a": "b"}}}
    told = alice.patch(f"{path}/versions/1", body).json["properties"]
    assert (told["isArchived"], told["description"], told["tags"]) == (True, "old", {"a": "b"})
    assert alice.patch(f"{path}/versions/1", {"properties": {"isArchived": "x"}}).status == 400
    assert ModelVersion.objects.get().archived_at is not None


def test_lists_have_a_fixed_number_of_queries(alice: Api, cast: Cast) -> None:
    alice.get()  # the first use of a token is noted
    paths = ("models", "environments", "codes", "models/m0/versions", "environments/e0/versions")
    counts = set()
    for number in range(3):
        make_model(cast.workspace, f"m{number}")
        make_model(cast.workspace, "m0", version=str(number + 5))
        make_environment(cast.workspace, f"e{number}")
        make_code(cast.workspace, f"c{number}")
        for path in paths:
            with CaptureQueriesContext(connection) as captured:
                assert alice.get(path).status == 200
            counts.add(len(captured))
    assert counts == {4}, "token, workspace, role, rows"
