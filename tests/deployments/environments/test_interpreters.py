"""Interpreters of this machine, and copies of them for users who cannot enter their folder."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.environments.interpreters import Interpreter, Interpreters, probe
from workspaces.errors import UserError
from workspaces.trees import is_reachable_by_others

NOBODY = 65534
OWN_MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changes users, which needs root")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that other users can enter, which pytest's own is not."""
    folder = Path(tempfile.mkdtemp(prefix="portico-interpreters-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def pretend(folder: Path, version: str, *, implementation: str = "cpython") -> Path:
    """A program that answers as a Python of this version would."""
    binaries = folder / version / "bin"
    library = folder / version / "lib" / f"python{version.rpartition('.')[0]}"
    binaries.mkdir(parents=True)
    library.mkdir(parents=True)
    (library / "os.py").touch()
    program = binaries / f"python{version.rpartition('.')[0]}"
    answer = (
        f'["{implementation}", "{version}", "final", "{program}", "{folder / version}", false]'
    )
    program.write_text(f"#!/bin/sh\necho '{answer}'\n")
    program.chmod(0o755)
    return binaries


def pretended(place: Path, *versions: str, policy: str = "nearest") -> Interpreters:
    search = [pretend(place, version) for version in versions]
    return Interpreters(place / "copies", policy=policy, search=search)  # type: ignore[arg-type]


def test_our_own_interpreter_is_found(place: Path) -> None:
    found = Interpreters(place / "copies", search=[Path(sys.base_prefix) / "bin"]).found()
    assert OWN_MINOR in [interpreter.minor for interpreter in found]


def test_the_highest_patch_of_each_minor_counts(place: Path) -> None:
    found = pretended(place, "3.9.2", "3.11.9", "3.11.10", "3.11.2").found()
    assert [interpreter.version for interpreter in found] == ["3.11.10", "3.9.2"]


def test_what_is_no_supported_cpython_is_passed_over(place: Path) -> None:
    search = [
        pretend(place, "3.7.9"),
        pretend(place / "other", "3.10.1", implementation="pypy"),
        place / "missing",
    ]
    broken = place / "broken"
    broken.mkdir()
    (broken / "python3.12").write_text("#!/bin/sh\nexit 127\n")
    (broken / "python3.12").chmod(0o755)
    assert Interpreters(place / "copies", search=[*search, broken]).found() == ()
    assert probe(Path("/bin/true")) is None


def test_the_minor_asked_for_is_taken_without_a_word(place: Path) -> None:
    choice = pretended(place, "3.8.18", "3.11.2").choose("3.8")
    assert (choice.interpreter.version, choice.warnings) == ("3.8.18", ())


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [("3.10", "3.9.1"), ("3.13", "3.12.0"), ("3.7", "3.9.1"), ("3.14", "3.12.0")],
)
def test_the_nearest_minor_is_taken_with_a_warning(place: Path, wanted: str, taken: str) -> None:
    choice = pretended(place, "3.9.1", "3.12.0").choose(wanted)
    assert choice.interpreter.version == taken
    assert f"asks for Python {wanted}" in choice.warnings[0]
    assert "there are 3.9, 3.12" in choice.warnings[0]


def test_of_two_nearest_the_older_is_taken(place: Path) -> None:
    assert pretended(place, "3.11.1", "3.13.0").choose("3.12").interpreter.minor == "3.11"


def test_refusing_says_what_to_write_instead(place: Path) -> None:
    with pytest.raises(UserError, match=r"Write 'python=3\.9'") as caught:
        pretended(place, "3.9.1", policy="refuse").choose("3.8")
    assert caught.value.code == "PythonMismatch"


def test_any_python_is_the_preferred_one_without_a_warning(place: Path) -> None:
    choice = pretended(place, "3.8.1", "3.11.1", "3.13.0").choose("")
    assert (choice.interpreter.minor, choice.warnings) == ("3.11", ())


def test_a_machine_without_python_says_so(place: Path) -> None:
    with pytest.raises(UserError, match="no Python 3 on this") as caught:
        Interpreters(place / "copies", search=[]).choose("3.12")
    assert caught.value.code == "PythonMismatch"


def test_a_new_interpreter_is_seen_when_looking_again(place: Path) -> None:
    interpreters = pretended(place, "3.9.1")
    assert len(interpreters.found()) == 1
    interpreters._search = (*(interpreters._search or ()), pretend(place, "3.10.1"))
    assert len(interpreters.found()) == 1
    assert len(interpreters.found(again=True)) == 2


@pytest.mark.real
def test_a_download_that_fails_is_not_tried_at_once_again(place: Path) -> None:
    search = [pretend(place, "3.12.1")]
    interpreters = Interpreters(
        place / "copies", search=search, downloads=True, mirror="http://127.0.0.1:9/"
    )
    lines: list[str] = []
    assert interpreters.choose("3.9", log=lines.append).interpreter.minor == "3.12"
    assert lines[0] == "Downloading Python 3.9"
    assert lines[-1] == "Python 3.9 could not be downloaded"
    told = len(lines)
    interpreters.choose("3.9", log=lines.append)
    assert len(lines) == told


def closed_python(place: Path) -> Interpreter:
    """A real interpreter below a folder that only its owner may enter."""
    found = probe(Path(sys.executable))
    assert found is not None
    if not is_reachable_by_others(found.executable):
        return found
    closed = place / "closed"
    closed.mkdir()
    if found.prefix == Path("/usr"):
        return _part_of_the_system(found, closed)
    shutil.copytree(
        found.prefix,
        closed / "python",
        symlinks=True,
        copy_function=os.link,
        ignore=shutil.ignore_patterns("test", "site-packages", "share"),
    )
    closed.chmod(0o700)
    moved = closed / "python" / found.executable.relative_to(found.prefix)
    return Interpreter(found.version, moved, closed / "python")


def _part_of_the_system(found: Interpreter, closed: Path) -> Interpreter:
    """A distribution's Python has no folder of its own: give it one."""
    minor = f"python{found.minor}"
    moved = closed / "python" / "bin" / minor
    moved.parent.mkdir(parents=True)
    shutil.copy2(found.executable, moved)
    shutil.copytree(
        f"/usr/lib/{minor}",
        closed / "python" / "lib" / minor,
        symlinks=True,
        ignore=shutil.ignore_patterns("test", "dist-packages"),
    )
    closed.chmod(0o700)
    return Interpreter(found.version, moved, closed / "python")


@needs_root
def test_a_closed_interpreter_gets_a_copy_that_others_can_run(place: Path) -> None:
    closed = closed_python(place)
    interpreters = Interpreters(place / "copies", search=[])
    copy = interpreters.staged(closed)
    assert copy.prefix == place / "copies" / f"cpython-{closed.version}"
    seen = subprocess.run(
        [copy.executable, "-c", "import ssl, sqlite3, sys; print(sys.prefix)"],
        capture_output=True,
        text=True,
        check=True,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        env={},
        cwd="/",
    )
    assert seen.stdout.strip() == str(copy.prefix)
    assert interpreters.staged(closed) == copy
    assert all(
        path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH) == 0 for path in copy.prefix.rglob("*")
    )


