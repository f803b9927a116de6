"""Content-addressed files on the shelf: written once, never changed, shared by equal content.

A blob is a file under its SHA-256. A tree is a manifest (paths, sizes, hashes) under the SHA-256 of its text;
models and code point to trees. Nothing is visible before it is complete: an interrupted upload leaves only a draft.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import IO

from workspaces.errors import NotFound, UserError
from workspaces.shelf import Shelf, restored, shelf

CHUNK = 1024 * 1024
MAX_PATH_BYTES = 1024
MAX_NAME_BYTES = 255


@dataclass(frozen=True)
class FileEntry:
    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Content:
    """A stored tree."""

    content_hash: str
    size_bytes: int
    file_count: int


def safe_path(text: str) -> str:
    """A relative POSIX path without tricks; `UserError` names the path otherwise."""
    path = PurePosixPath(text.replace("\\", "/"))
    broken = (
        not text
        or path.is_absolute()
        or ".." in path.parts
        or ":" in (path.parts[0] if path.parts else ":")
        or any(ord(letter) < 32 or "\ud800" <= letter <= "\udfff" for letter in text)
        or len(text.encode(errors="surrogatepass")) > MAX_PATH_BYTES
        or any(len(part.encode(errors="surrogatepass")) > MAX_NAME_BYTES for part in path.parts)
        or str(path) == "."
    )
    if broken:
        raise UserError(
            f"The path {text[:100]!r} is not allowed. Paths must be relative, inside the folder, and "
            f"at most {MAX_PATH_BYTES} bytes long, {MAX_NAME_BYTES} for each name in them.",
            target="path",
        )
    return str(path)


def put_tree(files: Iterable[tuple[str, IO[bytes]]]) -> Content:
    """Store `files` (relative path, open stream) as one tree; equal content is stored once."""
    entries: dict[str, FileEntry] = {}
    for raw_path, stream in files:
        path = safe_path(raw_path)
        if path in entries:
            raise UserError(f"The path '{path}' stands twice in the upload.", target="path")
        sha256, size = put_blob(stream)
        entries[path] = FileEntry(path, sha256, size)
    return keep_tree(entries.values())


def keep_tree(files: Iterable[FileEntry]) -> Content:
    """Store a tree of blobs that are in the store already; paths are safe and stand once each."""
    ordered = sorted(files, key=lambda entry: entry.path)
    if not ordered:
        raise UserError(
            "There are no files in the upload. Choose at least one file.", target="files"
        )
    paths = {entry.path for entry in ordered}
    for entry in ordered:
        for folder in PurePosixPath(entry.path).parents:
            if str(folder) in paths:
                raise UserError(
                    f"'{folder}' is both a file and a folder in the upload. Rename one of them.",
                    target="path",
                )
    text = json.dumps([[e.path, e.sha256, e.size_bytes] for e in ordered], separators=(",", ":"))
    content_hash = hashlib.sha256(text.encode()).hexdigest()
    _write_once(_tree_path(content_hash), text.encode())
    return Content(content_hash, sum(e.size_bytes for e in ordered), len(ordered))


def put_folder(folder: Path) -> Content:
    """Store a local file or every file below a local folder; symbolic links are refused."""
    return put_tree(_walk(folder))


def entries(content_hash: str) -> list[FileEntry]:
    """The manifest of a tree, ordered by path."""
    try:
        text = _local(_tree_path(content_hash)).read_bytes()
    except FileNotFoundError:
        raise NotFound(
            f"The stored content {content_hash[:12]} is missing. Register the asset again.",
            target="content",
        ) from None
    return [FileEntry(*row) for row in json.loads(text)]


def read_file(content_hash: str, path: str, *, limit: int | None = None) -> bytes:
    """One file of a tree, at most `limit` bytes of it."""
    for entry in entries(content_hash):
        if entry.path == path:
            with open_blob(entry.sha256) as stream:
                return stream.read(limit if limit is not None else -1)
    raise NotFound(f"There is no file '{path}' in it.", target="path")


def put_blob(stream: IO[bytes]) -> tuple[str, int]:
    """Store one file; its SHA-256 and size. Equal content is stored once."""
    place = shelf()
    draft = _draft(place)
    digest, size = hashlib.sha256(), 0
    try:
        with draft.open("wb") as file:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
                file.write(chunk)
        place.keep(draft, _blob_path(digest.hexdigest()))
    finally:
        draft.unlink(missing_ok=True)
    return digest.hexdigest(), size


def open_blob(sha256: str) -> IO[bytes]:
    place, name = shelf(), _blob_path(sha256)
    try:
        return place.open(name)
    except FileNotFoundError:
        if not restored(place, name):
            raise
    return place.open(name)


def read_blob(sha256: str, first: int, count: int) -> bytes:
    """`count` bytes from `first` on, fewer at the end."""
    place, name = shelf(), _blob_path(sha256)
    try:
        return place.read(name, first, count)
    except FileNotFoundError:
        if not restored(place, name):
            raise
    return place.read(name, first, count)


def put_piece(stream: IO[bytes]) -> tuple[str, int]:
    """Put a piece of a file aside, on this machine, until the file is whole: its name and size.

    `drop_piece` takes it away.
    """
    folder = _pieces()
    folder.mkdir(parents=True, exist_ok=True)
    name, size = secrets.token_hex(16), 0
    try:
        with (folder / name).open("wb") as file:
            while chunk := stream.read(CHUNK):
                size += len(chunk)
                file.write(chunk)
    except BaseException:
        drop_piece(name)
        raise
    return name, size


def open_piece(name: str) -> IO[bytes]:
    return (_pieces() / name).open("rb")


def drop_piece(name: str) -> None:
    """Missing is success."""
    (_pieces() / name).unlink(missing_ok=True)


def materialise(content_hash: str, target: Path) -> None:
    """Lay the tree out as files below `target`; hard links where the store is on the same disk.

    May be repeated: what is already there with the right size is kept.
    """
    for entry in entries(content_hash):
        place = target / entry.path
        if place.exists() and place.stat().st_size == entry.size_bytes:
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        source = _local(_blob_path(entry.sha256))
        if _link(source, place):
            continue
        draft = place.with_name(f".{place.name[:200]}.{secrets.token_hex(4)}")
        shutil.copyfile(source, draft)
        draft.chmod(0o444)
        draft.rename(place)


def remove_old_drafts(*, older_than: timedelta = timedelta(days=1)) -> int:
    """Remove what uploads that broke off have left; how many."""
    removed = 0
    limit = time.time() - older_than.total_seconds()
    for folder in (shelf().work / "drafts", _pieces()):
        for path in folder.iterdir() if folder.is_dir() else ():
            try:
                is_old = path.stat().st_mtime < limit
            except FileNotFoundError:
                continue
            if is_old:
                path.unlink(missing_ok=True)
                removed += 1
    return removed


def _link(source: Path, place: Path) -> bool:
    try:
        os.link(source, place)
    except OSError:
        return False
    return True


def _walk(folder: Path) -> Iterator[tuple[str, IO[bytes]]]:
    if folder.is_file():
        with folder.open("rb") as stream:
            yield folder.name, stream
        return
    if not folder.is_dir():
        raise NotFound(f"There is no file or folder {folder}.", target="path")
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise UserError(
                f"{path.relative_to(folder)} is a symbolic link. Copy the file it points to.",
                target="path",
            )
        if path.is_file() and "__pycache__" not in path.parts:
            with path.open("rb") as stream:
                yield path.relative_to(folder).as_posix(), stream


def _write_once(name: str, data: bytes) -> None:
    place = shelf()
    if place.has(name):
        return
    draft = _draft(place)
    try:
        draft.write_bytes(data)
        place.keep(draft, name)
    finally:
        draft.unlink(missing_ok=True)


def _local(name: str) -> Path:
    place = shelf()
    try:
        return place.local(name)
    except FileNotFoundError:
        if not restored(place, name):
            raise
    return place.local(name)


def _draft(place: Shelf) -> Path:
    folder = place.work / "drafts"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / secrets.token_hex(16)


def _pieces() -> Path:
    return shelf().work / "pieces"


def _blob_path(sha256: str) -> str:
    return f"blobs/{sha256[:2]}/{sha256}"


def _tree_path(content_hash: str) -> str:
    return f"trees/{content_hash[:2]}/{content_hash}.json"
