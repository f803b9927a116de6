"""Endpoints of Triton models: no test page, and the client code of the protocol that they take."""

from __future__ import annotations

import io

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from deployments import installation
from deployments.changes import create_deployment
from deployments.specs import DeploymentSpec
from endpoints.models import OnlineEndpoint
from portal.studio.inference_protocol import client_code
from tests.factories import Cast, make_online_endpoint
from workspaces import catalog, storage
from workspaces.models import ModelVersion


@pytest.fixture
def endpoint(cast: Cast, settings: Settings) -> OnlineEndpoint:
    settings.DEPLOYMENT_RUNTIME = "fake"
    installation.forget_runtimes()
    content = storage.put_tree([("vision/1/model.onnx", io.BytesIO(b"onnx"))])
    model = catalog.register_model(
        cast.workspace,
        "vision",
        content,
        leaf="models",
        is_folder=True,
        type=ModelVersion.Type.TRITON,
        by=cast.alice,
    )
    endpoint = make_online_endpoint(cast.workspace, "vision")
    spec = DeploymentSpec("blue", model=model, instance_type="Standard_F2s_v2")
    create_deployment(endpoint, spec, by=cast.alice)
    return endpoint


def page(client: Client, endpoint: OnlineEndpoint, tab: str) -> str:
    url = reverse(f"studio:{tab}", args=[endpoint.workspace.name, endpoint.name])
    return client.get(url).content.decode()


def test_the_test_tab_leads_to_the_client_code(alice: Client, endpoint: OnlineEndpoint) -> None:
    text = page(alice, endpoint, "test")
    assert "Open Inference Protocol" in text
    assert 'id="test-form"' not in text


def test_the_consume_tab_shows_tritons_client_and_no_key(
    alice: Client, endpoint: OnlineEndpoint
) -> None:
    text = page(alice, endpoint, "consume")
    assert "tritonclient" in text and "/v2/models/vision" in text
    assert "&lt;your key&gt;" in text


def test_the_code_is_valid_python_with_and_without_tls() -> None:
    for uri, ca_path in (("https://h:1/vision/score", "/ca.pem"), ("http://h/vision/score", "")):
        python, curl = client_code(uri, "vision", key="k", ca_path=ca_path)
        compile(python["text"], "sample.py", "exec")
        assert ("ssl=True" in python["text"]) == uri.startswith("https")
        assert f"{uri.removesuffix('/score')}/v2/models/vision/infer" in curl["text"]
