"""Log lines on disk: append-only files of JSON lines, a folder for each deployment.

    <root>/<endpoint>/<deployment>.<id>/
        20260304-05-1.jsonl       begun on 4 March 2026 at 05 h, first line has cursor 1
        20260304-17-80213.jsonl
        positions.json            how far each console had been taken over, as of the line `next`

A line's cursor is its number in the deployment, counted without a gap, so files and places in them are found by
bisection, and a reader goes on exactly where it stopped. Every line says up to where its console had been taken over
when it was written: after a crash the lines themselves tell where to go on, and nothing else has to be in step.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from monitoring.tailing import Mark

SEGMENT_BYTES = 16 * 1024**2
DEPLOYMENT_LOG_BYTES = 512 * 1024**2
POSITIONS = "positions.json"
_PREFIX = b'{"cursor":'

Record = dict[str, Any]


class Entry(NamedTuple):
    """One line to be kept."""

    time: datetime
    level: str
    text: str
    continues: bool
    """Whether it belongs to the line before it, as the lines of a traceback do."""
    reached: Mark


@dataclass(frozen=True)
class Position:
    """How far one console has been taken over, and what its last line was."""

    reached: Mark
    time: str
    level: str


@dataclass(frozen=True)
class Segment:
    path: Path
    first: int
    """Cursor of its first line."""
    begun_at: datetime
    """To the hour."""


class SegmentWriter:
    """Appends to one deployment's segments. There must be one writer only; a crashed one is made up for here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._file: int | None = None
        self._size = 0
        self._begun = ""
        found = segments(folder)
        if found:
            self._reopen(found[-1])
        saved_next, saved = self._saved_positions()
        begun_next = found[-1].first if found else 1
        self.next_cursor = max(saved_next, begun_next, last_cursor(folder) + 1)
        self.positions = saved | self._positions_since(saved_next)

    def append(self, instance: str, source: str, entries: Iterable[Entry]) -> int:
        """Keep the lines, in this order, in one write; the cursor of the last one."""
        cursor = self.next_cursor
        lines = []
        last: Entry | None = None
        for entry in entries:
            time = _text(entry.time)
            record = {
                "cursor": cursor,
                "time": time,
                "instance": instance,
                "level": entry.level,
                "source": source,
                "text": entry.text,
                "continues": entry.continues,
                "at": [entry.reached.inode, entry.reached.offset, entry.reached.tail],
            }
            lines.append(orjson.dumps(record))
            cursor += 1
            last = entry
        if last is None:
            return cursor - 1
        lines.append(b"")
        self._write(b"\n".join(lines))
        self.next_cursor = cursor
        self.positions[instance] = Position(last.reached, _text(last.time), last.level)
        return cursor - 1

    def forget(self, instance: str) -> None:
        """The console is gone and has been read to its end."""
        self.positions.pop(instance, None)

    def close(self) -> None:
        if self._file is not None:
            self._save_positions()
            os.close(self._file)
            self._file = None

    def _write(self, data: bytes) -> None:
        today = datetime.now(UTC).strftime("%Y%m%d")
        if self._file is None or self._size >= SEGMENT_BYTES or self._begun != today:
            self._begin()
        assert self._file is not None
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            # A full disk: what was half written must not stand before what comes next.
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(data)

    def _begin(self) -> None:
        if self._file is not None:
            # First: the new file's lines are then all that has to be read again after a crash.
            self._save_positions()
            os.close(self._file)
        now = datetime.now(UTC)
        path = self.folder / f"{now:%Y%m%d-%H}-{self.next_cursor}.jsonl"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self._size = os.fstat(self._file).st_size
        self._begun = now.strftime("%Y%m%d")
        # Here, and not only when the clock says so: a script can print gigabytes in a minute.
        drop_oldest(self.folder)

    def _reopen(self, segment: Segment) -> None:
        self._file = os.open(segment.path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        self._size = _whole_size(self._file)
        os.ftruncate(self._file, self._size)
        self._begun = segment.begun_at.strftime("%Y%m%d")

    def _positions_since(self, cursor: int) -> dict[str, Position]:
        """What the lines from `cursor` on say."""
        found: dict[str, Position] = {}
        for record in backwards(self.folder):
            if record["cursor"] < cursor:
                break
            found.setdefault(
                record["instance"], Position(Mark(*record["at"]), record["time"], record["level"])
            )
        return found

    def _saved_positions(self) -> tuple[int, dict[str, Position]]:
        """What was noted when the newest segment was begun, and the cursor that came next."""
        try:
            saved = orjson.loads((self.folder / POSITIONS).read_bytes())
        except (FileNotFoundError, ValueError):
            return 1, {}
        return int(saved["next"]), {
            name: Position(Mark(*at), time, level)
            for name, (at, time, level) in saved["positions"].items()
        }

    def _save_positions(self) -> None:
        value = {
            "next": self.next_cursor,
            "positions": {
                name: [[p.reached.inode, p.reached.offset, p.reached.tail], p.time, p.level]
                for name, p in self.positions.items()
            },
        }
        # Somebody may have deleted the whole log meanwhile.
        self.folder.mkdir(parents=True, exist_ok=True)
        fresh = self.folder / f"{POSITIONS}.new"
        fresh.write_bytes(orjson.dumps(value))
        fresh.replace(self.folder / POSITIONS)


def segments(folder: Path) -> list[Segment]:
    """The files of a deployment, oldest first; none for one that never said anything."""
    found = []
    for path in folder.glob("*.jsonl"):
        day, hour, first = path.stem.split("-")
        begun_at = datetime.strptime(day + hour, "%Y%m%d%H").replace(tzinfo=UTC)
        found.append(Segment(path, int(first), begun_at))
    return sorted(found, key=lambda segment: segment.first)


def drop_oldest(folder: Path, *, before: datetime | None = None) -> int:
    """Delete a log's oldest segments while it is too large or they end before that time; how many. The newest stays."""
    found = segments(folder)
    sizes = {segment.path: _size(segment.path) for segment in found}
    total, deleted = sum(sizes.values()), 0
    for segment in found[:-1]:
        is_old = before is not None and modified(segment.path) < before
        if not is_old and total <= DEPLOYMENT_LOG_BYTES:
            break
        segment.path.unlink(missing_ok=True)
        total -= sizes[segment.path]
        deleted += 1
    return deleted


def modified(path: Path) -> datetime:
    """When a file was last written to; long ago for one that has gone."""
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except FileNotFoundError:
        return datetime.min.replace(tzinfo=UTC)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def last_cursor(folder: Path) -> int:
    """The cursor of the newest line; 0 when there is none."""
    last = next(backwards(folder), None)
    return int(last["cursor"]) if last else 0


def forwards(folder: Path, *, after: int) -> Iterator[Record]:
    """Lines behind the cursor `after`, oldest first."""
    found = segments(folder)
    begin = max(0, bisect_right([segment.first for segment in found], after + 1) - 1)
    for segment in found[begin:]:
        with _mapped(segment.path) as data:
            end = data.rfind(b"\n") + 1
            position = _place_of(data, after + 1, end)
            while position < end:
                stop = data.find(b"\n", position)
                yield orjson.loads(data[position:stop])
                position = stop + 1


def backwards(folder: Path, *, before: int | None = None) -> Iterator[Record]:
    """Lines in front of the cursor `before` (all when None), newest first."""
    for segment in reversed(segments(folder)):
        if before is not None and segment.first >= before:
            continue
        with _mapped(segment.path) as data:
            end = data.rfind(b"\n") + 1
            if before is not None:
                end = _place_of(data, before, end)
            while end > 0:
                begin = data.rfind(b"\n", 0, end - 1) + 1
                yield orjson.loads(data[begin : end - 1])
                end = begin


@contextlib.contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap | bytes]:
    """The file's bytes as of now; nothing when it is empty, or was removed because of its age."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield b""
        return
    try:
        size = os.fstat(file).st_size
        if not size:
            yield b""
            return
        with mmap.mmap(file, size, access=mmap.ACCESS_READ) as data:
            yield data
    finally:
        os.close(file)


def _place_of(data: mmap.mmap | bytes, cursor: int, end: int) -> int:
    """Where the first line with this cursor or a later one begins; `end` when there is none."""
    low, high = 0, end
    while low < high:
        middle = data.rfind(b"\n", low, (low + high) // 2) + 1 or low
        stop = data.find(b"\n", middle)
        if _cursor_of(data, middle) < cursor:
            low = stop + 1
        else:
            high = middle
    return low


def _cursor_of(data: mmap.mmap | bytes, begin: int) -> int:
    comma = data.find(b",", begin)
    return int(data[begin + len(_PREFIX) : comma])


def _whole_size(file: int) -> int:
    """The size without what a crash left of a line."""
    size = os.fstat(file).st_size
    while size:
        begin = max(0, size - (1 << 16))
        block = os.pread(file, size - begin, begin)
        found = block.rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        size = begin
    return 0


def _text(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
