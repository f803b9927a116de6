"""Consoles that a runtime hands over line by line as they come: one thread each waits for them.

Asking again and again for what is new would make an engine read its whole file each time.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from deployments.runtimes import FollowsLogs, LogLine
from monitoring.consoles import LINES_AT_ONCE, Reader
from monitoring.segments import Entry, Position
from monitoring.tailing import Mark

WAITING_LINES = 4 * LINES_AT_ONCE
HAND_OVER_SECONDS = 1.0
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 2.0
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class StreamedConsole:
    """The console of an instance whose runtime follows it.

    The place reached is the latest time of a line, and how many lines of that very time have been taken.
    """

    def __init__(
        self,
        runtime: FollowsLogs,
        name: str,
        position: Position | None,
        is_there: Callable[[str], bool],
    ) -> None:
        self._runtime = runtime
        self._name = name
        self._is_there = is_there
        self._reader = Reader(position)
        reached = position.reached if position else Mark()
        self._since = datetime.fromisoformat(reached.tail) if reached.tail else LONG_AGO
        self._taken = reached.offset
        self._stream: _Stream | None = None
        self._pause = FIRST_PAUSE_SECONDS
        self._again_at = 0.0

    def read(self) -> list[Entry]:
        self._keep_following()
        assert self._stream is not None
        lines = self._stream.take()
        if lines:
            self._pause = FIRST_PAUSE_SECONDS
        return [self._entry(line) for line in lines]

    def has_ended(self) -> bool:
        stream = self._stream
        return not self._is_there(self._name) and (stream is None or stream.is_over)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()

    def _keep_following(self) -> None:
        """Begin, and begin again where a stream ended: the instance may have been started once more."""
        if self._stream is not None and not self._stream.is_over:
            return
        if self._stream is not None:
            if time.monotonic() < self._again_at or not self._is_there(self._name):
                return
            self._again_at = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        self._stream = _Stream(self._runtime, self._name, since=self._since, skip=self._taken)

    def _entry(self, line: LogLine) -> Entry:
        if line.time > self._since:
            self._since, self._taken = line.time, 0
        # Two streams may come a little out of order: a line from before is one of those that are done with, too.
        self._taken += line.time == self._since
        reached = Mark(0, self._taken, self._since.isoformat())
        entry = self._reader.entry(line.text.encode(), reached)
        return entry._replace(time=line.time)


class _Stream:
    """One following, from its begin until the instance ends or its runtime goes away."""

    def __init__(self, runtime: FollowsLogs, name: str, *, since: datetime, skip: int) -> None:
        self._lines: queue.Queue[LogLine] = queue.Queue(WAITING_LINES)
        self._is_closed = threading.Event()
        self._thread = threading.Thread(
            target=self._pump,
            args=(runtime, name, since, skip),
            name=f"console of {name}",
            daemon=True,
        )
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether nothing comes any more and everything was taken."""
        return not self._thread.is_alive() and self._lines.empty()

    def take(self) -> list[LogLine]:
        found: list[LogLine] = []
        while len(found) < LINES_AT_ONCE:
            try:
                found.append(self._lines.get_nowait())
            except queue.Empty:
                break
        return found

    def close(self) -> None:
        """The thread ends with its next line, or with the process."""
        self._is_closed.set()

    def _pump(self, runtime: FollowsLogs, name: str, since: datetime, skip: int) -> None:
        try:
            for line in runtime.follow(name, since=since):
                if skip and line.time == since:
                    skip -= 1
                elif not self._hand_over(line):
                    return
        except OSError:
            # Its runtime is away, and says so itself; the next following begins where this one got to.
            return

    def _hand_over(self, line: LogLine) -> bool:
        while not self._is_closed.is_set():
            try:
                self._lines.put(line, timeout=HAND_OVER_SECONDS)
            except queue.Full:
                continue
            return True
        return False
