"""Keeping a program running, with small programs in place of large ones."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from portal import processes
from portal.processes import Identity, Keeper, Program, Run, end_leftovers, last_line


def make_program(script: str, *, name: str = "thing") -> Program:
    return Program(
        name=name,
        argv=(sys.executable, "-c", script),
        cwd=Path("/"),
        is_ready=lambda: True,
        stop_seconds=1,
    )


SLEEP = "import time; time.sleep(60)"


def test_what_dies_is_started_again_with_growing_pauses(tmp_path: Path) -> None:
    events: list[str] = []
    keeper = Keeper(make_program("raise SystemExit(3)"), tmp_path, events.append)
    keeper.want()
    pauses = []
    for _ in range(3):
        wait_for(lambda: keeper.run is None or not keeper.run.is_alive)
        keeper.tick()
        pauses.append(keeper.next_start - time.monotonic())
        keeper.next_start = 0
        keeper.tick()
    assert pauses == sorted(pauses)
    assert events[0].startswith("thing ended with exit code 3; it is started again.")
    keeper.kill()


def test_a_pause_never_grows_beyond_ten_seconds(tmp_path: Path) -> None:
    keeper = Keeper(make_program(SLEEP), tmp_path, lambda _: None)
    keeper.deaths = 50
    keeper.is_wanted = True
    keeper.run = Run.start(keeper.program, keeper.log)
    keeper.run.signal(signal.SIGKILL)
    wait_for(lambda: not keeper.is_running)
    keeper.tick()
    assert keeper.next_start - time.monotonic() <= processes.LONGEST_PAUSE_SECONDS


def test_what_is_asked_to_stop_is_not_started_again(tmp_path: Path) -> None:
    keeper = Keeper(make_program(SLEEP), tmp_path, lambda _: None)
    keeper.want()
    keeper.ask_to_stop()
    wait_for(lambda: not keeper.is_running)
    keeper.tick()
    assert keeper.run is None
    assert keeper.restarts == 0


def test_whatever_a_dead_program_started_dies_with_it(tmp_path: Path) -> None:
    parent = (
        "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', "
        f"'{SLEEP}']); print(child.pid, flush=True); child.wait()"
    )
    keeper = Keeper(make_program(parent), tmp_path, lambda _: None)
    keeper.want()
    wait_for(lambda: bool(last_line(keeper.log)))
    child = Identity.of(int(last_line(keeper.log)))
    assert child is not None and keeper.run is not None
    keeper.run.signal(signal.SIGKILL)
    wait_for(lambda: not keeper.is_running)
    keeper.tick()
    wait_for(lambda: not child.is_alive)
    keeper.kill()


def test_a_child_dies_when_its_supervisor_does(tmp_path: Path) -> None:
    supervisor = (
        "import sys, time; from pathlib import Path; from portal.processes import *\n"
        f"p = Program('c', (sys.executable, '-c', {SLEEP!r}), Path('/'), lambda: True)\n"
        f"print(Run.start(p, Path({str(tmp_path / 'c.log')!r})).identity.pid, flush=True)\n"
        "time.sleep(60)"
    )
    program = Program(
        "s", (sys.executable, "-c", supervisor), Path(__file__).parents[2], lambda: True
    )
    run = Run.start(program, tmp_path / "s.log")
    wait_for(lambda: bool(last_line(tmp_path / "s.log")))
    child = Identity.of(int(last_line(tmp_path / "s.log")))
    assert child is not None
    run.signal(signal.SIGKILL)
    wait_for(lambda: not run.is_alive and not child.is_alive)


def test_leftovers_of_a_killed_supervisor_are_ended(tmp_path: Path) -> None:
    run = Run.start(make_program(SLEEP), tmp_path / "thing.log")
    entry = {
        "pid": run.identity.pid,
        "started_at": run.identity.started_at,
        "stop_signal": int(signal.SIGTERM),
        "stop_seconds": 5.0,
    }
    end_leftovers({"thing": entry})
    assert not run.is_alive


def test_a_number_that_belongs_to_another_process_now_is_left_alone(tmp_path: Path) -> None:
    run = Run.start(make_program(SLEEP), tmp_path / "thing.log")
    entry = {
        "pid": run.identity.pid,
        "started_at": run.identity.started_at - 1000,
        "stop_signal": int(signal.SIGTERM),
        "stop_seconds": 0.1,
    }
    end_leftovers({"another": entry})
    assert run.is_alive
    run.kill_group()


def test_a_program_that_cannot_be_executed_says_so_in_its_log(tmp_path: Path) -> None:
    program = Program("gone", ("/nowhere/program",), Path("/"), lambda: True)
    run = Run.start(program, tmp_path / "gone.log")
    wait_for(lambda: not run.is_alive)
    assert last_line(tmp_path / "gone.log") == (
        "/nowhere/program cannot be executed: No such file or directory"
    )


def test_a_large_log_is_moved_aside_and_its_writer_goes_on(tmp_path: Path) -> None:
    keeper = Keeper(make_program(SLEEP), tmp_path, lambda _: None)
    with keeper.log.open("ab") as writer:
        os.posix_fallocate(writer.fileno(), 0, processes.LOG_BYTES)
        keeper.rotate_log()
        writer.write(b"after\n")
    assert keeper.log.read_bytes() == b"after\n"
    assert Path(f"{keeper.log}.1").stat().st_size == processes.LOG_BYTES


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)
