"""The inference server in a folder that any user can run."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deployments.runtimes.server_bundle import LIBRARIES, lay_out, prepare_server
from tests.deployments.runtimes.stands import NOBODY


def test_the_bundle_is_made_once_and_found_again(tmp_path: Path) -> None:
    first = lay_out(tmp_path / "server")
    made = (first / "__main__.py").stat().st_mtime_ns

    assert lay_out(tmp_path / "server") == first
    assert (first / "__main__.py").stat().st_mtime_ns == made
    assert {path.name for path in first.iterdir()} >= {"inference_server", *LIBRARIES}


@pytest.mark.thorough
def test_many_who_lay_it_out_at_once_get_one_whole_folder(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: lay_out(tmp_path / "server"), range(4)))

    assert len(found) == 1
    assert list((tmp_path / "server").iterdir()) == list(found)


def test_a_changed_server_is_laid_out_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = lay_out(tmp_path / "server")
    monkeypatch.setattr("importlib.metadata.version", lambda name: "99")

    assert lay_out(tmp_path / "server") != first


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_another_user_can_run_it(open_folder: Path) -> None:
    server_dir, python = prepare_server(open_folder)
    check = "import sys; sys.path.insert(0, sys.argv[1])\n" + "".join(
        f"import {name}; assert {name}.__file__.startswith(sys.argv[1])\n" for name in LIBRARIES
    )

    done = subprocess.run(
        [python, "-I", "-c", check, server_dir],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd="/",
        env={},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
