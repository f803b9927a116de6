from __future__ import annotations

import io
from pathlib import Path

import pytest
from pytest_django import Settings

from tests.factories import make_user, make_workspace
from workspaces import catalog, storage
from workspaces.errors import Conflict, NotFound, UserError
from workspaces.models import ModelVersion, Workspace
from workspaces.storage import Content

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def store(settings: Settings, tmp_path: Path) -> None:
    settings.STORAGE_ROOT = tmp_path / "store"


@pytest.fixture
def workspace() -> Workspace:
    return make_workspace(owner=make_user("alice"))


def content(**files: bytes) -> Content:
    return storage.put_tree([(name, io.BytesIO(data)) for name, data in files.items()])


def register(workspace: Workspace, data: bytes = b"1", version: str = "") -> ModelVersion:
    return catalog.register_model(
        workspace,
        "churn",
        content(model=data),
        leaf="model",
        is_folder=False,
        by=None,
        version=version,
    )


def test_versions_number_themselves(workspace: Workspace) -> None:
    assert [register(workspace, bytes([n])).version for n in range(3)] == ["1", "2", "3"]
    register(workspace, b"x", version="10")
    assert register(workspace, b"y").version == "11"


def test_a_version_does_not_change(workspace: Workspace) -> None:
    first = register(workspace, version="7")
    assert register(workspace, version="7") == first
    with pytest.raises(Conflict, match="register a new version"):
        register(workspace, b"other", version="7")


def test_latest_is_the_most_recently_created_not_the_highest(workspace: Workspace) -> None:
    register(workspace, version="10")
    newest = register(workspace, version="2")
    assert catalog.resolve_model(workspace, "azureml:churn@latest") == newest


@pytest.mark.parametrize("form", ["azureml:churn:1", "churn:1", "{arm}/models/churn/versions/1"])
def test_every_form_of_reference_finds_the_version(workspace: Workspace, form: str) -> None:
    version = register(workspace)
    assert catalog.resolve_model(workspace, form.format(arm=workspace.arm_id)) == version


def test_a_missing_version_is_told_with_the_latest(workspace: Workspace) -> None:
    register(workspace)
    with pytest.raises(NotFound, match=r"churn:7 does not exist. The latest is 1"):
        catalog.resolve_model(workspace, "azureml:churn:7")


def test_archiving_hides_and_restoring_shows(workspace: Workspace) -> None:
    model = register(workspace).model
    catalog.archive(model, by=None)
    catalog.archive(model, by=None)
    assert not workspace.models.listed().exists()
    catalog.restore(model, by=None)
    assert workspace.models.listed().get() == model


def test_an_mlflow_model_needs_its_mlmodel_file(workspace: Workspace) -> None:
    with pytest.raises(UserError, match="file named MLmodel"):
        catalog.register_model(
            workspace,
            "m",
            content(a=b"1"),
            leaf="model",
            is_folder=True,
            by=None,
            type="mlflow_model",
        )
    good = content(
        MLmodel=b"flavors:\n  sklearn:\n    sklearn_version: 1.5.0\n  python_function: {}\n"
    )
    version = catalog.register_model(
        workspace, "m", good, leaf="model", is_folder=True, by=None, type="mlflow_model"
    )
    assert version.flavors["sklearn"] == {"version": "1.5.0"}


@pytest.mark.parametrize("name", ["", "a/b", "../x", "-x", "x" * 256, "a b", "ü"])
def test_a_wrong_name_is_refused_and_nothing_is_kept(workspace: Workspace, name: str) -> None:
    with pytest.raises(UserError, match="name"):
        catalog.register_model(
            workspace, name, content(a=b"1"), leaf="a", is_folder=False, by=None
        )
    assert not workspace.models.exists()


def test_an_empty_environment_is_refused(workspace: Workspace) -> None:
    with pytest.raises(UserError, match="empty"):
        catalog.register_environment(workspace, "env", by=None)
