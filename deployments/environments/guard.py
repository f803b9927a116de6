"""At most one builder for each environment on a machine, whatever is killed when."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from deployments.environments.process import Cancelled, DeadlinePassed, end_group

WAIT_SECONDS = 0.05


class Guard:
    """Held by one builder, who hands the locked `descriptor` to the commands it starts."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def note(self, command: int) -> None:
        """Write down the command that works for us, so that whoever finds us dead can end it."""
        _write(
            self.descriptor,
            {"builder": _identity(os.getpid()), "command": _identity(command)},
        )


@contextmanager
def hold(
    path: Path, *, deadline: float, cancel: Callable[[], bool] = lambda: False
) -> Iterator[Guard]:
    """Wait for the guard file and keep it; raises `Cancelled` or `DeadlinePassed` while waiting.

    When the last holder died and only its command lives on, the command is ended.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not _try(descriptor):
            if cancel():
                raise Cancelled
            if time.monotonic() > deadline:
                raise DeadlinePassed
            _end_orphan(descriptor)
            time.sleep(WAIT_SECONDS)
        _write(descriptor, {})
        yield Guard(descriptor)
    finally:
        # Unlock rather than only close: a forked sibling may hold a copy of the descriptor.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


@contextmanager
def hold_if_free(path: Path) -> Iterator[Guard | None]:
    """The guard, or `None` when someone builds right now."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield Guard(descriptor) if _try(descriptor) else None
    finally:
        os.close(descriptor)


def end_orphan(path: Path) -> None:
    """End the command that a dead holder of this guard file left; nothing there is success."""
    with suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            if not _try(descriptor):
                _end_orphan(descriptor)
        finally:
            os.close(descriptor)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _end_orphan(descriptor: int) -> None:
    try:
        noted = json.loads(os.pread(descriptor, 4096, 0) or b"{}")
    except ValueError:
        return
    builder, command = noted.get("builder"), noted.get("command")
    if builder and command and not _is_same(builder) and _is_same(command):
        end_group(command[0])


def _identity(pid: int) -> list[float] | None:
    """A process id with its start time: together they name one process for good."""
    try:
        return [pid, psutil.Process(pid).create_time()]
    except psutil.Error:
        return None


def _is_same(identity: list[float]) -> bool:
    pid, born = int(identity[0]), identity[1]
    now = _identity(pid)
    try:
        is_zombie = psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
    return now is not None and abs(now[1] - born) < 0.01 and not is_zombie


def _write(descriptor: int, noted: dict[str, object]) -> None:
    content = json.dumps(noted).encode()
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, content, 0)
