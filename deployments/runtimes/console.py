"""Reads an instance's console: the genuine log format, newest part first on disk, oldest first to the caller."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from deployments.runtimes import LogLine
from deployments.runtimes.launcher import data_start
from deployments.runtimes.printable import printable
from deployments.runtimes.telling import LOOKED_AT, telling

STAMP = re.compile(rb"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) ")
BLOCK_BYTES = 1 << 16
LONG_AGO = datetime.min.replace(tzinfo=UTC)
EVIDENCE_LINE_LENGTH = 500


def lines_since(
    folder: Path, since: datetime, *, started_at: datetime, is_over: bool
) -> Iterator[LogLine]:
    """Lines stamped at `since` or later; one without a stamp has the time of the line before it.

    A last line without its end comes only when it `is_over`: until then the rest may follow.
    """
    blocks, is_whole = _read_back_to(folder, since)
    # Where reading stopped early, what comes before the first stamp is older than `since`.
    time = started_at if is_whole else LONG_AGO
    for line in _split(blocks, keep_unfinished=is_over):
        time = stamp_of(line) or time
        if time >= since:
            yield LogLine(time=time, text=line.decode(errors="replace"))


def last_lines(folder: Path, *, from_offset: int = 0) -> tuple[str, ...]:
    """The telling lines of what was written from `from_offset` of `console.log` on."""
    with contextlib.suppress(OSError), (folder / "console.log").open("rb") as log:
        end = os.fstat(log.fileno()).st_size
        begin = max(from_offset, data_start(str(folder)), end - BLOCK_BYTES)
        log.seek(min(begin, end))
        lines = _split([log.read()], keep_unfinished=True)[-LOOKED_AT:]
        return telling(
            [printable(line.decode(errors="replace")[:EVIDENCE_LINE_LENGTH]) for line in lines]
        )
    return ()


def stamp_of(line: bytes) -> datetime | None:
    """The time a line of the genuine format begins with."""
    match = STAMP.match(line)
    if match is None:
        return None
    with contextlib.suppress(ValueError):
        second = datetime.strptime(match[1].decode(), "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
        return second + timedelta(milliseconds=int(match[2]))
    return None


def _read_back_to(folder: Path, since: datetime) -> tuple[list[bytes], bool]:
    """Blocks of both files, oldest first, back to one that begins before `since`; and whether that is everything.

    So a follower reads only news.
    """
    blocks: list[bytes] = []
    with contextlib.ExitStack() as stack:
        try:
            lock = stack.enter_context((folder / "rotation.lock").open("ab"))
        except OSError:
            return [], True
        fcntl.flock(lock, fcntl.LOCK_SH)
        for name, begin in (
            ("console.log", data_start(str(folder))),
            ("console.log.1", 0),
        ):
            with (
                contextlib.suppress(FileNotFoundError),
                (folder / name).open("rb") as log,
            ):
                for block in _backwards(log.fileno(), begin):
                    blocks.append(block)
                    if _begins_before(block, since):
                        return blocks[::-1], False
    return blocks[::-1], True


def _backwards(log: int, begin: int) -> Iterator[bytes]:
    position = os.fstat(log).st_size
    while position > begin:
        size = min(BLOCK_BYTES, position - begin)
        position -= size
        yield os.pread(log, size, position)


def _begins_before(block: bytes, since: datetime) -> bool:
    # Not the first line: the block may begin in the middle of it.
    for line in block.split(b"\n")[1:]:
        time = stamp_of(line)
        if time is not None:
            return time < since
    return False


def _split(blocks: Iterable[bytes], *, keep_unfinished: bool) -> list[bytes]:
    *lines, unfinished = b"".join(blocks).split(b"\n")
    return [*lines, unfinished] if unfinished and keep_unfinished else lines
