"""Every field of every body, replaced by everything that it is not: refused or passed over, never our fault."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections, transaction

from endpoints.models import OnlineEndpoint
from tests.api.conftest import Api, speak_as, store_assets
from tests.api.test_assets import ENVIRONMENT
from tests.api.test_batch import ENDPOINT as BATCH_ENDPOINT
from tests.api.test_batch import pipeline
from tests.api.test_batch import sent as batch_deployment
from tests.api.test_components import COMMAND
from tests.api.test_computes import KUBERNETES
from tests.api.test_computes import SENT as CLUSTER
from tests.api.test_datastores import LAKE
from tests.api.test_online_deployments import sent
from tests.api.test_online_endpoints import SENT
from tests.api.test_role_assignments import HERE as ASSIGNMENTS
from tests.api.test_role_assignments import body as body_of_assignment
from tests.factories import (
    Cast,
    make_batch_deployment,
    make_batch_endpoint,
    make_cast,
    make_component,
    make_compute,
    make_data,
    make_deployment,
    make_online_endpoint,
)
from workspaces.models import Activity, EnvironmentVersion

pytestmark = pytest.mark.thorough

AT_ONCE = 6
ASSIGNMENT = f"{ASSIGNMENTS}/00000000-0000-0000-0000-0000000000aa"
DATA: dict[str, Any] = {
    "properties": {
        "dataType": "mltable",
        "dataUri": "https://example.org/iris",
        "referencedUris": ["a"],
        "isAnonymous": False,
        "isArchived": False,
        "tags": {"a": "b"},
        "properties": {"a": "b"},
        "description": "d",
    }
}
NO_ASSETS = {
    "model_version": None,
    "code_version": None,
    "environment_version": None,
    "scoring_script": "",
}
WRONG: list[Any] = [7, True, "x" * 20_000, [None], {"a": {"b": [1]}}]


def places(body: Any, at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The way to every value of a body, the body itself included."""
    yield at
    if isinstance(body, dict):
        for key, value in body.items():
            yield from places(value, (*at, key))


def replaced(body: Any, at: tuple[str, ...], value: Any) -> Any:
    if not at:
        return value
    changed = copy.deepcopy(body)
    inner = changed
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = value
    return changed


def whole_deployment(workspace_id: str) -> dict[str, Any]:
    probe = {
        "initialDelay": "PT1S",
        "period": "PT1S",
        "timeout": "PT1S",
        "successThreshold": 1,
        "failureThreshold": 1,
    }
    return sent(
        workspace_id,
        livenessProbe=probe,
        readinessProbe=probe,
        scaleSettings={"scaleType": "Default"},
        modelMountPath="",
        egressPublicNetworkAccess="Enabled",
        privateNetworkConnection=False,
        dataCollector={
            "collections": {
                "c": {"dataCollectionMode": "Enabled", "samplingRate": 1, "dataId": "x"}
            },
            "rollingRate": "Hour",
            "requestLogging": {"captureHeaders": ["h"]},
        },
    )


def whole_batch_endpoint() -> dict[str, Any]:
    body = copy.deepcopy(BATCH_ENDPOINT)
    body["properties"]["defaults"] = {"deploymentName": "blue"}
    return body


def whole_cluster() -> dict[str, Any]:
    body = copy.deepcopy(CLUSTER)
    body["properties"]["description"] = "d"
    body["properties"]["properties"] |= {
        "vmPriority": "Dedicated",
        "subnet": {"id": "s"},
        "userAccountCredentials": {"adminUserName": "a", "adminUserSshPublicKey": "k"},
    }
    return body


