"""Environments built by the program that stands in for an import."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deployments.environments.wheels import make_wheel
from tests.house import ROOT

pytestmark = pytest.mark.thorough

OWN_MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"


def build(order: dict[str, Any], *flags: str) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, what was said line by line, and standard error."""
    done = subprocess.run(
        [sys.executable, *flags, "-m", "deployments.environments"],
        cwd=ROOT,
        input=json.dumps(order),
        capture_output=True,
        text=True,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that other users can enter: what a script imports is looked up without rights."""
    folder = Path(tempfile.mkdtemp(prefix="portico-environments-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def order(place: Path) -> dict[str, Any]:
    make_wheel(place / "wheels", "alpha", code="VALUE = 7\n")
    (place / "conda").mkdir()
    (place / "conda" / "more.txt").write_text("alpha==1.0\n")
    (place / "score.py").write_text("import alpha\n")
    text = f"dependencies:\n- python={OWN_MINOR}\n- pip: ['-r more.txt']\n"
    return {
        "root": str(place / "store"),
        "spec": {"conda_text": text, "folder": str(place / "conda")},
        "settings": {
            "offline": True,
            "find_links": [str(place / "wheels")],
            "min_free_bytes": 0,
        },
        "script": str(place / "score.py"),
    }


def test_an_environment_is_built_once_and_found_again(order: dict[str, Any]) -> None:
    code, said, _errors = build(order)
    assert code == 0
    built = said[-1]["built"]
    assert not built["was_cached"]
    assert any("Installing 1 packages" in line["log"] for line in said[:-1])
    imported = [built["python"], "-c", "import alpha; print(alpha.VALUE)"]
    assert subprocess.run(imported, capture_output=True, text=True).stdout == "7\n"
    library = Path(built["python"]).parent.parent / "lib"
    assert list(library.rglob("alpha.cpython-*.pyc")), "what the script imports is compiled"

    code, said, _errors = build(order)
    assert code == 0
    assert [list(line) for line in said] == [["built"]]
    assert said[0]["built"]["was_cached"]


def test_a_package_that_is_nowhere_is_named_with_evidence_and_fixes(order: dict[str, Any]) -> None:
    order["spec"]["conda_text"] = f"dependencies: [python={OWN_MINOR}, {{pip: [alpha==2.0]}}]"
    code, said, _errors = build(order)
    failed = said[-1]["failed"]
    assert code == 1
    assert failed["code"] == "ImageBuildFailure"
    assert any("alpha==2.0" in line for line in failed["evidence"])
    assert failed["fixes"]


def test_a_mistake_in_the_file_is_named_with_its_place(order: dict[str, Any]) -> None:
    order["spec"]["conda_text"] = "dependencies: [{x: 1}]"
    code, said, _errors = build(order)
    assert code == 1
    assert said[-1]["failed"]["target"] == "dependencies[0]"


def test_neither_django_nor_the_house_above_is_loaded(order: dict[str, Any]) -> None:
    _code, _said, errors = build(order, "-X", "importtime")
    loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in errors.splitlines()}
    assert {"uv", "deployments", "workspaces"} <= loaded
    assert loaded & {"django", "portal", "api", "monitoring", "endpoints"} == set()
