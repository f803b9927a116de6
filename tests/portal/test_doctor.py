"""What the doctor says where no supervisor runs, and how it labels what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import call_command
from pytest_django import Settings

from deployments.runtimes.marks import MARK
from portal import doctor
from portal.faults import StartFault


@pytest.fixture(autouse=True)
def run_dir(settings: Settings, tmp_path: Path) -> Path:
    """A home that does not exist yet, and a run folder of the test's own."""
    settings.PORTICO_HOME = tmp_path / "home"
    settings.RUN_DIR = tmp_path
    settings.INSTALLATION = tmp_path.name
    return tmp_path


@pytest.fixture
def dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


@pytest.fixture
def instance(run_dir: Path) -> Iterator[None]:
    """A process under the mark of this installation, as an instance has it."""
    child = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"],
        env={**os.environ, MARK: f"{run_dir.name}/d1-r1-0"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    child.stdout.readline()
    yield
    child.communicate(b"\n")


def test_a_portal_that_was_stopped_is_well() -> None:
    assert doctor.check_remains() == "does not run ('portico up' starts it)"


def test_a_portal_that_crashed_is_told_from_one_that_was_stopped(
    run_dir: Path, dead_pid: int
) -> None:
    (run_dir / "up.json").write_text(json.dumps({"pid": dead_pid}))
    assert not doctor.is_running()
    with pytest.raises(StartFault, match="crashed or was killed, and nothing of it runs"):
        doctor.check_remains()


@pytest.mark.usefixtures("instance")
def test_instances_without_a_supervisor_are_counted() -> None:
    with pytest.raises(StartFault, match=r"crashed or was killed\. Still running: 1 instance\. "):
        doctor.check_remains()


def test_a_warning_about_the_settings_is_a_hint(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.PORTICO_BIND, settings.PORTICO_HOST = "0.0.0.0", "localhost"
    settings.FILE_UPLOAD_TEMP_DIR = str(settings.RUN_DIR)
    findings = {finding.subject: finding for finding in doctor.examine()}
    assert findings["settings"].label == "hint"
    assert "Set PORTICO_HOST to the name" in findings["settings"].text
    monkeypatch.setattr(doctor, "examine", lambda: iter([findings["settings"]]))
    call_command("doctor")
    assert capsys.readouterr().out.startswith("hint settings ")
