"""Staged copies of program folders."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from workspaces.trees import is_reachable_by_others, stage_tree


def a_program(folder: Path) -> Path:
    (folder / "bin").mkdir(parents=True)
    (folder / "lib/deep").mkdir(parents=True)
    tool = folder / "bin/tool"
    tool.write_text("#!/bin/sh\necho hello\n")
    tool.chmod(0o755)
    (folder / "lib/deep/data.txt").write_text("data")
    (folder / "lib/private.txt").write_text("private")
    (folder / "lib/private.txt").chmod(0o600)
    (folder / "bin/relative").symlink_to("tool")
    (folder / "bin/absolute").symlink_to(tool)
    (folder / "bin/broken").symlink_to("nothing")
    outside = folder.parent / "outside.txt"
    outside.write_text("outside")
    (folder / "lib/outside.txt").symlink_to(outside)
    folder.chmod(0o700)
    return folder


def test_a_staged_copy_is_whole_and_open_to_everyone(tmp_path: Path) -> None:
    source = a_program(tmp_path / "source")
    target = stage_tree(source, tmp_path / "copies" / "tool-1")
    assert (target / "bin/relative").read_text() == (source / "bin/tool").read_text()
    assert os.readlink(target / "bin/absolute") == "tool"
    assert not (target / "bin/broken").is_symlink()
    assert (target / "lib/outside.txt").read_text() == "outside"
    assert target.stat().st_mode & 0o777 == 0o755
    for path in target.rglob("*"):
        mode = path.stat().st_mode
        assert mode & 0o044 == 0o044, path
        assert mode & 0o022 == 0, path
    # A file that others may not read is copied, so that the original stays closed.
    assert (source / "lib/private.txt").stat().st_mode & 0o777 == 0o600
    assert (target / "lib/deep/data.txt").stat().st_ino == (
        source / "lib/deep/data.txt"
    ).stat().st_ino


def test_what_skip_names_is_left_out(tmp_path: Path) -> None:
    source = a_program(tmp_path / "source")
    target = stage_tree(source, tmp_path / "copy", skip=lambda path: path == Path("lib/deep"))
    assert not (target / "lib/deep").exists()
    assert (target / "lib/private.txt").exists()


def test_a_second_call_keeps_the_first_copy(tmp_path: Path) -> None:
    source = a_program(tmp_path / "source")
    stage_tree(source, tmp_path / "copy")
    (source / "new.txt").write_text("later")
    assert stage_tree(source, tmp_path / "copy") == tmp_path / "copy"
    assert not (tmp_path / "copy/new.txt").exists()


def test_prepare_sees_the_copy_before_anyone_else(tmp_path: Path) -> None:
    source = a_program(tmp_path / "source")

    def prepare(copy: Path) -> None:
        assert not (tmp_path / "copy").exists()
        (copy / "ready").write_text("")

    assert (stage_tree(source, tmp_path / "copy", prepare=prepare) / "ready").exists()


def test_racing_calls_all_get_the_one_copy(tmp_path: Path) -> None:
    source = a_program(tmp_path / "source")
    results: list[Path] = []
    start = threading.Barrier(6)

    def stage() -> None:
        start.wait()
        results.append(stage_tree(source, tmp_path / "copies/tool"))

    threads = [threading.Thread(target=stage) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [tmp_path / "copies/tool"] * 6
    assert [path.name for path in (tmp_path / "copies").iterdir()] == ["tool"]


def test_what_a_killed_call_left_is_swept(tmp_path: Path) -> None:
    source = a_program(tmp_path / "source")
    gone = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(gone, 0)
    stale = tmp_path / f".copy.{gone}.abcd.staging"
    stale.mkdir()
    alive = tmp_path / f".copy.{os.getpid()}.abcd.staging"
    alive.mkdir()
    stage_tree(source, tmp_path / "copy")
    assert not stale.exists()
    assert alive.exists()


def test_reachable_means_every_folder_above_too(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "open").mkdir(parents=True)
    file = closed / "open/file"
    file.write_text("")
    file.chmod(0o644)
    closed.chmod(0o700)
    assert is_reachable_by_others(Path("/bin/sh"))
    assert is_reachable_by_others(Path("/usr"))
    assert not is_reachable_by_others(file)
    assert not is_reachable_by_others(tmp_path / "missing")
