from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from pytest_django import Settings

from workspaces import storage
from workspaces.archives import put_zip
from workspaces.errors import UserError


@pytest.fixture(autouse=True)
def store(settings: Settings, tmp_path: Path) -> Path:
    settings.STORAGE_ROOT = tmp_path / "store"
    return tmp_path / "store"


def files_of(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def make_zip(members: dict[str, bytes]) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    buffer.seek(0)
    return buffer


def test_a_tree_comes_back_as_it_was(tmp_path: Path) -> None:
    content = storage.put_tree(
        [("a.txt", io.BytesIO(b"one")), ("sub/b.bin", io.BytesIO(b"\x00" * 9))]
    )
    storage.materialise(content.content_hash, tmp_path / "out")
    assert files_of(tmp_path / "out") == ["a.txt", "sub/b.bin"]
    assert (tmp_path / "out/sub/b.bin").read_bytes() == b"\x00" * 9
    assert (content.size_bytes, content.file_count) == (12, 2)


def test_equal_content_is_stored_once_whatever_the_order(store: Path) -> None:
    first = storage.put_tree([("a", io.BytesIO(b"1")), ("b", io.BytesIO(b"1"))])
    second = storage.put_tree([("b", io.BytesIO(b"1")), ("a", io.BytesIO(b"1"))])
    assert first == second
    assert len(files_of(store / "blobs")) == 1
    assert files_of(store / "drafts") == []


def test_an_upload_that_breaks_off_leaves_nothing(store: Path) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError("connection lost")

    with pytest.raises(OSError, match="connection lost"):
        storage.put_tree([("a", io.BytesIO(b"1")), ("b", Broken())])
    assert files_of(store / "drafts") == []
    assert not (store / "trees").exists()


@pytest.mark.parametrize(
    "path",
    ["../up", "a/../../b", "/etc/passwd", "C:\\x", "..\\x", "", ".", "a\nb", "x" * 1100, "a\x00"],
)
def test_a_path_with_tricks_is_refused(path: str) -> None:
    with pytest.raises(UserError, match="not allowed"):
        storage.safe_path(path)


@pytest.mark.parametrize("name", ["../evil.py", "/abs.py", "a/../../evil.py", "..\\evil.py"])
def test_a_zip_that_leaves_its_folder_is_refused_whole(name: str, store: Path) -> None:
    with pytest.raises(UserError, match="not allowed"):
        put_zip(make_zip({"good.py": b"", name: b"evil"}))
    assert not store.exists()


def test_a_zip_that_unpacks_to_too_much_is_refused(settings: Settings) -> None:
    settings.MAX_UNPACKED_BYTES = 1000
    with pytest.raises(UserError, match="PORTICO_MAX_UNPACKED_BYTES"):
        put_zip(make_zip({"big": b"0" * 2000}))


def test_what_is_no_zip_says_so() -> None:
    with pytest.raises(UserError, match="not a zip archive"):
        put_zip(io.BytesIO(b"hello"))


def test_a_single_top_folder_of_a_zip_becomes_the_leaf() -> None:
    content, top = put_zip(make_zip({"model/MLmodel": b"x", "model/data/m.pkl": b"y"}))
    assert top == "model"
    assert [entry.path for entry in storage.entries(content.content_hash)] == [
        "MLmodel",
        "data/m.pkl",
    ]


def test_a_link_in_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f/secret").symlink_to("/etc/hostname")
    with pytest.raises(UserError, match="symbolic link"):
        storage.put_folder(tmp_path / "f")


def test_laying_out_twice_keeps_what_is_there(tmp_path: Path) -> None:
    content = storage.put_tree([("a", io.BytesIO(b"1"))])
    storage.materialise(content.content_hash, tmp_path / "out")
    inode = (tmp_path / "out/a").stat().st_ino
    storage.materialise(content.content_hash, tmp_path / "out")
    assert (tmp_path / "out/a").stat().st_ino == inode
