"""Where stored objects lie: in a folder, or in a bucket with a folder beside it for what is in use.

An object has a name such as `blobs/ab/abcd…` and never changes. Names of what nothing needs any more are moved below
`trash/` for a day before they go, and come back when they are asked for meanwhile.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any, Protocol

import fsspec
from django.conf import settings

logger = logging.getLogger(__name__)

TRASH = "trash"
PART_BYTES = 16 * 1024 * 1024
PARTS_AT_ONCE = 2
"""So many parts of a large file are in memory while it goes to the bucket."""


@dataclass(frozen=True)
class Found:
    """An object that a look through the shelf came by."""

    name: str
    age_seconds: float


class Shelf(Protocol):
    """Every call may be repeated. A name that is not there is a `FileNotFoundError`, but removing it is success."""

    work: Path
    """A folder of this machine for files that are being made, on the disk where `local` files are."""

    def keep(self, draft: Path, name: str) -> None:
        """Give a finished file of `work` its name, at once or not at all; a twin that is there already wins."""

    def has(self, name: str) -> bool: ...

    def local(self, name: str) -> Path:
        """The object as a file of this machine: read it, link it, never write to it. May take as long as a download."""

    def open(self, name: str) -> IO[bytes]: ...

    def read(self, name: str, first: int, count: int) -> bytes:
        """`count` bytes of it from `first` on, fewer at its end."""

    def walk(self, folder: str) -> Iterator[Found]: ...

    def move(self, name: str, other: str) -> None: ...

    def remove(self, name: str) -> None: ...

    def try_out(self) -> None:
        """Write, read and remove an object; raises what the disk or the bucket raises."""


def shelf() -> Shelf:
    """The one of this installation."""
    if settings.STORAGE_URL:
        options = tuple(sorted(settings.STORAGE_OPTIONS.items()))
        # A client does not outlive a fork.
        return _bucket(settings.STORAGE_URL, options, Path(settings.STORAGE_CACHE), os.getpid())
    return Folder(Path(settings.STORAGE_ROOT))


def restored(place: Shelf, name: str) -> bool:
    """Bring a name back from the trash; whether it was there."""
    try:
        place.move(f"{TRASH}/{name}", name)
    except FileNotFoundError:
        return False
    logger.info("brought %s back", name)
    return True


class Folder:
    """Objects are files below `root`."""

    def __init__(self, root: Path) -> None:
        self.work = root

    def keep(self, draft: Path, name: str) -> None:
        target = self.work / name
        if target.exists():
            draft.unlink()
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.chmod(0o444)
        draft.rename(target)

    def has(self, name: str) -> bool:
        return (self.work / name).exists()

    def local(self, name: str) -> Path:
        place = self.work / name
        if not place.exists():
            raise FileNotFoundError(name)
        return place

    def open(self, name: str) -> IO[bytes]:
        return (self.work / name).open("rb")

    def read(self, name: str, first: int, count: int) -> bytes:
        with self.open(name) as stream:
            stream.seek(first)
            return stream.read(count)

    def walk(self, folder: str) -> Iterator[Found]:
        now = time.time()
        for place, _, names in os.walk(self.work / folder):
            for name in names:
                path = Path(place, name)
                try:
                    age = now - path.stat().st_mtime
                except FileNotFoundError:
                    continue
                yield Found(path.relative_to(self.work).as_posix(), age)

    def move(self, name: str, other: str) -> None:
        target = self.work / other
        target.parent.mkdir(parents=True, exist_ok=True)
        (self.work / name).rename(target)
        os.utime(target)

    def remove(self, name: str) -> None:
        (self.work / name).unlink(missing_ok=True)

    def try_out(self) -> None:
        _try_out(self)


class Bucket:
    """Objects are in a bucket; copies of those in use are below `work`, laid out alike."""

    def __init__(self, url: str, options: dict[str, Any], work: Path) -> None:
        scheme, _, path = url.partition("://")
        self.work = work
        self._root = path.rstrip("/")
        # A listing that is remembered would hide what another process has put there since.
        self._files: Any = fsspec.filesystem(scheme, use_listings_cache=False, **options)
        self._copies = Folder(work)

    def keep(self, draft: Path, name: str) -> None:
        target = self._at(name)
        if not self._files.exists(target):
            self._files.put_file(
                str(draft), target, chunksize=PART_BYTES, max_concurrency=PARTS_AT_ONCE
            )
        self._copies.keep(draft, name)

    def has(self, name: str) -> bool:
        return bool(self._files.exists(self._at(name)))

    def local(self, name: str) -> Path:
        copy = self.work / name
        try:
            os.utime(copy)  # so that it stays for as long as it is used
        except FileNotFoundError:
            draft = self.work / "drafts" / secrets.token_hex(16)
            draft.parent.mkdir(parents=True, exist_ok=True)
            try:
                with self._from_bucket(name) as stream, draft.open("wb") as file:
                    shutil.copyfileobj(stream, file, 1024 * 1024)
                self._copies.keep(draft, name)
            finally:
                draft.unlink(missing_ok=True)
        return copy

    def open(self, name: str) -> IO[bytes]:
        if self._copies.has(name):
            return self.local(name).open("rb")
        return self._from_bucket(name)

    def read(self, name: str, first: int, count: int) -> bytes:
        if self._copies.has(name):
            return self._copies.read(name, first, count)
        if count <= 0:
            return b""
        data: bytes = self._files.cat_file(self._at(name), start=first, end=first + count)
        return data

    def walk(self, folder: str) -> Iterator[Found]:
        now = time.time()
        for path, facts in self._files.find(self._at(folder), detail=True).items():
            changed = facts.get("LastModified")
            age = now - changed.timestamp() if changed else 0.0
            yield Found(path.removeprefix(f"{self._root}/"), age)

    def move(self, name: str, other: str) -> None:
        if not self.has(name):
            raise FileNotFoundError(name)
        self._files.mv(self._at(name), self._at(other))
        self._copies.remove(name)

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self._files.rm_file(self._at(name))
        self._copies.remove(name)

    def try_out(self) -> None:
        _try_out(self)

    def forget_copies(self, *, unused_seconds: float) -> int:
        """Remove copies that nobody has asked for in that time and nothing links to; how many."""
        removed = 0
        for found in [*self._copies.walk("blobs"), *self._copies.walk("trees")]:
            copy = self.work / found.name
            try:
                is_used = copy.stat().st_nlink > 1
            except FileNotFoundError:
                continue
            if not is_used and found.age_seconds > unused_seconds:
                self._copies.remove(found.name)
                removed += 1
        return removed

    def _from_bucket(self, name: str) -> IO[bytes]:
        stream: IO[bytes] = self._files.open(self._at(name), "rb", block_size=PART_BYTES)
        return stream

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"


def _try_out(place: Shelf) -> None:
    name = f"drafts/{secrets.token_hex(16)}"
    draft = place.work / f"{name}.made"
    draft.parent.mkdir(parents=True, exist_ok=True)
    draft.write_bytes(b"tried out")
    try:
        place.keep(draft, name)
        place.read(name, 0, 1)
    finally:
        draft.unlink(missing_ok=True)
        place.remove(name)


@cache
def _bucket(url: str, options: tuple[tuple[str, Any], ...], work: Path, _: int) -> Bucket:
    return Bucket(url, {key: _thawed(value) for key, value in options}, work)


def _thawed(value: Any) -> Any:
    """Options of a client are pairs, so that they can be compared."""
    return dict(value) if isinstance(value, tuple) else value
