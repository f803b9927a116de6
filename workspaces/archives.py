"""Zip files that people upload: checked whole before anything of them is stored."""

from __future__ import annotations

import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast

from django.conf import settings

from workspaces.errors import UserError
from workspaces.storage import Content, put_tree, safe_path

MAX_FILES = 20_000
DAMAGE = (
    zipfile.BadZipFile,
    NotImplementedError,
    EOFError,
    ValueError,
    RuntimeError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
)


def put_zip(stream: IO[bytes], *, target: str = "file") -> tuple[Content, str]:
    """Store a zip's files as one tree; also the name of its single top folder, or an empty text.

    Refused, with nothing stored: paths that leave the folder, links, encryption, too many files, or more
    than `MAX_UNPACKED_BYTES` unpacked.
    """
    with _damage_told(target):
        archive = zipfile.ZipFile(stream)
    with archive:
        members = [info for info in archive.infolist() if not info.is_dir()]
        _check(members, target)
        top = _single_top_folder(members)

        def files() -> Iterator[tuple[str, IO[bytes]]]:
            for info in members:
                with _damage_told(target):
                    file = archive.open(info)
                with file:
                    member = cast(IO[bytes], _Member(file, target))
                    yield info.filename.removeprefix(f"{top}/" if top else ""), member

        return put_tree(files()), top


class _Member:
    """One file of a zip, whose damage is the sender's to mend."""

    def __init__(self, file: IO[bytes], target: str) -> None:
        self._file = file
        self._target = target

    def read(self, size: int = -1) -> bytes:
        with _damage_told(self._target):
            return self._file.read(size)


@contextmanager
def _damage_told(target: str) -> Iterator[None]:
    """Whatever a zip of random bytes makes the readers raise, as one sentence."""
    try:
        yield
    except DAMAGE as error:
        raise UserError(
            f"The file is not a zip archive, or it is damaged ({error or 'it ends too early'}).",
            target=target,
        ) from error
    except OSError as error:
        if error.errno is not None:
            raise  # our disk, not their file
        raise UserError(f"The zip archive is damaged: {error}.", target=target) from error


def _check(members: list[zipfile.ZipInfo], target: str) -> None:
    if len(members) > MAX_FILES:
        raise UserError(
            f"The zip holds {len(members)} files; at most {MAX_FILES} are allowed.", target=target
        )
    total = sum(info.file_size for info in members)
    if total > settings.MAX_UNPACKED_BYTES:
        raise UserError(
            f"The zip unpacks to {total} bytes; at most {settings.MAX_UNPACKED_BYTES} are allowed "
            "(setting PORTICO_MAX_UNPACKED_BYTES).",
            target=target,
        )
    for info in members:
        safe_path(info.filename)
        if stat.S_ISLNK(info.external_attr >> 16):
            raise UserError(
                f"'{info.filename}' in the zip is a symbolic link. Put the file itself into it.",
                target=target,
            )
        if info.flag_bits & 0x1:
            raise UserError("The zip is encrypted. Upload it without a password.", target=target)


def _single_top_folder(members: list[zipfile.ZipInfo]) -> str:
    tops = {info.filename.split("/", 1)[0] for info in members if "/" in info.filename}
    if len(tops) == 1 and all("/" in info.filename for info in members):
        return tops.pop()
    return ""
