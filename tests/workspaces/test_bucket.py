"""Storage in a bucket of a real S3 server: what goes in comes out, and copies on this disk can be lost."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from portal import doctor
from portal.faults import StartFault
from tests.bucket import S3, serve
from workspaces import shelf, storage
from workspaces.errors import NotFound

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with serve(tmp_path_factory.mktemp("s3") / "log") as running:
        yield running


@pytest.fixture(autouse=True)
def bucket(s3: S3, settings: Settings, tmp_path: Path) -> shelf.Bucket:
    settings.STORAGE_URL = f"{s3.url}/{tmp_path.name}"
    settings.STORAGE_OPTIONS = s3.options
    settings.STORAGE_CACHE = tmp_path / "cache"
    settings.STORAGE_ROOT = tmp_path / "never"
    found = shelf.shelf()
    assert isinstance(found, shelf.Bucket)
    return found


def names(bucket: shelf.Bucket, folder: str) -> list[str]:
    return sorted(found.name for found in bucket.walk(folder))


def lose_copies(bucket: shelf.Bucket) -> None:
    shutil.rmtree(bucket.work)


def test_a_tree_is_in_the_bucket_and_comes_back_without_its_copies(
    bucket: shelf.Bucket, tmp_path: Path, settings: Settings
) -> None:
    files = {"a.txt": b"one", "sub/b.bin": os.urandom(3_000_000), "empty": b""}
    content = storage.put_tree((path, io.BytesIO(data)) for path, data in files.items())
    assert len(names(bucket, "blobs")) == 3
    assert len(names(bucket, "trees")) == 1
    lose_copies(bucket)
    storage.materialise(content.content_hash, tmp_path / "out")
    assert {path: (tmp_path / "out" / path).read_bytes() for path in files} == files
    assert not Path(settings.STORAGE_ROOT).exists()
    # What is laid out twice is one file on this disk.
    assert (tmp_path / "out/a.txt").stat().st_nlink == 2


def test_equal_content_is_uploaded_once(bucket: shelf.Bucket) -> None:
    for _ in range(2):
        storage.put_tree([("a", io.BytesIO(b"1"))])
        lose_copies(bucket)
    assert len(names(bucket, "blobs")) == 1


def test_a_large_file_goes_in_parts_and_is_read_by_range(bucket: shelf.Bucket) -> None:
    data = os.urandom(2 * shelf.PART_BYTES + 5)
    sha256, size = storage.put_blob(io.BytesIO(data))
    assert (sha256, size) == (hashlib.sha256(data).hexdigest(), len(data))
    lose_copies(bucket)
    assert storage.read_blob(sha256, 1_000_000, 10) == data[1_000_000:1_000_010]
    assert storage.read_blob(sha256, len(data) - 3, 100) == data[-3:]
    with storage.open_blob(sha256) as stream:
        assert hashlib.sha256(stream.read()).hexdigest() == sha256
    assert not (bucket.work / "blobs").exists()


def test_an_upload_that_breaks_off_leaves_nothing(bucket: shelf.Bucket) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError("connection lost")

    with pytest.raises(OSError, match="connection lost"):
        storage.put_tree([("a", io.BytesIO(b"1")), ("b", Broken())])
    assert names(bucket, "trees") == []
    assert list((bucket.work / "drafts").iterdir()) == []


def test_what_is_missing_is_told_and_the_trash_gives_back(bucket: shelf.Bucket) -> None:
    with pytest.raises(NotFound, match="missing"):
        storage.entries("0" * 64)
    content = storage.put_tree([("a", io.BytesIO(b"1"))])
    for folder in ("blobs", "trees"):
        for name in names(bucket, folder):
            bucket.move(name, f"{shelf.TRASH}/{name}")
    assert names(bucket, "blobs") == []
    entry = storage.entries(content.content_hash)[0]
    assert storage.read_blob(entry.sha256, 0, 9) == b"1"
    assert len(names(bucket, shelf.TRASH)) == 0


def test_copies_in_use_stay_and_others_go(bucket: shelf.Bucket, tmp_path: Path) -> None:
    used = storage.put_tree([("a", io.BytesIO(b"used"))])
    storage.put_blob(io.BytesIO(b"unused"))
    storage.materialise(used.content_hash, tmp_path / "out")
    assert bucket.forget_copies(unused_seconds=3600) == 0
    assert bucket.forget_copies(unused_seconds=-1) == 2, "the manifest and the unused one"
    assert (tmp_path / "out/a").stat().st_nlink == 2
    lose_copies(bucket)
    storage.materialise(used.content_hash, tmp_path / "again")
    assert (tmp_path / "again/a").read_bytes() == b"used"


def test_a_forked_process_has_a_client_of_its_own(bucket: shelf.Bucket) -> None:
    storage.put_blob(io.BytesIO(b"before"))
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, storage.put_blob(io.BytesIO(b"in the child"))[0].encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    told: Any = os.read(read, 100).decode()
    os.close(read)
    assert told == hashlib.sha256(b"in the child").hexdigest()
    assert storage.read_blob(told, 0, 100) == b"in the child"


def test_the_doctor_tries_the_bucket_out(bucket: shelf.Bucket, settings: Settings) -> None:
    assert doctor.check_storage() == settings.STORAGE_URL
    assert names(bucket, "drafts") == []
    settings.STORAGE_URL = "s3://there-is-no-such-bucket"
    with pytest.raises(StartFault, match="PORTICO_STORAGE_"):
        doctor.check_storage()
