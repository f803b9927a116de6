"""The API asked by its own document: schemathesis makes requests of every kind, right and wrong ones, and holds the
answers against what is written. Nothing is our fault, and nothing is answered that is not documented.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import APIOperation, BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.schemas.document import OPERATIONS, document_of
from tests.api.conftest import speak_as, store_assets
from tests.factories import (
    Cast,
    make_batch_endpoint,
    make_component,
    make_compute,
    make_data,
    make_deployment,
    make_online_endpoint,
)
from workspaces import principals
from workspaces.models import Role, ServicePrincipal

pytestmark = pytest.mark.real

CLIENT = "00000000-0000-0000-0000-00000000c11e"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
OF_THE_OWNER = 4
OF_NOBODY = 1
"""Requests for each method of each address: so many that keep to the document, and so many that do not."""

Words = Mapping[str, list[str]]


def test_the_owner_is_answered_as_documented(asked: BaseSchema, cast: Cast) -> None:
    token = speak_as(cast.alice, cast.workspace).token
    headers = {"Authorization": f"Bearer {token}"}
    statuses, faults = ask_all(asked, headers, OF_THE_OWNER)
    assert faults == []
    assert {200, 201, 204, 400, 404} <= statuses


def test_nobody_is_answered_as_documented(asked: BaseSchema) -> None:
    statuses, faults = ask_all(asked, {}, OF_NOBODY)
    assert faults == []
    assert 401 in statuses


@pytest.fixture
def asked(cast: Cast) -> BaseSchema:
    """The document, in which the names of things that exist are likely ones."""
    workspace = cast.workspace
    assets = store_assets(workspace)
    churn = make_online_endpoint(workspace, "churn", traffic={"blue": 100})
    make_deployment(churn, "blue", revision=assets.revision)
    make_online_endpoint(workspace, "tokens", auth_mode="aml_token")
    make_batch_endpoint(workspace, "nightly", deployments=["blue"])
    make_compute(workspace, "k8s", kind="kubernetes")
    make_data(workspace, "churn")
    make_component(workspace, "churn")
    made = principals.create_principal(workspace, "nightly", Role.READER, by=cast.alice)
    ServicePrincipal.objects.filter(pk=made.pk).update(client_id=CLIENT)
    document = document_of("api.urls")
    scope = {
        "subscription": [workspace.subscription_id],
        "resource_group": [workspace.resource_group],
        "workspace": [workspace.name],
        "location": [workspace.location],
        "container": ["azureml"],
    }
    names = {
        "endpoint": ["churn", "tokens", "nightly", "fresh"],
        "deployment": ["blue", "fresh"],
        "name": ["churn", "churn-code", "bare", "fresh"],
        "version": ["1", "2"],
        "compute": ["cpu", "k8s", "fresh"],
        "datastore": ["workspaceblobstore", "lake"],
        "client": [CLIENT],
    }
    content = assets.model.content_hash
    fields = {
        "model": ["azureml:churn:1"],
        "environmentId": ["azureml:bare:1"],
        "codeId": ["azureml:churn-code:1"],
        "scoringScript": ["score.py"],
        "instanceType": ["Standard_F2s_v2"],
        "vmSize": ["Standard_F2s_v2"],
        "modelUri": [f"azureml://datastores/workspaceblobstore/paths/assets/{content}/model"],
        "condaFile": ["dependencies: [python]"],
    }
    schema = schemathesis.openapi.from_dict(likely(document, scope, names, fields))
    schema.config.generation.with_security_parameters = False
    schema.app = get_wsgi_application()
    return schema


@pytest.fixture(autouse=True)
def one_connection() -> Iterator[None]:
    """As Django's own client has it: the end of a request does not close the connection of the test."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield
    for signal in signals:
        signal.connect(close_old_connections)


def ask_all(
    schema: BaseSchema, headers: Mapping[str, str], examples: int
) -> tuple[set[int], list[str]]:
    """All statuses that were answered, and what was wrong, at most one thing of each operation and kind."""
    statuses: set[int] = set()
    faults: list[str] = []
    count = 0
    for found in schema.get_all_operations():
        operation = found.ok()  # type: ignore[union-attr]
        count += 1
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            check = asking(operation, mode, headers, examples, statuses)
            try:
                check()
            except Unsatisfiable:
                # One that takes but texts cannot be asked wrongly.
                assert mode is GenerationMode.NEGATIVE, operation.label
            except BaseExceptionGroup as group:
                faults.append(f"{operation.label}: {group.exceptions[0]}")
    assert count == len(OPERATIONS)
    return statuses, faults


def asking(
    operation: APIOperation[Any, Any, Any, Any],
    mode: GenerationMode,
    headers: Mapping[str, str],
    examples: int,
    statuses: set[int],
) -> Callable[[], None]:
    bounded = settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )

    @bounded
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Case[Any]) -> None:
        # The client that stands in for a network takes what follows a question mark in a name for the query.
        assume("?" not in str(case.path_parameters))
        # Each request finds everything as it was.
        with transaction.atomic():
            response = case.call(headers=dict(headers))
            transaction.set_rollback(True)
        statuses.add(response.status_code)
        case.validate_response(response, checks=CHECKS, headers=dict(headers))

    return check


def likely(document: Mapping[str, Any], scope: Words, names: Words, fields: Words) -> Any:
    """The document with only the words of `scope` for parts of addresses, and with those of `names` and `fields`
    beside any others for parts of addresses and fields of bodies.
    """
    changed = copy.deepcopy(dict(document))
    for methods in changed["paths"].values():
        for operation in methods.values():
            for parameter in operation["parameters"]:
                name = parameter["name"]
                if parameter["in"] == "path" and name in scope:
                    parameter["schema"] = {"enum": scope[name]}
                elif parameter["in"] == "path" and name in names:
                    parameter["schema"] = or_one_of(parameter["schema"], names[name])
    for name, schema in changed["components"]["schemas"].items():
        if name.endswith("Write"):
            prefer(schema, fields)
    return changed


def prefer(schema: Any, fields: Words) -> None:
    """The same for fields at any depth."""
    for name, inner in schema.get("properties", {}).items():
        if name in fields and inner.get("type") == "string":
            schema["properties"][name] = or_one_of(inner, fields[name])
        else:
            prefer(inner, fields)


def or_one_of(schema: Mapping[str, Any], words: list[str]) -> dict[str, Any]:
    return {"anyOf": [{"enum": words}, schema]}
