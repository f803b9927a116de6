"""Consoles that a runtime hands over as they come: every line once and in order, whoever ends meanwhile."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from deployments.runtimes import LogLine, RuntimeAway
from monitoring import segments
from monitoring.follow import LogFollower

NAME = "iris.blue.7.1.0"
MOMENT = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
PATIENCE_SECONDS = 10


class Engine:
    """A runtime reduced to consoles: keeps lines, follows them, can go away."""

    def __init__(self) -> None:
        self.lines: list[LogLine] = []
        self.names = [NAME]
        self.is_away = False
        self.begun_at: list[datetime] = []
        self._news: list[queue.Queue[LogLine | None]] = []

    def say(self, *texts: str, at: datetime = MOMENT) -> None:
        for text in texts:
            line = LogLine(at, text)
            self.lines.append(line)
            for news in self._news:
                news.put(line)

    def end(self) -> None:
        """As when the container ends: every following ends with it."""
        for news in self._news:
            news.put(None)
        self._news.clear()

    def owned(self) -> Iterator[str]:
        return iter(self.names)

    def follow(self, name: str, *, since: datetime) -> Iterator[LogLine]:
        if self.is_away:
            raise RuntimeAway("The engine does not answer.")
        if name not in self.names:
            return
        self.begun_at.append(since)
        news: queue.Queue[LogLine | None] = queue.Queue()
        for line in self.lines:
            news.put(line)
        self._news.append(news)
        while (found := news.get()) is not None:
            if found.time >= since:
                yield found


class Machine:
    def __init__(self, folder: Path) -> None:
        self.root = folder / "segments"
        self.engine = Engine()
        self._instances = folder / "instances"

    def follower(self) -> LogFollower:
        return LogFollower(
            self.root,
            self._instances,
            ring=lambda *_: None,
            runtimes=lambda: [self.engine],  # type: ignore[list-item]
        )

    def texts(self) -> list[str]:
        return [
            record["text"] for record in segments.forwards(self.root / "iris" / "blue.7", after=0)
        ]


def until(follower: LogFollower, is_done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_done():
        assert time.monotonic() < deadline, "lines did not come"
        if not follower.step():
            time.sleep(0.01)


def test_ten_thousand_lines_in_a_burst_come_once_each_and_in_order(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    expected = [str(number) for number in range(10_000)]
    with closing(machine.follower()) as follower:
        until(follower, lambda: bool(machine.engine.begun_at))
        for number in range(0, 10_000, 100):
            at = MOMENT + timedelta(microseconds=number)
            machine.engine.say(*expected[number : number + 100], at=at)
        until(follower, lambda: len(machine.texts()) >= 10_000)
    assert machine.texts() == expected


def test_a_new_follower_goes_on_in_the_middle_of_a_moment(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.engine.say("one", "two")
    with closing(machine.follower()) as follower:
        until(follower, lambda: machine.texts() == ["one", "two"])
    machine.engine.end()
    machine.engine.say("three")
    machine.engine.say("four", at=MOMENT + timedelta(seconds=1))
    with closing(machine.follower()) as follower:
        until(follower, lambda: len(machine.texts()) >= 4)
    assert machine.texts() == ["one", "two", "three", "four"]


def test_an_engine_that_was_away_is_followed_again_from_where_it_was(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.engine.say("one")
    with closing(machine.follower()) as follower:
        until(follower, lambda: machine.texts() == ["one"])
        machine.engine.is_away = True
        machine.engine.end()
        machine.engine.say("two")
        for _ in range(20):
            follower.step()
        machine.engine.is_away = False
        until(follower, lambda: len(machine.texts()) >= 2)
    assert machine.texts() == ["one", "two"]
    assert machine.engine.begun_at[-1] == MOMENT


def test_what_came_last_is_kept_although_the_instance_is_gone(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.engine.say("one")
    with closing(machine.follower()) as follower:
        until(follower, lambda: machine.texts() == ["one"])
        machine.engine.say("last words")
        machine.engine.names.clear()
        machine.engine.end()
        until(follower, lambda: not follower.folders())
    assert machine.texts() == ["one", "last words"]


def test_a_line_a_little_out_of_order_is_not_lost(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    with closing(machine.follower()) as follower:
        until(follower, lambda: bool(machine.engine.begun_at))
        machine.engine.say("error", at=MOMENT + timedelta(microseconds=2))
        machine.engine.say("output", at=MOMENT)
        until(follower, lambda: len(machine.texts()) >= 2)
    assert machine.texts() == ["error", "output"]