@pytest.mark.parametrize(
    "kind",
    [
        "endpoint",
        "deployment",
        "environment",
        "model",
        "data",
        "component",
        "compute",
        "kubernetes",
        "datastore",
        "role assignment",
        "batch endpoint",
        "batch deployment",
        "pipeline",
    ],
)
def test_no_wrong_type_is_our_fault(alice: Api, cast: Cast, kind: str) -> None:
    assets = store_assets(cast.workspace)
    churn = make_online_endpoint(cast.workspace, "churn")
    make_deployment(churn, "blue", revision=assets.revision)
    make_data(cast.workspace)
    make_component(cast.workspace)
    make_compute(cast.workspace, "cpu")
    make_compute(cast.workspace, "cpu-cluster")
    nightly = make_batch_endpoint(cast.workspace, "nightly", deployments=["blue"])
    flow = make_component(cast.workspace, "flow", type="pipeline")
    make_batch_deployment(nightly, "flow", type="pipeline", component_version=flow, **NO_ASSETS)
    make_compute(cast.workspace, "k8s", kind="kubernetes")
    uri = f"azureml://datastores/workspaceblobstore/paths/assets/{assets.model.content_hash}/model"
    model = {"properties": {"modelUri": uri, "modelType": "custom_model", "tags": {"a": "b"}}}
    path, body = {
        "endpoint": ("onlineEndpoints/churn", SENT),
        "deployment": (
            "onlineEndpoints/churn/deployments/blue",
            whole_deployment(alice.workspace.arm_id),
        ),
        "environment": ("environments/bare/versions/1", ENVIRONMENT),
        "model": ("models/churn/versions/1", model),
        "data": ("data/iris/versions/1", DATA),
        "datastore": ("datastores/lake", LAKE),
        "role assignment": (ASSIGNMENT, body_of_assignment("charlie")),
        "component": ("components/score/versions/1", {"properties": {"componentSpec": COMMAND}}),
        "compute": ("computes/cpu", whole_cluster()),
        "kubernetes": ("computes/k8s", KUBERNETES),
        "batch endpoint": ("batchEndpoints/nightly", whole_batch_endpoint()),
        "batch deployment": (
            "batchEndpoints/nightly/deployments/blue",
            batch_deployment(alice.workspace.arm_id),
        ),
        "pipeline": (
            "batchEndpoints/nightly/deployments/flow",
            pipeline(alice.workspace.arm_id),
        ),
    }[kind]
    before = Activity.objects.count()
    methods = ("PUT",) if kind in {"datastore", "role assignment"} else ("PUT", "PATCH")
    for at in places(body):
        for number, value in enumerate(WRONG):
            method = methods[number % len(methods)]
            with transaction.atomic():
                reply = alice.ask(method, path, replaced(body, at, value))
                changed = Activity.objects.count() - before
                transaction.set_rollback(True)
            assert reply.status in (200, 201, 400, 409), (at, value, reply)
            if reply.status >= 400:
                assert reply.error["message"]
                assert changed == 0, (at, value, reply)


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_the_same_put_many_times_at_once_makes_one_thing() -> None:
    """A client that hears nothing sends again, while the first request is still at work."""
    cast = make_cast()
    store_assets(cast.workspace)
    api = speak_as(cast.alice, cast.workspace)
    deployment = sent(cast.workspace.arm_id)
    for path, body in (
        ("onlineEndpoints/churn", SENT),
        ("onlineEndpoints/churn/deployments/blue", deployment),
        ("environments/fresh/versions/1", ENVIRONMENT),
        ("data/fresh/versions/1", DATA),
        ("components/score/versions/1", {"properties": {"componentSpec": COMMAND}}),
        ("datastores/lake", LAKE),
        ("computes/fresh", CLUSTER),
        (ASSIGNMENT, body_of_assignment("charlie")),
        ("batchEndpoints/nightly", BATCH_ENDPOINT),
        ("computes/cpu-cluster", CLUSTER),
        ("batchEndpoints/nightly/deployments/blue", batch_deployment(cast.workspace.arm_id)),
    ):
        replies = at_once(api, path, body)
        assert len(replies) == AT_ONCE
        assert {reply.status for reply in replies} <= {200, 201}, replies
    assert OnlineEndpoint.objects.get().deployments.get().operations.count() == 1
    assert EnvironmentVersion.objects.filter(environment__name="fresh").count() == 1


def at_once(api: Api, path: str, body: object) -> list[Any]:
    replies: list[Any] = []
    gate = threading.Barrier(AT_ONCE)

    def ask() -> None:
        try:
            gate.wait()
            replies.append(api.put(path, body))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=ask) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return replies
