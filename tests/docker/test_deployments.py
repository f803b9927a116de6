"""Provisioning on a real engine: from the wish to an answer out of a container."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import docker
import httpx
import pytest
from docker.errors import APIError
from pytest_django import Settings

from deployments import installation, provisioning
from deployments.changes import update_deployment
from deployments.models import Instance, OnlineDeployment
from endpoints.models import Upstream
from tests.deployments.conftest import Factory, advance_once, make
from workspaces import catalog, storage
from workspaces.errors import UserError
from workspaces.models import EnvironmentVersion

__all__ = ["make"]  # a fixture

pytestmark = [pytest.mark.django_db]

SCRIPT = b"""
import os, sys
def init():
    print("model at", os.environ["AZUREML_MODEL_DIR"])
def run(data):
    return {"version": %d, "prefix": sys.prefix, "model": os.environ["AZUREML_MODEL_DIR"]}
"""
SERVER = (
    "import http.server, os\n"
    "class H(http.server.BaseHTTPRequestHandler):\n"
    "    def do_GET(self):\n"
    "        self.send_response(200); self.end_headers()\n"
    "        self.wfile.write((self.path + ' ' + ','.join(sorted(os.listdir('/models')))).encode())\n"
    "    do_POST = do_GET\n"
    "http.server.ThreadingHTTPServer(('0.0.0.0', 8501), H).serve_forever()\n"
)


@pytest.fixture(autouse=True)
def docker_runtime(
    settings: Settings, engine: docker.DockerClient, base_image: str
) -> Iterator[None]:
    """The docker runtime with images of its own, which go in the end."""
    settings.DEPLOYMENT_RUNTIME = "docker"
    settings.INSTALLATION = f"deploy{os.getpid()}"
    settings.DEPLOYMENTS_ROOT = settings.PORTICO_HOME / "deployments"
    settings.STORAGE_ROOT = settings.PORTICO_HOME / "store"
    settings.PACKAGES_OFFLINE = True
    Path(settings.RUN_DIR).mkdir(exist_ok=True, mode=0o711)
    installation.forget_runtimes()
    yield
    runtime = installation.runtime()
    for name in list(runtime.owned()):
        runtime.remove(name)
    installation.forget_runtimes()


@pytest.fixture(scope="module", autouse=True)
def no_images_left(engine: docker.DockerClient) -> Iterator[None]:
    yield
    label = f"portico.builder=deploy{os.getpid()}"
    for image in engine.images.list(filters={"label": label}):
        with suppress(APIError):
            engine.images.remove(image.id, force=True)
    for volume in engine.volumes.list(filters={"name": f"deploy{os.getpid()}"}):
        volume.remove(force=True)


def environment(make: Factory, name: str, **facts: object) -> EnvironmentVersion:
    return catalog.register_environment(make.workspace, name, by=None, version="1", **facts)  # type: ignore[arg-type]


def provisioned(deployment: OnlineDeployment, seconds: float = 90) -> OnlineDeployment:
    """Advance with the pauses that the worker would make."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        fresh = OnlineDeployment.objects.get(pk=deployment.pk)
        if fresh.state in ("Succeeded", "Failed"):
            return fresh
        advance_once(fresh)
        time.sleep(0.05)
    seen = list(Instance.objects.values("name", "state", "reason", "evidence"))
    raise AssertionError(f"still {fresh.state}: {seen}")


def served(deployment: OnlineDeployment) -> OnlineDeployment:
    fresh = provisioned(deployment)
    assert fresh.state == "Succeeded", fresh.failure
    return fresh


def ask(deployment: OnlineDeployment, path: str = "/score") -> httpx.Response:
    row = Instance.objects.get(deployment=deployment, state="Healthy")
    return httpx.post(f"http://{row.address}{path}", content=b"{}", timeout=10)


