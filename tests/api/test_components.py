"""Components over REST: kept as they are sent, and refused where clients could not read them back."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.api.conftest import Api
from tests.factories import Cast, make_component
from workspaces import components
from workspaces.models import ComponentVersion

COMMAND: dict[str, Any] = {
    "$schema": "https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json",
    "name": "score",
    "version": "1",
    "display_name": "Score",
    "type": "command",
    "is_deterministic": True,
    "command": "python score.py --data ${{inputs.data}}",
    "environment": "azureml:sklearn:1",
    "inputs": {"data": {"type": "uri_folder"}, "mode": {"type": "string", "default": "append"}},
    "outputs": {"scores": {"type": "uri_folder"}},
    "_source": "YAML.COMPONENT",
    "something_newer": {"x": [1]},
}


def without(*keys: str, **changes: Any) -> dict[str, Any]:
    return {**{key: value for key, value in COMMAND.items() if key not in keys}, **changes}


def put(api: Api, spec: Any, version: str = "1", name: str = "score", **more: Any) -> Any:
    body = {"properties": {"componentSpec": spec, "isAnonymous": False, **more}}
    return api.put(f"components/{name}/versions/{version}", body)


def test_a_component_comes_back_as_it_was_sent(alice: Api) -> None:
    reply = put(alice, COMMAND, tags={"a": "b"}, properties={"client_component_hash": "x"})
    assert reply.status == 201, reply
    told = reply.json["properties"]
    assert told["componentSpec"] == COMMAND
    assert (told["tags"], told["properties"]) == ({"a": "b"}, {"client_component_hash": "x"})
    assert put(alice, COMMAND).status == 200
    assert put(alice, without(command="other")).status == 409
    listed = alice.get("components").json["value"]
    assert [row["properties"]["latestVersion"] for row in listed] == ["1"]


def test_a_version_that_the_server_gives_stands_in_what_it_tells(alice: Api) -> None:
    assert (
        put(alice, without("version"), "7").json["properties"]["componentSpec"]["version"] == "7"
    )


def test_the_sdk_asks_for_the_newest_by_a_version_of_its_own(alice: Api) -> None:
    assert alice.get("components/score/versions/azureml_default").status == 404
    put(alice, COMMAND)
    put(alice, without("version", command="b"), "2")
    assert alice.get("components/score/versions/azureml_default").json["name"] == "2"


def test_anonymous_components_share_a_name_and_are_not_listed(alice: Api) -> None:
    for version in ("aa", "bb"):
        spec = without("version", name="score", command=version)
        assert put(alice, spec, version, "azureml_anonymous", isAnonymous=True).status == 201
    assert alice.get("components").json["value"] == []
    told = alice.get("components/azureml_anonymous/versions/aa").json["properties"]
    assert told["componentSpec"]["name"] == "score"


@pytest.mark.parametrize(
    ("kind", "facts"),
    [
        ("command", {"command": "echo"}),
        ("parallel", {"task": {"type": "run_function", "entry_script": "a.py"}}),
        ("pipeline", {"jobs": {"first": {"type": "command", "component": "azureml:score:1"}}}),
    ],
)
def test_each_type_needs_what_it_cannot_be_without(
    alice: Api, kind: str, facts: dict[str, Any]
) -> None:
    assert put(alice, {"type": kind, **facts}).status == 201
    reply = put(alice, {"type": kind}, "2")
    assert (reply.status, reply.error["target"]) == (
        400,
        f"properties.componentSpec.{next(iter(facts))}",
    )


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({}, "type"),
        (without("type"), "type"),
        (without(type="spark"), "type"),
        (without(type=["command"]), "type"),
        (without(name="other"), "name"),
        (without(version="9"), "version"),
        (without(inputs=["data"]), "inputs"),
        (without(inputs={"data": "uri_folder"}), "inputs"),
        (without(outputs={"scores": {"type": None}}), "outputs"),
    ],
)
def test_what_clients_could_not_read_back_is_refused(alice: Api, spec: Any, field: str) -> None:
    reply = put(alice, spec)
    assert (reply.status, reply.error["target"]) == (400, f"properties.componentSpec.{field}")
    assert not ComponentVersion.objects.exists()


def test_all_that_is_wrong_is_told_at_once(alice: Api) -> None:
    reply = put(alice, without("command", name="other", inputs=1))
    assert [item["target"].rsplit(".", 1)[1] for item in reply.error["details"]] == [
        "command",
        "inputs",
        "name",
    ]


def test_a_component_is_archived_deleted_and_resolved(alice: Api, cast: Cast) -> None:
    made = make_component(cast.workspace)
    assert components.resolve(cast.workspace, "azureml:score@latest") == made
    body = alice.get("components/score/versions/1").json
    body["properties"]["isArchived"] = True
    assert alice.put("components/score/versions/1", body).status == 200
    assert alice.get("components/score/versions").json["value"] == []
    assert alice.delete("components/score/versions/1").status == 200
    assert alice.delete("components/score").status == 200
    assert alice.get("components/score").status == 404


def test_lists_have_a_fixed_number_of_queries(alice: Api, cast: Cast) -> None:
    alice.get()
    counts = set()
    for number in range(3):
        make_component(cast.workspace, f"c{number}")
        make_component(cast.workspace, "c0", version=str(number + 5))
        for path in ("components", "components/c0/versions"):
            with CaptureQueriesContext(connection) as captured:
                assert alice.get(path).status == 200
            counts.add(len(captured))
    assert counts == {4}, "token, workspace, role, rows"
