"""Reads whole lines from files that others write, and knows a file again after a crash, a rename, or a reuse."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path

TAIL_BYTES = 256


@dataclass(frozen=True)
class Mark:
    """A place in a file: everything before `offset` has been dealt with."""

    inode: int = 0
    offset: int = 0
    tail: str = ""
    """Length and checksum of the bytes just before `offset`: an inode number may go to another file one day."""


def mark(file: int, offset: int) -> Mark:
    """The mark of this place in an open file."""
    begin = max(0, offset - TAIL_BYTES)
    return Mark(os.fstat(file).st_ino, offset, tail_of(os.pread(file, offset - begin, begin)))


def fits(file: int, place: Mark) -> bool:
    """Whether `place` was made in this very file."""
    facts = os.fstat(file)
    if facts.st_ino != place.inode or facts.st_size < place.offset:
        return False
    length = tail_length(place)
    return tail_of(os.pread(file, length, place.offset - length)) == place.tail


def tail_of(data: bytes) -> str:
    """What a mark remembers of the bytes before it."""
    data = data[-TAIL_BYTES:]
    return f"{len(data)}:{zlib.crc32(data):08x}" if data else ""


def tail_length(place: Mark) -> int:
    return int(place.tail.partition(":")[0] or 0)


def read_lines(file: int, offset: int, *, limit: int) -> bytes:
    """Whole lines from `offset` on, about `limit` bytes of them; empty when no line has ended yet."""
    data = os.pread(file, limit, offset)
    while data and b"\n" not in data:
        more = os.pread(file, limit, offset + len(data))
        if not more:
            return b""
        data += more
    return data[: data.rfind(b"\n") + 1]


def open_for_reading(path: Path) -> int | None:
    """A descriptor, or None when there is no such file."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


def inode_of(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
