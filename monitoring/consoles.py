"""What instances print, line by line, each with the place behind it: from their console files, or from the runtime.

A console file is read at its offset, so nothing depends on clocks. It is kept open: what an instance printed last is
still read after its folder was removed. Its first part may have been moved to `console.log.1` meanwhile, which leaves
a hole in its place (`deployments.runtimes.launcher`).
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from deployments.runtimes import Runtime
from deployments.runtimes.launcher import data_start
from monitoring import tailing
from monitoring.segments import Entry, Position
from monitoring.tailing import Mark

CHUNK_BYTES = 1 << 18
LINE_BYTES = 1 << 16
UNFINISHED_SECONDS = 2.0
"""How long the end of a line is waited for."""
LINES_AT_ONCE = 2000

STAMP = re.compile(rb"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) ([DIWEC]) \[")
LEVELS = {b"D": "debug", b"I": "info", b"W": "warning", b"E": "error", b"C": "critical"}
DROPPED = "{count} bytes of this log are missing: they came faster than they could be kept."


class Console(Protocol):
    """One instance's output."""

    def read(self) -> list[Entry]:
        """The next lines, at most a chunk of them; none when there is nothing new."""
        ...

    def has_ended(self) -> bool:
        """Whether nothing will ever come from here again, provided that a `read` just gave nothing."""
        ...

    def close(self) -> None: ...


class Reader:
    """Gives lines their time and level: those of the line before when a line has none of its own."""

    def __init__(self, position: Position | None) -> None:
        self._time = datetime.fromisoformat(position.time) if position else None
        self._level = position.level if position else ""

    def entry(self, line: bytes, reached: Mark, *, whole: bool = True) -> Entry:
        stamp = STAMP.match(line)
        found = _time_of(stamp) if stamp else None
        if stamp and found:
            self._time, self._level = found, LEVELS[stamp[3]]
        elif self._time is None:
            self._time = datetime.now(UTC)
        text = line.decode(errors="replace").removesuffix("\r")
        return Entry(self._time, self._level, text, found is None, reached)


