"""What an installation runs deployments with."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_django import Settings

from deployments import installation
from deployments.runtimes.fake import FakeRuntime


@pytest.mark.django_db
def test_consoles_of_containers_are_looked_for_once_there_are_containers(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DEPLOYMENT_RUNTIME = "docker"
    settings.CONTAINERS_ROOT = tmp_path / "containers"
    docker = FakeRuntime(root=tmp_path)
    monkeypatch.setattr(installation, "runtime", {"docker": docker}.__getitem__)
    assert installation.runtimes_with_own_consoles() == []

    settings.CONTAINERS_ROOT.mkdir()
    (settings.CONTAINERS_ROOT / "ep.blue.1.1.0.json").write_text("{}")
    assert installation.runtimes_with_own_consoles() == [docker]
