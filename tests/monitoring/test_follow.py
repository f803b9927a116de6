"""Every line an instance prints is kept once, in order, whatever dies meanwhile."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deployments.runtimes import InstanceSpec
from deployments.runtimes.fake import FakeRuntime
from deployments.runtimes.launcher import rotate_console
from monitoring import consoles, segments
from monitoring.follow import LogFollower, owner_of
from monitoring.segments import SEGMENT_BYTES

NAME = "iris.blue.7.1.0"
STAMP = "2026-03-04 05:06:07,{:03d} {} [12] azmlinfsrv.print - {}\n"


class Machine:
    """Instances that print, and the folders of their followers."""

    def __init__(self, folder: Path) -> None:
        self.instances = folder / "instances"
        self.root = folder / "segments"
        self.rings: list[tuple[int, int]] = []
        self.instances.mkdir()

    def say(self, text: str, *, name: str = NAME) -> None:
        (self.instances / name).mkdir(exist_ok=True)
        with (self.instances / name / "console.log").open("a") as console:
            console.write(text)

    def follower(self) -> LogFollower:
        return LogFollower(self.root, self.instances, ring=lambda *ring: self.rings.append(ring))

    def follow(self) -> None:
        """A whole life of a follower that ends well."""
        with closing(self.follower()) as follower:
            exhaust(follower)

    @property
    def folder(self) -> Path:
        return self.root / "iris" / "blue.7"

    def records(self) -> list[segments.Record]:
        return list(segments.forwards(self.folder, after=0))

    def texts(self) -> list[str]:
        return [record["text"] for record in self.records()]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def exhaust(follower: LogFollower) -> None:
    while follower.step():
        pass


def test_an_instances_name_tells_its_deployment() -> None:
    owner = owner_of(NAME)
    assert owner is not None
    assert (owner.endpoint_name, owner.deployment_name, owner.deployment_id) == ("iris", "blue", 7)
    assert owner_of("stray") is None


def test_lines_get_their_time_and_level_and_those_of_a_traceback_its_first_ones(
    machine: Machine,
) -> None:
    machine.say(STAMP.format(1, "I", "before"))
    machine.say(STAMP.format(2, "E", "it broke"))
    machine.say('Traceback (most recent call last):\n  File "score.py", line 1\nValueError: x\n')
    machine.say(STAMP.format(3, "W", "after"))
    machine.follow()
    assert [(r["time"][20:23], r["level"], r["continues"]) for r in machine.records()] == [
        ("001", "info", False),
        ("002", "error", False),
        ("002", "error", True),
        ("002", "error", True),
        ("002", "error", True),
        ("003", "warning", False),
    ]


def test_cursors_are_counted_without_a_gap_over_all_instances(machine: Machine) -> None:
    for number in range(5):
        machine.say(f"{number}\n")
        machine.say(f"{number}\n", name="iris.blue.7.1.1")
    machine.follow()
    assert [record["cursor"] for record in machine.records()] == list(range(1, 11))
    assert machine.rings[-1] == (7, 10)


def test_a_new_follower_goes_on_where_the_last_one_stopped(machine: Machine) -> None:
    machine.say("one\n")
    machine.follow()
    machine.say("two\n")
    machine.follow()
    machine.follow()
    assert machine.texts() == ["one", "two"]


def test_what_is_printed_last_is_kept_although_the_instance_is_removed(machine: Machine) -> None:
    machine.say("one\n")
    with closing(machine.follower()) as follower:
        exhaust(follower)
        machine.say("two\nhalf")
        shutil.rmtree(machine.instances / NAME)
        exhaust(follower)
    assert machine.texts() == ["one", "two", "half"]


def test_an_instance_of_the_same_name_is_followed_from_its_beginning(machine: Machine) -> None:
    machine.say("first life, line one\n")
    machine.follow()
    shutil.rmtree(machine.instances / NAME)
    machine.say("second life, line 1, and it is longer\n")
    machine.follow()
    assert machine.texts() == ["first life, line one", "second life, line 1, and it is longer"]


def test_half_a_line_waits_for_its_other_half_but_not_for_ever(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.say("ha")
    with closing(machine.follower()) as follower:
        exhaust(follower)
        assert machine.texts() == []
        machine.say("lf\nloading: 50 %")
        exhaust(follower)
        assert machine.texts() == ["half"]
        monkeypatch.setattr(consoles, "UNFINISHED_SECONDS", 0.0)
        exhaust(follower)
    assert machine.texts() == ["half", "loading: 50 %"]


def test_a_line_without_end_is_cut(machine: Machine) -> None:
    machine.say("x" * (consoles.LINE_BYTES * 2 + 5) + "\n")
    machine.follow()
    assert [len(text) for text in machine.texts()] == [consoles.LINE_BYTES] * 2 + [5]


def test_lines_that_were_moved_to_make_room_are_still_read(machine: Machine) -> None:
    machine.say("early\n")
    machine.follow()
    expected = ["early"]
    folder = str(machine.instances / NAME)
    for number in range(2000):
        machine.say(f"line {number}\n")
        expected.append(f"line {number}")
    assert rotate_console(folder, 6000)
    machine.say("late\n")
    machine.follow()
    assert machine.texts() == [*expected, "late"]


def test_lines_that_came_too_fast_are_owned_up_to(machine: Machine) -> None:
    machine.say("early\n")
    machine.follow()
    folder = machine.instances / NAME
    machine.say("lost\n" * 400)
    assert rotate_console(str(folder), 100)
    machine.say("moved\n" * 400)
    assert rotate_console(str(folder), 100)
    (folder / "console.log.1").write_text("moved\n")
    machine.follow()
    assert machine.texts()[0] == "early"
    assert "bytes of this log are missing" in machine.texts()[1]
    assert machine.texts()[-1] == "moved"


def test_output_that_is_no_text_harms_nobody(machine: Machine) -> None:
    (machine.instances / NAME).mkdir()
    (machine.instances / NAME / "console.log").write_bytes(b"\xff\x00\xfe\n\n\r\nok\n")
    machine.follow()
    machine.follow()
    assert machine.texts()[1:] == ["", "", "ok"]


def test_a_line_that_a_crash_cut_off_is_written_again(machine: Machine) -> None:
    machine.say("one\ntwo\n")
    machine.follow()
    (newest,) = segments.segments(machine.folder)
    whole = newest.path.read_bytes()
    newest.path.write_bytes(whole[:-20])
    (machine.folder / "positions.json").unlink()
    machine.follow()
    assert newest.path.read_bytes() == whole


def test_a_full_segment_is_followed_by_another(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SEGMENT_BYTES > 1000
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 1000)
    for number in range(50):
        machine.say(f"{number}\n")
        machine.say(f"{number}\n", name="iris.blue.7.1.1")
        machine.follow()
    assert len(segments.segments(machine.folder)) > 5
    assert [record["cursor"] for record in machine.records()] == list(range(1, 101))
    for cursor in (0, 1, 37, 99, 100, 500):
        behind = [record["cursor"] for record in segments.forwards(machine.folder, after=cursor)]
        assert behind == list(range(cursor + 1, 101))
        ahead = [record["cursor"] for record in segments.backwards(machine.folder, before=cursor)]
        assert ahead == list(range(min(cursor, 101) - 1, 0, -1))


def test_a_console_whose_last_line_is_segments_ago_is_not_read_again(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 500)
    machine.say("quiet\n", name="iris.blue.7.1.1")
    machine.follow()
    with closing(machine.follower()) as follower:
        for number in range(50):
            machine.say(f"{number}\n")
            exhaust(follower)
    segments.segments(machine.folder)[0].path.unlink()
    machine.follow()
    assert machine.texts().count("quiet") == 0


@pytest.mark.thorough
def test_ten_thousand_lines_in_a_burst_arrive_in_order_although_the_follower_is_killed(
    machine: Machine,
) -> None:
    chance = random.Random(3)
    expected = [f"line {number}" for number in range(10_000)]
    machine.say("\n".join(expected) + "\n")
    other = [f"other {number}" for number in range(2000)]
    machine.say("\n".join(other) + "\n", name="iris.blue.7.1.1")
    for _ in range(6):
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.monitoring.follow_consoles",
                machine.root,
                machine.instances,
            ]
        )
        try:
            before = segments.last_cursor(machine.folder)
            deadline = time.monotonic() + 30
            while segments.last_cursor(machine.folder) < min(before + 400, 12_000):
                assert time.monotonic() < deadline
            time.sleep(chance.random() / 100)
        finally:
            process.kill()
            process.wait()
    machine.follow()
    texts = machine.texts()
    assert [text for text in texts if text.startswith("line")] == expected
    assert [text for text in texts if text.startswith("other")] == other
    assert [record["cursor"] for record in machine.records()] == list(range(1, 12_001))


# Consoles that the runtime keeps ----------------------------------------------------------------------


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[LogFollower], None]]:
    """Lets a follower ask the runtime at every step, and then steps until nothing is new."""
    monkeypatch.setattr("monitoring.follow.RUNTIME_POLL_SECONDS", 0.0)
    yield exhaust


def test_lines_of_one_moment_are_taken_once_each(
    machine: Machine, at_once: Callable[[LogFollower], None]
) -> None:
    runtime = FakeRuntime()
    runtime.ensure(InstanceSpec(NAME, 7, None, "", None, None))
    moment = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
    expected = []
    for number in range(9):
        runtime.say(NAME, f"{number}", time=moment + timedelta(seconds=number // 3))
        expected.append(f"{number}")
        follower = LogFollower(
            machine.root, machine.instances, ring=lambda *_: None, runtimes=lambda: [runtime]
        )
        with closing(follower):
            at_once(follower)
        assert machine.texts() == expected
    runtime.remove(NAME)
    with closing(
        LogFollower(
            machine.root, machine.instances, ring=lambda *_: None, runtimes=lambda: [runtime]
        )
    ) as follower:
        at_once(follower)
    assert machine.texts() == expected