class ConsoleFile:
    """The console of an instance of the process runtime."""

    def __init__(self, folder: Path, position: Position | None) -> None:
        """Raises FileNotFoundError while there is no console yet."""
        self.path = folder / "console.log"
        self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        self._inode = os.fstat(self._file).st_ino
        self._folder = folder
        is_known = position is not None and self._fits(position.reached)
        self._reader = Reader(position if is_known else None)
        self._offset = position.reached.offset if position and is_known else 0
        self._unfinished: tuple[int, float] = (0, 0.0)

    def read(self) -> list[Entry]:
        # Asked before reading: afterwards nothing more is written.
        is_gone = tailing.inode_of(self.path) != self._inode
        size = os.fstat(self._file).st_size
        if size < self._offset:
            self._offset = 0  # Emptied, on a file system that knows no holes.
        if size == self._offset:
            return []
        data, dropped = self._bytes_from(self._offset)
        entries = []
        if dropped:
            self._offset += dropped
            text = DROPPED.format(count=dropped).encode()
            entries.append(self._reader.entry(text, self._mark(b"")))
        entries += self._entries(data, flush=is_gone)
        return entries

    def has_ended(self) -> bool:
        if tailing.inode_of(self.path) == self._inode:
            return False
        return os.fstat(self._file).st_size <= self._offset

    def close(self) -> None:
        os.close(self._file)

    def _entries(self, data: bytes, *, flush: bool) -> Iterator[Entry]:
        begin = 0
        while begin < len(data):
            newline = data.find(b"\n", begin, begin + LINE_BYTES)
            end = newline + 1 if newline >= 0 else min(begin + LINE_BYTES, len(data))
            if newline < 0 and end - begin < LINE_BYTES:
                is_last = self._offset + len(data) - begin >= os.fstat(self._file).st_size
                if not is_last or not (flush or self._has_waited(len(data) - begin)):
                    return
            line = data[begin:end]
            self._offset += end - begin
            yield self._reader.entry(line.removesuffix(b"\n"), self._mark(line))
            begin = end

    def _has_waited(self, length: int) -> bool:
        """Whether this unfinished line has not grown for a while."""
        reached, since = self._unfinished
        end = self._offset + length
        if reached != end:
            self._unfinished = (end, time.monotonic())
            return False
        return time.monotonic() - since > UNFINISHED_SECONDS

    def _mark(self, line: bytes) -> Mark:
        return Mark(self._inode, self._offset, tailing.tail_of(line))

    def _fits(self, place: Mark) -> bool:
        """Whether `place` was made in this file; the bytes before it may be where the hole is now."""
        facts = os.fstat(self._file)
        if facts.st_ino != place.inode or facts.st_size < place.offset:
            return False
        length = tailing.tail_length(place)
        if not length:
            return True
        data, dropped = self._bytes_from(place.offset - length)
        return dropped > 0 or tailing.tail_of(data[:length]) == place.tail

    def _bytes_from(self, offset: int) -> tuple[bytes, int]:
        """A chunk from there on, and how many bytes before it are lost for ever."""
        start = data_start(str(self._folder))
        if offset >= start:
            data = os.pread(self._file, CHUNK_BYTES, offset)
            # A hole is made only after the place where it ends was written down.
            if offset >= data_start(str(self._folder)):
                return data, 0
        return self._moved_bytes_from(offset)

    def _moved_bytes_from(self, offset: int) -> tuple[bytes, int]:
        """The same from `console.log.1`, which ends where the hole ends."""
        try:
            lock = os.open(self._folder / "rotation.lock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return self._after_hole(offset)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH)
            start = data_start(str(self._folder))
            moved = tailing.open_for_reading(self._folder / "console.log.1")
            if moved is None:
                return self._after_hole(offset)
            try:
                begin = start - os.fstat(moved).st_size
                first = max(offset, begin)
                size = min(CHUNK_BYTES, start - first)
                return os.pread(moved, size, first - begin), first - offset
            finally:
                os.close(moved)
        finally:
            os.close(lock)

    def _after_hole(self, offset: int) -> tuple[bytes, int]:
        """The folder is being removed: whatever the open file still holds."""
        try:
            first = os.lseek(self._file, offset, os.SEEK_DATA)
        except OSError:
            first = os.fstat(self._file).st_size
        return os.pread(self._file, CHUNK_BYTES, first), first - offset


class RuntimeConsole:
    """The console of an instance whose runtime keeps it; times there never go back.

    The place reached is the time of the last line, and how many lines of that very time have been taken.
    """

    def __init__(
        self,
        runtime: Runtime,
        name: str,
        position: Position | None,
        is_there: Callable[[str], bool],
    ) -> None:
        self._is_there = is_there
        self._runtime = runtime
        self._name = name
        self._reader = Reader(position)
        reached = position.reached if position else Mark()
        self._since = datetime.fromisoformat(reached.tail) if reached.tail else datetime.min
        self._since = self._since.replace(tzinfo=UTC)
        self._taken = reached.offset

    def read(self) -> list[Entry]:
        entries: list[Entry] = []
        since, to_skip = self._since, self._taken
        for line in self._runtime.logs(self._name, since=since):
            if line.time == since and to_skip:
                to_skip -= 1
                continue
            self._taken = self._taken + 1 if line.time == self._since else 1
            self._since = line.time
            reached = Mark(0, self._taken, line.time.astimezone(UTC).isoformat())
            entry = self._reader.entry(line.text.encode(), reached)
            entries.append(entry._replace(time=line.time))
            if len(entries) >= LINES_AT_ONCE:
                break
        return entries

    def has_ended(self) -> bool:
        return not self._is_there(self._name)

    def close(self) -> None:
        """Nothing is held."""


def _time_of(stamp: re.Match[bytes]) -> datetime | None:
    try:
        second = datetime.fromisoformat(stamp[1].decode())
    except ValueError:
        return None
    return second.replace(microsecond=int(stamp[2]) * 1000, tzinfo=UTC)
