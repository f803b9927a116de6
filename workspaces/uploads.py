"""Uploading by path, whole or in pieces, and making a tree of what was uploaded."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import IO

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from workspaces import storage
from workspaces.errors import Conflict, NotFound, UserError
from workspaces.models import (
    CodeVersion,
    DataVersion,
    EnvironmentVersion,
    ModelVersion,
    UploadedFile,
    UploadedPiece,
    Workspace,
)
from workspaces.storage import Content, FileEntry

CONTAINER = re.compile(r"[a-z0-9](?:-?[a-z0-9]){2,62}")
ASSETS = "assets"
"""Below this folder of every container stand, read only, the files of registered assets: `assets/<hash>/…`."""
UPLOADS = "LocalUpload"
"""Below this folder, and in containers of their own, clients upload what they will register."""
CONTEXT = "context"
"""The leaf of a Docker build context, which has no name of its own."""
MOST_PIECES = 50_000
PIECES_KEPT = timedelta(days=1)


def put_file(
    workspace: Workspace,
    container: str,
    path: str,
    stream: IO[bytes],
    *,
    content_type: str = "",
    replaces: bool = True,
) -> UploadedFile:
    """Store a whole file under its path; `Conflict` where one is and `replaces` is False."""
    where = _place(container, path)
    if not replaces and workspace.uploaded_files.filter(**where).exists():
        raise _taken(path)
    sha256, size = storage.put_blob(stream)
    return _keep(workspace, where, sha256, size, content_type, replaces)


def put_piece(
    workspace: Workspace, container: str, path: str, piece_id: str, stream: IO[bytes]
) -> None:
    """Put a part of a file aside; the same id again replaces it. Parts that nobody joins go after a day
    (`workspaces.leftovers`).
    """
    where = _place(container, path)
    if UploadedPiece.objects.filter(workspace=workspace, **where).count() >= MOST_PIECES:
        raise UserError(f"A file may have {MOST_PIECES} pieces.", target="blockid")
    name, size = storage.put_piece(stream)
    with transaction.atomic():
        rows = UploadedPiece.objects.select_for_update()
        old = rows.filter(workspace=workspace, piece_id=piece_id, **where).first()
        UploadedPiece.objects.update_or_create(
            workspace=workspace,
            piece_id=piece_id,
            container=where["container"],
            path=where["path"],
            defaults={"stored_as": name, "size_bytes": size, "uploaded_at": timezone.now()},
        )
    if old is not None:
        storage.drop_piece(old.stored_as)


def join_pieces(
    workspace: Workspace,
    container: str,
    path: str,
    piece_ids: Iterable[str],
    *,
    content_type: str = "",
    replaces: bool = True,
) -> UploadedFile:
    """Make the file of its parts, in the order given; `UserError` when one of them is missing.

    The same list again is success: a client that heard nothing of a long joining asks for it once more.
    """
    where = _place(container, path)
    rows = list(UploadedPiece.objects.filter(workspace=workspace, **where))
    known = {row.piece_id: row for row in rows}
    wanted = list(piece_ids)
    digest = hashlib.sha256("\n".join(wanted).encode()).hexdigest()
    missing = [piece_id for piece_id in wanted if piece_id not in known]
    if missing:
        made = _joined_before(workspace, where, digest)
        if made is not None:
            return made
        raise UserError(
            f"{len(missing)} pieces of '{path}' were not uploaded. Upload the file again.",
            code="InvalidBlockList",
            target="blocklist",
        )
    if sum(known[piece_id].size_bytes for piece_id in wanted) > settings.MAX_UPLOAD_BYTES:
        raise UserError(
            f"The file is larger than {settings.MAX_UPLOAD_BYTES} bytes (setting PORTICO_MAX_UPLOAD_BYTES).",
            code="RequestBodyTooLarge",
            status=413,
        )
    joined = _Joined(known[piece_id].stored_as for piece_id in wanted)
    try:
        sha256, size = storage.put_blob(io.BufferedReader(joined, storage.CHUNK))
    except FileNotFoundError:
        made = _joined_before(workspace, where, digest)
        if made is None:
            raise
        return made
    made = _keep(workspace, where, sha256, size, content_type, replaces, joined_of=digest)
    _drop(rows)
    return made


def remove_file(workspace: Workspace, container: str, path: str) -> None:
    """Take a file away; `NotFound` when there is none. Assets that were registered with it keep it."""
    where = _place(container, path)
    removed, _ = workspace.uploaded_files.filter(**where).delete()
    if not removed:
        raise NotFound(f"There is no file '{path}' in '{container}'.", target="path")


def describe_file(
    workspace: Workspace, container: str, path: str, metadata: dict[str, str]
) -> UploadedFile:
    """Replace what is noted about a file."""
    found = find_file(workspace, container, path)
    found.metadata = metadata
    found.changed_at = timezone.now()
    found.save(update_fields=["metadata", "changed_at"])
    return found


def find_file(workspace: Workspace, container: str, path: str) -> UploadedFile:
    """The file at the path, also one of a registered asset (then the row is not saved)."""
    found = workspace.uploaded_files.filter(container=container, path=path).first()
    if found is None:
        found = next(
            (file for file in _asset_files(workspace, container, path) if file.path == path), None
        )
    if found is None:
        raise NotFound(f"There is no file '{path}' in '{container}'.", target="path")
    return found


def files_below(
    workspace: Workspace, container: str, prefix: str, *, after: str = ""
) -> Iterator[UploadedFile]:
    """Files whose path begins with `prefix` and comes after `after`, in order."""
    if prefix.startswith(f"{ASSETS}/"):
        files = sorted(_asset_files(workspace, container, prefix), key=lambda file: file.path)
        return (file for file in files if file.path.startswith(prefix) and file.path > after)
    rows = workspace.uploaded_files.filter(
        container=container, path__startswith=prefix, path__gt=after
    )
    return rows.order_by("path").iterator()


def tree_at(workspace: Workspace, container: str, path: str) -> tuple[Content, str, bool]:
    """What was uploaded at a path as a tree: its content, its leaf name, and whether it is a folder."""
    path = storage.safe_path(path)
    leaf = path.rsplit("/", 1)[-1]
    if path.startswith(f"{ASSETS}/"):
        files = list(files_below(workspace, container, path))
    else:
        # A file is exact; a folder is all that stands below it, and never what merely begins like it.
        files = list(workspace.uploaded_files.filter(container=container, path=path))
        files = files or list(files_below(workspace, container, f"{path}/"))
    exact = [file for file in files if file.path == path]
    below = [file for file in files if file.path.startswith(f"{path}/")]
    if exact:
        return storage.keep_tree([_entry(exact[0], leaf)]), leaf, False
    if not below:
        raise UserError(
            f"Nothing was uploaded at '{path}' in '{container}'. Upload the files first, then register them.",
            code="ResourceNotFound",
            target="path",
        )
    entries = [_entry(file, file.path.removeprefix(f"{path}/")) for file in below]
    return storage.keep_tree(entries), leaf, True


def asset_path(content_hash: str, leaf: str) -> str:
    """Where the files of a registered asset are found in each container."""
    return f"{ASSETS}/{content_hash}/{leaf}"


def drop_old_pieces(*, older_than: timedelta = PIECES_KEPT) -> int:
    """Take away the parts of files that were given up; how many."""
    old = UploadedPiece.objects.filter(uploaded_at__lt=timezone.now() - older_than)
    found = list(old[:10_000])
    _drop(found)
    return len(found)


class _Joined(io.RawIOBase):
    """Reads pieces one after another as one stream."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = iter(names)
        self._current: IO[bytes] | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while True:
            if self._current is None:
                name = next(self._names, None)
                if name is None:
                    return 0
                self._current = storage.open_piece(name)
            read = self._current.read(len(buffer))
            if read:
                buffer[: len(read)] = read
                return len(read)
            self._current.close()
            self._current = None


