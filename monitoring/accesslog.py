"""Counts the gateway's access log into the rollups, every row once: the place reached moves with the counts.

Rows go to `access.log`. Past a size it is renamed to `access.log.<time>` and Envoy is told to open a new one; a
renamed file is read to its end before the next, and deleted only when it has been counted.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from django.db import transaction
from django.utils import timezone

from monitoring import tailing
from monitoring.models import Follower
from monitoring.rollups import TrafficKey, TrafficSums, add_traffic
from monitoring.tailing import Mark

logger = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20
REOPEN_SECONDS = 5.0
REOPEN_REQUEST = (
    b"POST /reopen_logs HTTP/1.1\r\nhost: envoy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
)


class GatewaySilent(Exception):
    """Envoy could not be told to open a new log. It does so when it starts, so nothing is lost."""


@dataclass(frozen=True)
class Counted:
    """What one chunk of the log holds."""

    minutes: dict[TrafficKey, TrafficSums]
    rows: int
    unreadable_rows: int


class AccessLog:
    """The follower of one access log. Belongs to one thread."""

    def __init__(
        self,
        path: Path,
        *,
        reopen: Callable[[], None],
        rotate_bytes: int = 256 * 1024**2,
        keep_files: int = 3,
    ) -> None:
        self.path = path
        self.rotate_bytes = rotate_bytes
        self.keep_files = keep_files
        self._reopen = reopen
        self._file: int | None = None
        self._mark: Mark | None = None

    def step(self) -> bool:
        """Count one more chunk; False when there is nothing to count at the moment."""
        try:
            return self._step()
        except BaseException:
            # What is in memory may be ahead of the database: begin again from there.
            self.close()
            raise

    def _step(self) -> bool:
        if self._file is None and not self._find():
            return False
        assert self._file is not None and self._mark is not None
        # Asked before reading: once a new file is there, the gateway writes no more into this one.
        is_left = tailing.inode_of(self.path) not in (None, self._mark.inode)
        data = tailing.read_lines(self._file, self._mark.offset, limit=CHUNK_BYTES)
        if not data and is_left:
            data = os.pread(self._file, CHUNK_BYTES, self._mark.offset)
            if not data:
                return self._go_on()
        if not data:
            if os.fstat(self._file).st_size < self._mark.offset:
                self.close()  # Somebody has emptied it.
            return False
        return self._settle(count(data), tailing.mark(self._file, self._mark.offset + len(data)))

    def rotate(self) -> None:
        """Put a log that has grown too large aside, and delete the oldest that are counted."""
        if tailing.inode_of(self.path) is None:
            # Renamed by a predecessor that died before it could tell the gateway.
            if self._aside():
                self._reopen()
            return
        if self.path.stat().st_size >= self.rotate_bytes:
            stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
            self.path.rename(self.path.with_name(f"{self.path.name}.{stamp}"))
            self._reopen()
        self._delete_counted()

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
        self._file = self._mark = None

    def _settle(self, counted: Counted, reached: Mark) -> bool:
        """Book the counts and the place in one transaction; start over when another follower was faster."""
        with transaction.atomic():
            row, _ = Follower.objects.select_for_update().get_or_create(name=self.path.name)
            if _mark_of(row) != self._mark and row.inode:
                self.close()
                return True
            add_traffic(counted.minutes)
            row.inode, row.offset, row.tail = reached.inode, reached.offset, reached.tail
            row.rows += counted.rows
            row.unreadable_rows += counted.unreadable_rows
            row.updated_at = timezone.now()
            row.save()
        self._mark = reached
        return True

    def _go_on(self) -> bool:
        """Leave a file that is finished for the next one."""
        assert self._file is not None and self._mark is not None
        files = self._files()
        inodes = [tailing.inode_of(path) for path in files]
        here = inodes.index(self._mark.inode) if self._mark.inode in inodes else -1
        if here + 1 >= len(files):
            return False
        return self._enter(files[here + 1]) and self._settle(Counted({}, 0, 0), self._here())

    def _find(self) -> bool:
        """Open the file that the place reached is in."""
        row = Follower.objects.filter(name=self.path.name).first() or Follower()
        place = _mark_of(row)
        files = self._files()
        for path in files:
            file = tailing.open_for_reading(path)
            if file is None:
                continue
            if tailing.fits(file, place):
                self._file, self._mark = file, place
                return True
            os.close(file)
        if row.inode:
            logger.warning("the access log that was being counted is gone: %s", self.path)
            # A file put aside before the last count has been counted; the one written to has not.
            files = [
                path for path in files if path == self.path or _modified(path) > row.updated_at
            ]
        return bool(files) and self._enter(files[0]) and self._adopt(place)

    def _adopt(self, place: Mark) -> bool:
        """Make the beginning of the file just entered the place reached, in the database too."""
        here, self._mark = self._here(), place
        return self._settle(Counted({}, 0, 0), here)

    def _enter(self, path: Path) -> bool:
        file = tailing.open_for_reading(path)
        if file is None:
            return False
        before = self._file
        if before is not None:
            os.close(before)
        self._file = file
        return True

    def _here(self) -> Mark:
        assert self._file is not None
        return tailing.mark(self._file, 0)

    def _files(self) -> list[Path]:
        """All there are, oldest first."""
        return self._aside() + ([self.path] if self.path.exists() else [])

    def _aside(self) -> list[Path]:
        return sorted(self.path.parent.glob(f"{self.path.name}.*"))

    def _delete_counted(self) -> None:
        files = self._files()
        inodes = [tailing.inode_of(path) for path in files]
        if self._mark is None or self._mark.inode not in inodes:
            return
        here = inodes.index(self._mark.inode)
        for path in files[: max(0, min(here, len(files) - 1 - self.keep_files))]:
            path.unlink(missing_ok=True)


def count(data: bytes) -> Counted:
    """Sum up rows by minute, endpoint, deployment and outcome."""
    found: dict[tuple[Any, ...], TrafficSums] = {}
    rows = unreadable = 0
    for line in data.splitlines():
        row = _parse(line)
        if row is None:
            unreadable += 1
            continue
        rows += 1
        key = (
            row["ts"][:16],
            row.get("endpoint"),
            row.get("cluster"),
            row.get("code"),
            row.get("model_code"),
        )
        sums = found.get(key)
        if sums is None:
            sums = found[key] = TrafficSums()
        _add(sums, row)
    minutes: dict[TrafficKey, TrafficSums] = {}
    for (minute, endpoint, cluster, code, model_code), sums in found.items():
        key = TrafficKey(
            at=datetime.fromisoformat(minute).replace(tzinfo=UTC),
            endpoint_name=_text(endpoint)[:32],
            deployment_name=_text(cluster).partition("__")[2][:32],
            code=_status(code),
            model_code=_status(model_code),
        )
        minutes.setdefault(key, TrafficSums()).merge(sums)
    return Counted(minutes, rows, unreadable)


def reopen_logs(admin_socket: Path) -> None:
    """Have Envoy open its log anew. Raises `GatewaySilent`."""
    try:
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(REOPEN_SECONDS)
            admin.connect(str(admin_socket))
            admin.sendall(REOPEN_REQUEST)
            answer = admin.recv(64)
    except OSError as error:
        raise GatewaySilent(f"Envoy does not answer on {admin_socket}: {error}") from error
    if b" 200 " not in answer:
        raise GatewaySilent(f"Envoy does not open its log anew: {answer!r}")


def _add(sums: TrafficSums, row: dict[str, Any]) -> None:
    model_us = _whole(row.get("upstream_us"))
    if not row.get("code"):
        # The client went away before there was an answer: that is no latency of ours.
        sums.requests += 1
        sums.request_bytes += _whole(row.get("req_bytes"))
        return
    total = row.get("total_us")
    sums.add_request(
        request_bytes=_whole(row.get("req_bytes")),
        response_bytes=_whole(row.get("resp_bytes")),
        # Without an end the client left in the middle of the answer.
        latency_us=_whole(row.get("queue_us")) + model_us if total is None else _whole(total),
        model_us=model_us,
    )


def _parse(line: bytes) -> dict[str, Any] | None:
    """A row; of a line in which a row was cut off by a crash, the one after it."""
    for text in _readings(line):
        try:
            row = orjson.loads(text)
            datetime.fromisoformat(row["ts"][:16])
        except (ValueError, TypeError, KeyError):
            continue
        return dict(row)
    return None


def _readings(line: bytes) -> Iterator[bytes]:
    yield line
    begin = line.find(b'{"', 1)
    while begin > 0:
        yield line[begin:]
        begin = line.find(b'{"', begin + 1)


def _whole(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _text(value: object) -> str:
    return value if isinstance(value, str) and value != "-" else ""


def _status(value: object) -> int:
    """An HTTP status; the model's own comes from a header that anyone's code may fill with anything."""
    try:
        number = int(value) if isinstance(value, int | str) else 0
    except ValueError:
        return 0
    return number if 100 <= number <= 999 else 0


def _mark_of(row: Follower) -> Mark:
    return Mark(row.inode, row.offset, row.tail)


def _modified(path: Path) -> datetime:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except FileNotFoundError:
        return datetime.min.replace(tzinfo=UTC)
