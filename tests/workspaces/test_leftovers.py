"""What is removed after a day, and what never is."""

from __future__ import annotations

import io
import os
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from pytest_django import Settings

from tests.factories import make_workspace
from workspaces import catalog, leftovers, storage, uploads
from workspaces.leftovers import Swept
from workspaces.models import UploadedFile, UploadedPiece, Workspace

pytestmark = pytest.mark.django_db
TWO_DAYS = timedelta(days=2)


@pytest.fixture(autouse=True)
def store(settings: Settings, tmp_path: Path) -> Path:
    settings.STORAGE_ROOT = tmp_path / "store"
    return tmp_path / "store"


@pytest.fixture
def workspace() -> Workspace:
    return make_workspace()


def upload(workspace: Workspace, path: str, text: str = "weights") -> UploadedFile:
    container = "azureml"
    if path.startswith("code-"):
        container, _, path = path.partition("/")
    return uploads.put_file(workspace, container, path, io.BytesIO(text.encode()))


def grow_old(store: Path) -> None:
    """Everything there is was made, or moved, two days ago."""
    then = timezone.now() - TWO_DAYS
    UploadedFile.objects.update(changed_at=then)
    UploadedPiece.objects.update(uploaded_at=then)
    for path in store.rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - TWO_DAYS.total_seconds(),) * 2)


def stored(store: Path) -> int:
    return len([path for path in store.rglob("*") if path.is_file()])


def register(workspace: Workspace, path: str, name: str = "churn") -> catalog.AnyVersion:
    content, leaf, is_folder = uploads.tree_at(workspace, "azureml", path)
    return catalog.register_model(
        workspace, name, content, leaf=leaf, is_folder=is_folder, by=None
    )


def test_an_upload_that_nobody_registers_is_gone_after_a_day_and_its_file_after_two(
    workspace: Workspace, store: Path
) -> None:
    upload(workspace, "LocalUpload/abc/model/a.pkl")
    upload(workspace, "code-1/code/score.py", "code")
    assert leftovers.sweep() == Swept()
    grow_old(store)
    assert leftovers.sweep() == Swept(uploads=2)
    assert not UploadedFile.objects.exists()
    assert stored(store) == 2, "they wait in the trash"
    assert leftovers.sweep() == Swept()
    grow_old(store)
    assert leftovers.sweep() == Swept(objects=2)
    assert stored(store) == 0


def test_what_is_registered_stays_and_is_not_uploaded_again(
    workspace: Workspace, store: Path
) -> None:
    upload(workspace, "LocalUpload/abc/model/a.pkl")
    register(workspace, "LocalUpload/abc/model")
    grow_old(store)
    for _ in range(3):
        assert leftovers.sweep() == Swept()
        grow_old(store)
    assert uploads.find_file(workspace, "azureml", "LocalUpload/abc/model/a.pkl").size_bytes == 7


def test_files_that_users_put_elsewhere_in_the_datastore_are_theirs(
    workspace: Workspace, store: Path
) -> None:
    file = upload(workspace, "collected/churn/a.jsonl")
    for _ in range(3):
        grow_old(store)
        assert leftovers.sweep() == Swept()
    assert storage.read_blob(file.sha256, 0, 99) == b"weights"


def test_the_files_of_a_deleted_asset_go_unless_another_one_has_the_same(
    workspace: Workspace, store: Path
) -> None:
    upload(workspace, "LocalUpload/abc/model/a.pkl")
    first = register(workspace, "LocalUpload/abc/model")
    second = register(workspace, "LocalUpload/abc/model", "twin")
    uploads.remove_file(workspace, "azureml", "LocalUpload/abc/model/a.pkl")
    catalog.delete(first, by=None)
    for _ in range(3):
        grow_old(store)
        assert leftovers.sweep() == Swept()
    catalog.delete(second, by=None)
    leftovers.sweep()
    grow_old(store)
    assert leftovers.sweep() == Swept(objects=2)


def test_what_is_wanted_again_comes_back_from_the_trash(workspace: Workspace, store: Path) -> None:
    upload(workspace, "LocalUpload/abc/a.pkl")
    grow_old(store)
    leftovers.sweep()
    file = upload(workspace, "LocalUpload/abc/a.pkl")
    made = register(workspace, "LocalUpload/abc/a.pkl")
    grow_old(store)
    leftovers.sweep()
    grow_old(store)
    leftovers.sweep()
    assert storage.read_blob(file.sha256, 0, 99) == b"weights"
    catalog.delete(made, by=None)
    uploads.remove_file(workspace, "azureml", "LocalUpload/abc/a.pkl")
    grow_old(store)
    leftovers.sweep()
    # It was found there already by somebody who registers it only now.
    assert storage.read_blob(file.sha256, 0, 99) == b"weights"


def test_a_row_that_points_to_the_trash_gets_its_file_back(
    workspace: Workspace, store: Path
) -> None:
    content = storage.put_tree([("a", io.BytesIO(b"1"))])
    grow_old(store)
    leftovers.sweep()
    assert not list((store / "blobs").rglob("*/*"))
    catalog.register_model(workspace, "churn", content, leaf="a", is_folder=False, by=None)
    grow_old(store)
    assert leftovers.sweep() == Swept()
    assert len(list((store / "blobs").rglob("*/*"))) == 1
    assert len(list((store / "trees").rglob("*/*"))) == 1


def test_parts_that_nobody_joined_go_after_a_day(workspace: Workspace, store: Path) -> None:
    uploads.put_piece(workspace, "azureml", "LocalUpload/x", "MQ==", io.BytesIO(b"1"))
    assert leftovers.sweep() == Swept()
    grow_old(store)
    leftovers.sweep()
    assert not UploadedPiece.objects.exists()
    assert stored(store) == 0


def test_a_model_whose_manifest_is_lost_does_not_stop_the_sweep(
    workspace: Workspace, store: Path
) -> None:
    upload(workspace, "LocalUpload/abc/a.pkl")
    register(workspace, "LocalUpload/abc/a.pkl")
    for path in (store / "trees").rglob("*.json"):
        path.unlink()
    assert leftovers.sweep() == Swept()
