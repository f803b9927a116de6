"""Triton models without code on a real engine: in an image of ours, and in the one that is set for them."""

from __future__ import annotations

import io
from collections.abc import Iterator

import docker
import httpx
import pytest
from pytest_django import Settings

from deployments import installation
from deployments.changes import create_deployment
from deployments.models import Instance, OnlineDeployment
from tests.deployments.conftest import Factory, make
from tests.docker.test_deployments import docker_runtime, no_images_left, served
from tests.inference_server.repositories import onnx_linear
from workspaces import catalog, storage
from workspaces.models import ModelVersion

__all__ = ["docker_runtime", "make", "no_images_left"]  # fixtures

pytestmark = [pytest.mark.django_db]

IMAGE = "portico-test-tritonserver:1"
# Stands for Triton: takes its flags, answers at its routes with what lies in the repository.
DOCKERFILE = r"""
FROM debian:12-python
RUN printf '#!/usr/bin/python3\n\
import http.server, os, sys\n\
flags = dict(word[2:].split("=", 1) for word in sys.argv[1:])\n\
class Handler(http.server.BaseHTTPRequestHandler):\n\
    def do_GET(self):\n\
        self.send_response(200 if self.path.startswith("/v2/") else 404)\n\
        self.end_headers()\n\
        self.wfile.write(",".join(os.listdir(flags["model-repository"])).encode())\n\
http.server.ThreadingHTTPServer(("0.0.0.0", int(flags["http-port"])), Handler).serve_forever()\n\
' > /usr/local/bin/tritonserver && chmod 755 /usr/local/bin/tritonserver
"""


@pytest.fixture
def triton_image(engine: docker.DockerClient, base_image: str) -> Iterator[str]:
    engine.images.build(fileobj=io.BytesIO(DOCKERFILE.encode()), tag=IMAGE, rm=True)
    yield IMAGE
    engine.images.remove(IMAGE, force=True)


@pytest.fixture
def packages(settings: Settings, docker_runtime: None) -> Iterator[None]:
    """Packages may come from the index, for once."""
    settings.PACKAGES_OFFLINE = False
    installation.environments.cache_clear()
    installation.forget_runtimes()
    yield
    installation.environments.cache_clear()


def deployment_of(make: Factory, files: dict[str, bytes]) -> OnlineDeployment:
    model = catalog.register_model(
        make.workspace,
        "linear",
        storage.put_tree([(path, io.BytesIO(data)) for path, data in files.items()]),
        leaf="models",
        is_folder=True,
        type=ModelVersion.Type.TRITON,
        by=None,
    )
    spec = make.spec(code=None, scoring_script="", environment=None, model=model)
    return create_deployment(make.endpoint(), spec, by=make.alice)


def address_of(deployment: OnlineDeployment) -> str:
    return Instance.objects.get(deployment=deployment, state="Healthy").address


@pytest.mark.usefixtures("packages")
def test_an_onnx_model_answers_from_a_container(make: Factory) -> None:
    deployment = served(deployment_of(make, {"linear/1/model.onnx": onnx_linear(2)}))
    given = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    url = f"http://{address_of(deployment)}/v2/models/linear/infer"
    reply = httpx.post(url, json={"inputs": [given]}, timeout=10)
    assert reply.json()["outputs"][0]["data"] == [2, 4]


def test_the_image_that_is_set_serves_models_of_every_kind(
    make: Factory, settings: Settings, triton_image: str
) -> None:
    settings.TRITON_IMAGE = triton_image
    deployment = served(deployment_of(make, {"plan/1/model.plan": b"of TensorRT"}))
    reply = httpx.get(f"http://{address_of(deployment)}/v2/health/ready", timeout=10)
    assert (reply.status_code, reply.text) == (200, "plan")
