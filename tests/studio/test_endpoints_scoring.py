"""Sending a test through a listener that answers as the gateway does, and explaining what came back."""

from __future__ import annotations

import json

import pytest
from pytest_django import Settings

from endpoints import keys
from portal.studio import scoring, scoring_body
from portal.studio.scoring import Reply, explain
from tests.factories import make_cast, make_online_endpoint
from tests.studio.conftest import Gateway

pytestmark = pytest.mark.django_db


def test_a_test_carries_the_key_the_deployment_and_the_body(gateway: Gateway) -> None:
    endpoint = make_online_endpoint(deployments={"blue": 100})
    credential = scoring.credential_of(endpoint, by=make_cast().alice)
    reply = scoring.score(endpoint, b"[1]", credential=credential, deployment="blue")
    assert reply.is_ok
    assert json.loads(reply.body) == {"result": [1]}
    method, path, headers, body = gateway.asked[0]
    assert (method, path, body) == ("POST", f"/{endpoint.name}/score", b"[1]")
    assert headers["authorization"] == f"Bearer {keys.keys_of(endpoint).primary}"
    assert headers["azureml-model-deployment"] == "blue"


def test_without_a_choice_the_traffic_rules_decide(gateway: Gateway) -> None:
    scoring.score(make_online_endpoint(), b"[1]", credential="key")
    assert "azureml-model-deployment" not in gateway.asked[0][2]


def test_a_long_answer_is_cut(gateway: Gateway) -> None:
    gateway.body = b"x" * (scoring.MOST_REPLY_BYTES + 1000)
    reply = scoring.score(make_online_endpoint(), b"[1]", credential="key")
    assert reply.is_cut
    assert len(reply.body) == scoring.MOST_REPLY_BYTES


def test_a_gateway_that_is_away_is_said_and_not_raised(settings: Settings) -> None:
    settings.PORTICO_GATEWAY_HTTP_PORT = 9
    reply = scoring.score(make_online_endpoint(), b"[1]", credential="key")
    explanation = explain(reply)
    assert explanation is not None
    assert explanation.title == "The gateway does not answer"


def test_a_token_that_cannot_be_a_header_is_said_and_not_raised(gateway: Gateway) -> None:
    reply = scoring.score(make_online_endpoint(), b"[1]", credential="a\nb")
    assert reply.fault
    assert gateway.asked == []


@pytest.mark.parametrize(
    ("status", "headers", "title", "fix"),
    [
        (401, {}, "The key or token was not accepted", ""),
        (404, {}, "No deployment has traffic", "traffic"),
        (408, {}, "The model took longer than its request timeout", "deployment"),
        (413, {}, "The body is too large", ""),
        (424, {"ms-azureml-model-error-statuscode": "500"}, "The model returned 500", "logs"),
        (
            424,
            {"ms-azureml-model-error-reason": "model_not_ready"},
            "The model is not ready",
            "logs",
        ),
        (429, {}, "All slots of the deployment are busy", "deployment"),
        (503, {}, "No instance can answer", "logs"),
        (418, {}, "The request failed with 418", "logs"),
    ],
)
def test_each_cause_has_its_own_explanation(
    status: int, headers: dict[str, str], title: str, fix: str
) -> None:
    explanation = explain(Reply(status, headers))
    assert explanation is not None
    assert (explanation.title, explanation.fix) == (title, fix)


def test_an_answer_needs_no_explanation() -> None:
    assert explain(Reply(200)) is None


def test_the_example_comes_from_the_deployments_own_document(gateway: Gateway) -> None:
    gateway.body = json.dumps(
        {
            "swagger": "2.0",
            "paths": {
                "/score": {
                    "post": {
                        "parameters": [
                            {"in": "body", "schema": {"$ref": "#/definitions/ServiceInput"}}
                        ]
                    }
                }
            },
            "definitions": {"ServiceInput": {"type": "object", "example": {"data": [[5, 6]]}}},
        }
    ).encode()
    endpoint = make_online_endpoint(deployments={"blue": 100})
    alice = make_cast().alice
    body = scoring_body.first_body(endpoint, alice, credential="key", deployment="blue")
    assert json.loads(body) == {"data": [[5, 6]]}
    assert gateway.asked[0][:2] == ("GET", f"/{endpoint.name}/swagger.json")


def test_an_example_is_made_from_a_schema_without_one() -> None:
    document = {
        "openapi": "3.0.3",
        "paths": {
            "/score": {
                "post": {
                    "requestBody": {
                        "content": {
                            "application/json": {"schema": {"$ref": "#/components/schemas/Input"}}
                        }
                    }
                }
            }
        },
        "components": {
            "schemas": {
                "Input": {
                    "type": "object",
                    "properties": {
                        "rows": {"type": "array", "items": {"type": "number"}},
                        "kind": {"enum": ["a", "b"]},
                        "self": {"$ref": "#/components/schemas/Input"},
                    },
                }
            }
        },
    }
    made = json.loads(scoring_body.example_of(json.dumps(document).encode()))
    assert made["rows"] == [0.0]
    assert made["kind"] == "a"


@pytest.mark.parametrize(
    "document", [b"", b"[]", b"<html>", b'{"paths": 7}', b'{"paths": {"/score": 1}}']
)
def test_a_document_that_makes_no_sense_has_no_example(document: bytes) -> None:
    assert scoring_body.example_of(document) == ""


def test_the_last_success_comes_before_the_example(gateway: Gateway) -> None:
    endpoint, alice = make_online_endpoint(), make_cast().alice
    remembered = {"deployment": "", "content_type": "application/json", "file_name": ""}
    scoring_body.remember(endpoint, alice, Reply(200), body="[1]", **remembered)
    scoring_body.remember(endpoint, alice, Reply(424), body="[2]", **remembered)
    assert scoring_body.first_body(endpoint, alice, credential="k", deployment="") == "[1]"
    assert gateway.asked == []


def test_the_history_holds_twenty_and_is_the_users_own() -> None:
    cast = make_cast()
    endpoint = make_online_endpoint(cast.workspace)
    for number in range(25):
        scoring_body.remember(
            endpoint,
            cast.alice,
            Reply(200),
            deployment="",
            content_type="application/json",
            body=str(number),
            file_name="",
        )
    bodies = [sent.body for sent in scoring_body.history(endpoint, cast.alice)]
    assert bodies == [str(number) for number in range(24, 4, -1)]
    assert scoring_body.history(endpoint, cast.bob) == []
