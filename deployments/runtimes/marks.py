"""Finds the processes of an installation by the mark in their environment, whoever started them and however it died."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MARK = "PORTICO_INSTANCE"
"""Environment variable: `<installation>/<instance name>`."""

PROC = Path("/proc")
KILL_PAUSE_SECONDS = 0.01


@dataclass(frozen=True)
class MarkedProcess:
    pid: int
    start_ticks: int
    name: str
    """The instance's."""


def marked_processes(installation: str) -> list[MarkedProcess]:
    """Every live process under the installation's mark; zombies and what we may not read are left out."""
    wanted = f"{MARK}={installation}/".encode()
    found = []
    for entry in os.scandir(PROC):
        if not entry.name.isdigit():
            continue
        name = _name_in_environment(int(entry.name), wanted)
        if name is None:
            continue
        start_ticks = start_ticks_of(int(entry.name))
        if start_ticks is not None:
            found.append(MarkedProcess(int(entry.name), start_ticks, name))
    return found


def _name_in_environment(pid: int, wanted: bytes) -> str | None:
    with contextlib.suppress(OSError):
        for variable in (PROC / str(pid) / "environ").read_bytes().split(b"\0"):
            if variable.startswith(wanted):
                return variable[len(wanted) :].decode(errors="replace")
    return None


def start_ticks_of(pid: int) -> int | None:
    """When the process started, in ticks since boot; None when it is gone or a zombie."""
    try:
        fields = (PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def is_alive(pid: int, start_ticks: int) -> bool:
    """True while that very process runs: the number alone may have gone to another."""
    return start_ticks_of(pid) == start_ticks


def kill(processes: Iterable[tuple[int, int]], *, signal_number: int = signal.SIGKILL) -> None:
    """Signal processes given as (pid, start ticks); one that has ended meanwhile is no error."""
    for pid, start_ticks in processes:
        # The descriptor pins the process, so the check after it holds until the signal.
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            try:
                if is_alive(pid, start_ticks):
                    signal.pidfd_send_signal(descriptor, signal_number)
            finally:
                os.close(descriptor)


def boot_id() -> str:
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def pause() -> None:
    time.sleep(KILL_PAUSE_SECONDS)
