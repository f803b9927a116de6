"""The OpenAPI document: valid, whole, open to all, and in two forms."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from django.contrib.staticfiles import finders
from django.test import Client
from django.urls import resolve
from drf_spectacular import validation

from api.schemas.document import OPERATIONS, document_of
from portal.middleware import POLICY
from tests.api.conftest import Api

PLACE = "/subscriptions/{subscription}/resourceGroups/{resource_group}/providers/Microsoft.MachineLearningServices"


@pytest.fixture(scope="module")
def document() -> Any:
    return document_of("api.urls")


def operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def values(tree: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value of it."""
    if isinstance(tree, dict):
        yield from tree.items()
        for value in tree.values():
            yield from values(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from values(value)


def test_it_is_valid(document: Any) -> None:
    rules = Path(validation.__file__).with_name("openapi_3_1_schema.json")
    jsonschema_rs.validate(json.loads(rules.read_text()), document)
    assert document["openapi"].startswith("3.1")


def test_every_reference_leads_somewhere_and_every_schema_is_referred_to(document: Any) -> None:
    found = {value for key, value in values(document) if key == "$ref"}
    named = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert found == named


def test_every_operation_has_an_id_a_summary_and_refusals_of_its_own(document: Any) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids)) == len(OPERATIONS)
    for path, method, operation in operations(document):
        assert operation["summary"], (path, method)
        if operation["security"]:
            assert {"400", "401", "403"} <= set(operation["responses"]), (path, method)


def test_addresses_are_in_azures_spelling_and_lead_to_their_views(document: Any) -> None:
    assert f"{PLACE}/workspaces/{{workspace}}/onlineEndpoints/{{endpoint}}/listKeys" in set(
        document["paths"]
    )
    for path in document["paths"]:
        address = path.replace("{", "").replace("}", "")
        assert resolve(address).url_name not in {None, "arm-unsupported"}, path


def test_it_is_served_to_nobody_in_particular_as_json_and_yaml(client: Client) -> None:
    told = client.get("/api/schema")
    assert told["Content-Type"] == "application/json"
    as_yaml = client.get("/api/schema?format=yaml")
    assert as_yaml["Content-Type"].startswith("application/vnd.oai.openapi")
    assert b"\nopenapi: 3.1" in b"\n" + as_yaml.content
    assert json.loads(told.content)["openapi"].startswith("3.1")
    assert client.get("/api/schema", headers={"Authorization": "Bearer wrong"}).status_code == 200


def test_a_long_write_tells_its_polling_headers(document: Any, alice: Api) -> None:
    path = f"{PLACE}/workspaces/{{workspace}}/onlineEndpoints/{{endpoint}}"
    documented = document["paths"][path]["put"]["responses"]["201"]["headers"]
    reply = alice.put("onlineEndpoints/fresh", {})
    assert reply.status == 201
    assert set(documented) <= set(reply.headers)


def test_the_page_of_it_has_the_policy_of_the_studio_and_only_files_of_ours(
    client: Client,
) -> None:
    """That it also works so is seen in a browser: `tests/browser/test_api_docs.py`."""
    page = client.get("/api/docs")
    assert page.status_code == 200
    assert page["Content-Security-Policy"] == POLICY
    linked = re.findall(r'(?:src|href)="([^"]+)"', page.content.decode())
    assert all(address.startswith("/") and not address.startswith("//") for address in linked)
    files = [address.removeprefix("/static/") for address in linked if "/static/" in address]
    assert len(files) == 6
    assert all(finders.find(file) for file in files), files
