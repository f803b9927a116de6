from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils import timezone
from pytest_django import Settings

from deployments import installation, provisioning
from deployments.changes import create_deployment
from deployments.models import OnlineDeployment
from deployments.runtimes.fake import FakeRuntime
from deployments.specs import DeploymentSpec
from endpoints.models import OnlineEndpoint
from tests.factories import make_online_endpoint, make_user, make_workspace
from workspaces import catalog, storage
from workspaces.models import Workspace

SCRIPT = b"def init():\n    pass\n\n\ndef run(data):\n    return data\n"


@pytest.fixture(autouse=True)
def runtime(settings: Settings, tmp_path: Path) -> Iterator[FakeRuntime]:
    """The fake runtime, with all folders below the test's own."""
    settings.DEPLOYMENT_RUNTIME = "fake"
    settings.STORAGE_ROOT = tmp_path / "store"
    settings.DEPLOYMENTS_ROOT = tmp_path / "deployments"
    settings.PACKAGES_OFFLINE = True
    installation.forget_runtimes()
    runtime = installation.runtime()
    assert isinstance(runtime, FakeRuntime)
    yield runtime
    installation.forget_runtimes()


class Factory:
    """Makes specs and deployments that can really be provisioned."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.alice = make_user("alice")

    def spec(
        self, name: str = "blue", script: bytes = SCRIPT, **changes: object
    ) -> DeploymentSpec:
        code = storage.put_tree([("score.py", io.BytesIO(script))])
        version = content_version(code.content_hash)
        model = storage.put_tree([("m.pkl", io.BytesIO(b"weights"))])
        values: dict[str, object] = {
            "name": name,
            "code": catalog.register_code(
                self.workspace, "scoring", code, version=version, by=self.alice
            ),
            "scoring_script": "score.py",
            "model": catalog.register_model(
                self.workspace, "churn", model, leaf="model", is_folder=True, by=None, version="1"
            ),
            # No packages: such an environment is built in a moment and without a network.
            "environment": catalog.register_environment(
                self.workspace, "bare", by=None, version="1", conda_file="dependencies: [python]"
            ),
            "instance_type": "Standard_F2s_v2",
            **changes,
        }
        return DeploymentSpec(**values)  # type: ignore[arg-type]

    def endpoint(self, name: str = "") -> OnlineEndpoint:
        return make_online_endpoint(self.workspace, name)

    def deployment(
        self, endpoint: OnlineEndpoint | None = None, **changes: object
    ) -> OnlineDeployment:
        endpoint = endpoint or self.endpoint()
        return create_deployment(endpoint, self.spec(**changes), by=self.alice)  # type: ignore[arg-type]


def content_version(content_hash: str) -> str:
    return content_hash[:12]


@pytest.fixture
def make(db: None) -> Factory:
    return Factory(make_workspace(owner=make_user("alice")))


def advance_once(deployment: OnlineDeployment) -> None:
    """What the worker's task does, at once and without the broker."""
    OnlineDeployment.objects.filter(pk=deployment.pk).update(due_at=timezone.now())
    claimed = OnlineDeployment.claim(deployment.pk, seconds=30)
    assert claimed is not None
    outcome = provisioning.step(claimed, threading.Event())
    if claimed.pk is not None:
        claimed.settle(outcome.to, again_in_seconds=outcome.again_in_seconds, **outcome.changes)


def advance_until(deployment: OnlineDeployment, *states: str, steps: int = 40) -> OnlineDeployment:
    """Advance until the deployment is in one of `states`, and return it fresh."""
    for _ in range(steps):
        fresh = OnlineDeployment.objects.get(pk=deployment.pk)
        if fresh.state in states:
            return fresh
        advance_once(fresh)
    raise AssertionError(f"still {OnlineDeployment.objects.get(pk=deployment.pk).state}")
