"""Content-addressed files on an fsspec file system: written once, never changed, shared by equal content.

A blob is a file under its SHA-256. A tree is a manifest (paths, sizes, hashes) under the SHA-256 of its text;
models and code point to trees. Nothing is visible before it is complete: an interrupted upload leaves only a draft.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import IO, Any

import fsspec
from django.conf import settings
from fsspec.implementations.local import LocalFileSystem

from workspaces.errors import NotFound, UserError

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
    filesystem, root = _store()
    try:
        text = filesystem.cat_file(f"{root}/{_tree_path(content_hash)}")
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
    filesystem, root = _store()
    draft = f"{root}/drafts/{secrets.token_hex(16)}"
    filesystem.makedirs(f"{root}/drafts", exist_ok=True)
    digest, size = hashlib.sha256(), 0
    try:
        with filesystem.open(draft, "wb") as file:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
                file.write(chunk)
        _keep(filesystem, draft, f"{root}/{_blob_path(digest.hexdigest())}")
    except BaseException:
        if filesystem.exists(draft):
            filesystem.rm_file(draft)
        raise
    return digest.hexdigest(), size


def open_blob(sha256: str) -> IO[bytes]:
    filesystem, root = _store()
    stream: IO[bytes] = filesystem.open(f"{root}/{_blob_path(sha256)}", "rb")
    return stream


def put_piece(stream: IO[bytes]) -> tuple[str, int]:
    """Put a piece of a file aside until the file is whole: its name and size. `drop_piece` takes it away."""
    filesystem, root = _store()
    name, size = secrets.token_hex(16), 0
    filesystem.makedirs(f"{root}/pieces", exist_ok=True)
    try:
        with filesystem.open(f"{root}/pieces/{name}", "wb") as file:
            while chunk := stream.read(CHUNK):
                size += len(chunk)
                file.write(chunk)
    except BaseException:
        drop_piece(name)
        raise
    return name, size


def open_piece(name: str) -> IO[bytes]:
    filesystem, root = _store()
    stream: IO[bytes] = filesystem.open(f"{root}/pieces/{name}", "rb")
    return stream


def drop_piece(name: str) -> None:
    """Missing is success."""
    filesystem, root = _store()
    if filesystem.exists(f"{root}/pieces/{name}"):
        filesystem.rm_file(f"{root}/pieces/{name}")


def materialise(content_hash: str, target: Path) -> None:
    """Lay the tree out as files below `target`; hard links where the store is on the same disk.

    May be repeated: what is already there with the right size is kept.
    """
    filesystem, root = _store()
    local = isinstance(filesystem, LocalFileSystem)
    for entry in entries(content_hash):
        place = target / entry.path
        if place.exists() and place.stat().st_size == entry.size_bytes:
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        source = f"{root}/{_blob_path(entry.sha256)}"
        if local and _link(Path(source), place):
            continue
        draft = place.with_name(f".{place.name[:200]}.{secrets.token_hex(4)}")
        with filesystem.open(source, "rb") as stream, draft.open("wb") as file:
            shutil.copyfileobj(stream, file, CHUNK)
        draft.chmod(0o444)
        draft.rename(place)


def remove_old_drafts(*, older_than: timedelta = timedelta(days=1)) -> int:
    """Remove what uploads that broke off have left; how many."""
    filesystem, root = _store()
    if not filesystem.exists(f"{root}/drafts"):
        return 0
    limit = datetime.now(UTC) - older_than
    removed = 0
    for facts in filesystem.ls(f"{root}/drafts", detail=True):
        if filesystem.modified(facts["name"]) < limit:
            filesystem.rm_file(facts["name"])
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


def _write_once(path: str, data: bytes) -> None:
    filesystem, root = _store()
    target = f"{root}/{path}"
    if filesystem.exists(target):
        return
    draft = f"{root}/drafts/{secrets.token_hex(16)}"
    filesystem.makedirs(f"{root}/drafts", exist_ok=True)
    with filesystem.open(draft, "wb") as file:
        file.write(data)
    _keep(filesystem, draft, target)


def _keep(filesystem: Any, draft: str, target: str) -> None:
    """Give a complete draft its final name; a twin that is already there wins."""
    if filesystem.exists(target):
        filesystem.rm_file(draft)
        return
    filesystem.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
    if isinstance(filesystem, LocalFileSystem):
        Path(draft).chmod(0o444)
        Path(draft).rename(target)
    else:
        filesystem.mv(draft, target)


def _store() -> tuple[Any, str]:
    url = str(settings.STORAGE_ROOT)
    filesystem, root = fsspec.core.url_to_fs(url)
    return filesystem, root.rstrip("/")


def _blob_path(sha256: str) -> str:
    return f"blobs/{sha256[:2]}/{sha256}"


def _tree_path(content_hash: str) -> str:
    return f"trees/{content_hash[:2]}/{content_hash}.json"
