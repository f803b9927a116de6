from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from pytest_django import Settings

from deployments import tidying
from deployments.environments import EnvironmentSettings, EnvironmentStore
from tests.deployments.conftest import Factory, advance_until
from workspaces import storage

pytestmark = pytest.mark.django_db


def test_files_of_a_deployment_that_is_gone_are_removed_and_no_others(
    make: Factory, settings: Settings
) -> None:
    deployment = advance_until(make.deployment(), "Succeeded", "Failed")
    left = settings.DEPLOYMENTS_ROOT / "987654"
    left.mkdir()
    tidying.tidy()
    assert not left.exists()
    assert (settings.DEPLOYMENTS_ROOT / str(deployment.pk)).exists()


def test_the_environment_of_a_deployment_is_in_use(make: Factory) -> None:
    make.deployment()
    assert len(tidying.environments_in_use()) == 1


def test_only_old_drafts_are_removed(settings: Settings, tmp_path: Path) -> None:
    settings.STORAGE_ROOT = tmp_path / "store"
    drafts = tmp_path / "store" / "drafts"
    drafts.mkdir(parents=True)
    for name, age in (("old", 2 * 86400), ("fresh", 60)):
        (drafts / name).write_bytes(b"half")
        os.utime(drafts / name, (time.time() - age,) * 2)
    assert storage.remove_old_drafts() == 1
    assert [path.name for path in drafts.iterdir()] == ["fresh"]


def test_the_package_cache_is_pruned_and_a_missing_one_is_fine(tmp_path: Path) -> None:
    store = EnvironmentStore(tmp_path / "environments", EnvironmentSettings(offline=True))
    assert store.prune_cache() == ""
    old = store.root / "cache" / "wheels-v0"
    old.mkdir(parents=True)
    (old / "left.whl").write_bytes(b"of an older uv")
    assert "Removed" in store.prune_cache()
    assert not old.exists()
    store.prune_cache()