@needs_root
def test_a_closed_interpreter_stays_where_it_is_when_nobody_else_runs_it(place: Path) -> None:
    closed = closed_python(place)
    own = Interpreters(place / "copies", search=[], for_others=False)
    assert own.staged(closed) == closed
    assert not (place / "copies").exists()


@needs_root
def test_a_copy_is_found_again_when_the_original_has_gone(place: Path) -> None:
    closed = closed_python(place)
    copy = Interpreters(place / "copies", search=[]).staged(closed)
    found = Interpreters(place / "copies", search=[]).found()
    assert [(each.version, each.prefix) for each in found] == [(copy.version, copy.prefix)]


@needs_root
def test_an_open_interpreter_stays_where_it_is(place: Path) -> None:
    search = [pretend(place, "3.11.1")]
    interpreters = Interpreters(place / "copies", search=search)
    assert interpreters.choose("3.11").interpreter.prefix == place / "3.11.1"
    assert not (place / "copies").exists()


@needs_root
def test_a_copy_that_others_cannot_run_is_an_error_with_a_way_out(place: Path) -> None:
    closed = closed_python(place)
    hidden = place / "hidden"
    hidden.mkdir(mode=0o700)
    with pytest.raises(UserError, match="does not run for them") as caught:
        Interpreters(hidden / "copies", search=[]).staged(closed)
    assert caught.value.code == "PythonMismatch"
