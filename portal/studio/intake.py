"""Files that people hand in through forms, stored as content before anything is registered."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest

from workspaces.archives import put_zip
from workspaces.errors import UserError
from workspaces.storage import Content, entries, open_blob, put_tree


@dataclass(frozen=True)
class Handed:
    """What was handed in: the content, and the name of its folder or single file."""

    content: Content
    leaf: str
    is_folder: bool


def take(request: HttpRequest, field: str, *, leaf: str = "") -> Handed | None:
    """The files of a multipart field, or None when there are none.

    The paths inside a folder stand in `<field>_paths` (for `files`: `paths`), in the order of the files;
    browsers strip them from the names. A single zip is unpacked. `leaf` names a folder that has no name.
    """
    files = [file for file in request.FILES.getlist(field) if file is not None]
    if not files:
        return None
    _refuse_large(files, field)
    try:
        return _store(files, paths_of(request, field), field, leaf)
    except UserError as error:
        raise UserError(
            error.message, code=error.code, target=field, status=error.status
        ) from error


def take_text(text: str, path: str) -> Handed:
    """A text that was typed in, as a folder with one file."""
    return Handed(put_tree([(path, io.BytesIO(text.replace("\r\n", "\n").encode()))]), path, False)


def take_changed(content_hash: str, path: str, text: str) -> Handed:
    """The stored folder with one text file in place of the one at `path`."""

    def files() -> Iterator[tuple[str, IO[bytes]]]:
        for entry in entries(content_hash):
            if entry.path != path:
                with open_blob(entry.sha256) as stream:
                    yield entry.path, stream
        yield path, io.BytesIO(text.replace("\r\n", "\n").encode())

    return Handed(put_tree(files()), path, True)


def paths_of(request: HttpRequest, field: str) -> list[str]:
    """The paths that go with a field's files; they are also sent where the files themselves are left out."""
    return request.POST.getlist("paths" if field == "files" else f"{field}_paths")


def _store(files: list[UploadedFile[Any]], paths: list[str], field: str, leaf: str) -> Handed:
    if len(files) == 1 and str(files[0].name).lower().endswith(".zip"):
        content, top = put_zip(_stream(files[0]), target=field)
        return Handed(content, top or leaf or "files", True)
    if len(paths) != len(files):
        paths = [str(file.name) for file in files]
    top = _common_top(paths)
    inner = [path.removeprefix(f"{top}/") if top else path for path in paths]
    content = put_tree(_streams(files, inner))
    if len(files) == 1 and not top:
        return Handed(content, inner[0], False)
    return Handed(content, top or leaf or "files", True)


def _streams(
    files: Sequence[UploadedFile[Any]], paths: list[str]
) -> Iterator[tuple[str, IO[bytes]]]:
    for file, path in zip(files, paths, strict=True):
        yield path, _stream(file)


def _stream(file: UploadedFile[Any]) -> IO[bytes]:
    if file.file is None:
        raise UserError("A file arrived without content. Choose it again.", target="files")
    stream: IO[bytes] = file.file
    stream.seek(0)
    return stream


def _common_top(paths: list[str]) -> str:
    """The folder that all paths lie in, which a folder upload has and single files have not."""
    tops = {path.split("/", 1)[0] for path in paths}
    if len(tops) == 1 and all("/" in path for path in paths):
        return tops.pop()
    return ""


def _refuse_large(files: Sequence[UploadedFile[Any]], field: str) -> None:
    total = sum(file.size or 0 for file in files)
    if total > settings.MAX_UPLOAD_BYTES:
        raise UserError(
            f"The files have {total} bytes together; at most {settings.MAX_UPLOAD_BYTES} are allowed "
            "(setting PORTICO_MAX_UPLOAD_BYTES).",
            target=field,
        )