def test_a_script_answers_from_an_image_with_a_conda_file(
    make: Factory, base_image: str, engine: docker.DockerClient
) -> None:
    wanted = environment(make, "conda", image=base_image, conda_file="dependencies: [python=3.11]")
    deployment = served(make.deployment(script=SCRIPT % 1, environment=wanted))
    said = ask(deployment).json()
    assert said["prefix"] == "/opt/portico-env"
    assert said["model"].startswith("/var/azureml-app/azureml-models/churn/1")
    revision = deployment.serving_revision
    assert revision is not None
    assert engine.images.get(revision.image).id == revision.image
    phase = deployment.operations.get().phases.get(name="Build environment")
    assert "Installing 0 packages" in phase.log

    # An update rolls: the new revision answers, the old container goes.
    spec = make.spec(script=SCRIPT % 2, environment=wanted)
    update_deployment(deployment, spec, by=make.alice)
    deployment = served(deployment)
    assert ask(deployment).json()["version"] == 2

    # The image and the container go behind our back: both come back.
    row = Instance.objects.get(deployment=deployment, state="Healthy")
    installation.runtime().remove(row.name)
    for name in list(installation.runtime().owned()):
        installation.runtime().remove(name)
    engine.images.remove(revision.image, force=True)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        provisioning.sweep()
        advance_once(deployment)
        if Instance.objects.filter(deployment=deployment, state="Healthy").exists():
            with suppress(httpx.HTTPError):
                if ask(deployment).status_code == 200:
                    break
        time.sleep(0.1)
    assert ask(deployment).json()["version"] == 2


def test_a_custom_container_is_reached_by_its_own_routes(make: Factory, base_image: str) -> None:
    routes = {
        "scoring_route": {"path": "/v1/models/m:predict", "port": 8501},
        "liveness_route": {"path": "/v1/models/m", "port": 8501},
        "readiness_route": {"path": "/v1/models/m", "port": 8501},
    }
    context = catalog_context(f"FROM {base_image}\nCOPY server.py /\nCMD python3 /server.py\n")
    wanted = environment(
        make,
        "custom",
        build_context_hash=context,
        dockerfile_path="Dockerfile",
        inference_config=routes,
    )
    deployment = served(
        make.deployment(
            code=None, scoring_script="", environment=wanted, model_mount_path="/models"
        )
    )
    assert ask(deployment, "/v1/models/m:predict").text.startswith("/v1/models/m:predict ")
    # The model lies below its name and version there (facts 4.3).
    assert ask(deployment, "/other").text == "/other churn"
    upstream = Upstream.objects.get(endpoint=deployment.endpoint)
    assert upstream.scoring_path == "/v1/models/m:predict"


def test_a_step_of_a_dockerfile_that_fails_is_on_the_failure_card(
    make: Factory, base_image: str
) -> None:
    context = catalog_context(f"FROM {base_image}\nRUN no-such-program\n")
    wanted = environment(make, "broken", build_context_hash=context, dockerfile_path="Dockerfile")
    deployment = provisioned(make.deployment(environment=wanted))
    assert deployment.state == "Failed"
    assert deployment.failure["code"] == "ImageBuildFailure"
    assert "Dockerfile, line 2" in deployment.failure["cause"]


def test_a_custom_container_needs_the_docker_runtime(
    make: Factory, settings: Settings, base_image: str
) -> None:
    routes = {"scoring_route": {"path": "/x", "port": 80}}
    wanted = environment(make, "custom", image=base_image, inference_config=routes)
    settings.DEPLOYMENT_RUNTIME = "process"
    with pytest.raises(UserError, match="PORTICO_RUNTIME=docker"):
        make.deployment(code=None, scoring_script="", environment=wanted)


def catalog_context(text: str) -> str:
    """The hash of a stored build context."""
    files = [("Dockerfile", text.encode()), ("server.py", SERVER.encode())]
    return storage.put_tree((name, io.BytesIO(content)) for name, content in files).content_hash
