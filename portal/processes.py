"""Child processes: what to run, one run of it, and its restarts."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from portal import launch

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0
GOOD_RUN_SECONDS = 60.0
BURIAL_SECONDS = 5.0
LOG_BYTES = 10 * 1024 * 1024
LOG_FILES_KEPT = 3
MARK = "PORTICO_PROGRAM"
"""Environment variable of every child: its name. With the process group it tells our orphans from others."""


@dataclass(frozen=True)
class Account:
    """The operating-system user a program runs as."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Program:
    """What to run, and how it is asked to end."""

    name: str
    argv: tuple[str, ...]
    cwd: Path
    is_ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 10.0
    """How long it may take to end by itself before it is killed."""
    death_signal: int = signal.SIGKILL
    """What it gets when the supervisor dies, however that dies."""
    inherited_files: tuple[int, ...] = ()


@dataclass(frozen=True)
class Identity:
    """One process for ever: its number alone may go to another one day."""

    pid: int
    started_at: float

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """None when no such process runs."""
        try:
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            return cls(pid, process.create_time())
        except psutil.Error:
            return None

    @property
    def is_alive(self) -> bool:
        now = Identity.of(self.pid)
        # The kernel counts in hundredths of a second, and the clock may be set meanwhile.
        return now is not None and abs(now.started_at - self.started_at) < 2.0


class Run:
    """One life of a program: our child, or one that a killed supervisor left."""

    def __init__(self, identity: Identity, child: subprocess.Popen[bytes] | None = None) -> None:
        self.identity = identity
        self.child = child
        self.since = time.monotonic()

    @classmethod
    def start(cls, program: Program, log: Path) -> Run:
        """Start it in a session of its own, with its output appended to `log`. Main thread only.

        The death signal follows the thread that started the child, so that must be the one that lives longest.
        """
        account = program.account
        command = [
            sys.executable,
            "-I",
            "-S",
            str(Path(launch.__file__).resolve()),
            str(os.getpid()),
            str(int(program.death_signal)),
            str(account.uid if account else launch.KEEP_USER),
            str(account.gid if account else launch.KEEP_USER),
            *program.argv,
        ]
        with log.open("ab") as output:
            child = subprocess.Popen(
                command,
                cwd=program.cwd,
                env={**os.environ, **program.environment, MARK: program.name},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=program.inherited_files,
            )
        identity = Identity.of(child.pid) or Identity(child.pid, time.time())
        return cls(identity, child)

    @property
    def is_alive(self) -> bool:
        if self.child is not None:
            return self.child.poll() is None
        return self.identity.is_alive

    def signal(self, number: int) -> None:
        """Send a signal to the program itself; it may be gone already."""
        if self.is_alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.identity.pid, number)

    def kill_group(self) -> None:
        """Kill the program and whatever it started, and bury it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.identity.pid, signal.SIGKILL)
        if self.child is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.child.wait(BURIAL_SECONDS)

    def how_it_ended(self) -> str:
        """For a sentence: `was killed by SIGKILL`, `ended with exit code 3`."""
        code = self.child.returncode if self.child is not None else None
        if code is None:
            return "ended"
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"was killed by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"


def pause_seconds(deaths: int) -> float:
    """How long to wait before the next start after so many deaths in a row."""
    return float(min(FIRST_PAUSE_SECONDS * 2 ** min(deaths, 30), LONGEST_PAUSE_SECONDS))


class Keeper:
    """Keeps one program running: starts it, and starts it again with growing pauses when it dies."""

    def __init__(self, program: Program, logs: Path, report: Callable[[str], None]) -> None:
        self.program = program
        self.log = logs / f"{program.name}.log"
        self.report = report
        self.run: Run | None = None
        self.is_wanted = False
        self.deaths = 0
        """Since it was last good for a minute."""
        self.restarts = 0
        self.next_start = 0.0

    def want(self) -> None:
        """Have it running from now on."""
        self.is_wanted = True
        self.tick()

    def try_once(self) -> None:
        """Start it, and leave it dead when it dies: for programs whose first start is still in doubt."""
        self.want()
        self.is_wanted = False

    def tick(self) -> None:
        """Notice a death, and start again when the pause is over; called several times a second."""
        now = time.monotonic()
        if self.run is not None:
            if self.run.is_alive:
                if self.deaths and now - self.run.since > GOOD_RUN_SECONDS:
                    self.deaths = 0
                return
            self._bury(now)
        if self.is_wanted and self.run is None and now >= self.next_start:
            try:
                self.run = Run.start(self.program, self.log)
            except OSError as error:  # no memory for a process, no room for its log
                self._pause(now)
                self.report(f"{self.program.name} cannot be started: {error}. It is tried again.")

    def _bury(self, now: float) -> None:
        assert self.run is not None
        how = self.run.how_it_ended()
        self.run.kill_group()
        self.run = None
        if self.is_wanted:
            self._pause(now)
            self.restarts += 1
            self.report(f"{self.program.name} {how}; it is started again. Its log: {self.log}")

    def _pause(self, now: float) -> None:
        self.next_start = now + pause_seconds(self.deaths)
        self.deaths += 1

    @property
    def is_running(self) -> bool:
        return self.run is not None and self.run.is_alive

    @property
    def is_ready(self) -> bool:
        return self.is_running and self.program.is_ready()

    def ask_to_stop(self) -> None:
        """No further starts, and the stop signal; `is_running` tells when it is over."""
        self.is_wanted = False
        if self.run is not None:
            self.run.signal(self.program.stop_signal)

    def kill(self) -> None:
        """The end for whatever is left of it."""
        self.is_wanted = False
        if self.run is not None:
            self.run.kill_group()

    def last_words(self) -> str:
        """The last line of its log that says something, for a sentence about why it does not start."""
        return last_line(self.log)

    def rotate_log(self) -> None:
        """Move the log aside when it is large. Its writer keeps the file open, so it is copied and emptied."""
        with contextlib.suppress(OSError):
            if self.log.stat().st_size < LOG_BYTES:
                return
            for number in range(LOG_FILES_KEPT - 1, 0, -1):
                older = Path(f"{self.log}.{number}")
                if older.exists():
                    older.replace(f"{self.log}.{number + 1}")
            shutil.copyfile(self.log, f"{self.log}.1")
            os.truncate(self.log, 0)


def last_line(log: Path, *, holding: tuple[str, ...] = ()) -> str:
    """The last line that is not blank (and holds one of the words, if given); empty when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 20_000))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    for line in reversed(lines):
        if line.strip() and (not holding or any(word in line for word in holding)):
            return line.strip()[:300]
    return ""


def end_leftovers(programs: Mapping[str, Mapping[str, Any]]) -> None:
    """End what a killed supervisor left, by what it last wrote about itself.

    Most has died with it. PostgreSQL may still be writing out its data: it is waited for.
    """
    for name, entry in programs.items():
        run = Run(Identity(entry["pid"], entry["started_at"]))
        ask = signal.Signals(entry["stop_signal"])
        run.signal(ask)
        until = time.monotonic() + entry["stop_seconds"]
        while run.is_alive and time.monotonic() < until:
            time.sleep(0.05)
        run.signal(signal.SIGKILL)
        _end_orphans(entry["pid"], name)


def _end_orphans(group: int, name: str) -> None:
    """Kill what is left of a process group; its number may be another's by now, so the mark must be there too."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getpgid(process.pid) == group and process.environ().get(MARK) == name:
                process.kill()