def _place(container: str, path: str) -> dict[str, str]:
    if not CONTAINER.fullmatch(container):
        raise UserError(
            f"The container name '{container[:80]}' is not allowed.", target="container"
        )
    path = storage.safe_path(path)
    if path.split("/", 1)[0] == ASSETS:
        raise UserError(
            f"'{path}' belongs to a registered asset, whose files never change. Upload elsewhere.",
            code="BlobImmutableDueToPolicy",
            target="path",
            status=409,
        )
    return {"container": container, "path": path}


def _keep(
    workspace: Workspace,
    where: dict[str, str],
    sha256: str,
    size: int,
    content_type: str,
    replaces: bool,
    *,
    joined_of: str = "",
) -> UploadedFile:
    values = {
        "sha256": sha256,
        "size_bytes": size,
        "content_type": content_type[:255],
        "metadata": {},
        "joined_of": joined_of,
        "changed_at": timezone.now(),
    }
    if replaces:
        made, _ = UploadedFile.objects.update_or_create(
            workspace=workspace, container=where["container"], path=where["path"], defaults=values
        )
        return made
    try:
        with transaction.atomic():
            return UploadedFile.objects.create(workspace=workspace, **where, **values)
    except IntegrityError as error:
        raise _taken(where["path"]) from error


def _joined_before(
    workspace: Workspace, where: dict[str, str], digest: str
) -> UploadedFile | None:
    """The file that the same list of parts was made into, by a request that is over or ends before this one."""
    return workspace.uploaded_files.filter(**where, joined_of=digest).first()


def _taken(path: str) -> Conflict:
    return Conflict(f"There is a file '{path}' already.", code="BlobAlreadyExists", target="path")


def _drop(rows: list[UploadedPiece]) -> None:
    """Rows first: a piece without a row is a lost file, a row without its piece a broken upload."""
    UploadedPiece.objects.filter(pk__in=[row.pk for row in rows]).delete()
    for row in rows:
        storage.drop_piece(row.stored_as)


def _asset_files(workspace: Workspace, container: str, path: str) -> Iterator[UploadedFile]:
    """The files of the asset whose folder the path names, if it is registered in this workspace."""
    parts = path.split("/")
    if len(parts) < 3 or parts[0] != ASSETS or not re.fullmatch("[0-9a-f]{64}", parts[1]):
        return
    content_hash = parts[1]
    models = ModelVersion.objects.filter(model__workspace=workspace, content_hash=content_hash)
    codes = CodeVersion.objects.filter(code__workspace=workspace, content_hash=content_hash)
    data = DataVersion.objects.filter(data__workspace=workspace, content_hash=content_hash)
    contexts = EnvironmentVersion.objects.filter(
        environment__workspace=workspace, build_context_hash=content_hash
    )
    folders = {*models.values_list("leaf", "is_folder"), *codes.values_list("leaf", "is_folder")}
    folders |= set(data.values_list("leaf", "is_folder"))
    folders |= {(CONTEXT, True) for _ in contexts[:1]}
    for leaf, is_folder in sorted(folders):
        for entry in storage.entries(content_hash):
            inner = f"{leaf}/{entry.path}" if is_folder else entry.path
            yield UploadedFile(
                workspace=workspace,
                container=container,
                path=f"{ASSETS}/{content_hash}/{inner}",
                sha256=entry.sha256,
                size_bytes=entry.size_bytes,
                changed_at=workspace.created_at,
            )


def _entry(file: UploadedFile, path: str) -> FileEntry:
    return FileEntry(path, file.sha256, file.size_bytes)
