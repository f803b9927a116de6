"""The wizard for a model that is served without a script."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from django.test import Client
from pytest_django import Settings

from deployments.models import OnlineDeployment
from tests.factories import Cast
from tests.studio.test_create import send
from workspaces import catalog, storage


@pytest.fixture(autouse=True)
def own_store(settings: Settings, tmp_path: Path) -> None:
    settings.STORAGE_ROOT = tmp_path / "store"


def test_a_model_without_a_script_is_made_from_its_own_files(alice: Client, cast: Cast) -> None:
    described = b"flavors: {python_function: {loader_module: mlflow.sklearn, model_path: m.pkl}}"
    files = {"MLmodel": described, "m.pkl": b"x", "requirements.txt": b"mlflow"}
    content = storage.put_tree((name, io.BytesIO(text)) for name, text in files.items())
    catalog.register_model(
        cast.workspace, "flows", content, leaf="m", is_folder=True, by=None, type="mlflow_model"
    )
    chosen = {
        "model_source": "registered",
        "model_version": "flows:1",
        "code_source": "none",
        "environment_source": "model",
    }
    checked = send(alice, cast, "endpoints/create/check", **chosen)
    assert "mlflow" in checked.content.decode()
    assert not OnlineDeployment.objects.exists()
    send(alice, cast, **chosen)
    revision = OnlineDeployment.objects.get().revision
    assert revision is not None
    assert (revision.code_version, revision.environment_version) == (None, None)
    assert str(revision.model_version) == "flows:1"


def test_a_script_does_not_take_its_environment_from_the_model(alice: Client, cast: Cast) -> None:
    answer = send(alice, cast, environment_source="model")
    assert (
        answer.status_code,
        "A scoring script needs an environment" in answer.content.decode(),
    ) == (
        422,
        True,
    )
    assert not OnlineDeployment.objects.exists()
