"""One command in its own process group: lines as they come, an end by deadline or cancel."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from workspaces.errors import UserError

POLL_SECONDS = 0.2
MAX_LINES = 4_000
MAX_LINE_CHARACTERS = 4_000


class Cancelled(UserError):
    """The caller's `cancel` said stop; the command and its children are gone."""

    def __init__(self) -> None:
        super().__init__("The build was cancelled.", code="OperationCanceled", status=409)


class DeadlinePassed(Exception):
    """The command was ended because its time was up."""


@dataclass(frozen=True)
class Finished:
    code: int
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def run(
    arguments: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    deadline: float,
    log: Callable[[str], None] = lambda line: None,
    cancel: Callable[[], bool] = lambda: False,
    user_id: int | None = None,
    folder: Path | None = None,
    keep_open: Sequence[int] = (),
    started: Callable[[int], None] = lambda pid: None,
) -> Finished:
    """Run to the end, with both outputs in one; `deadline` is on the monotonic clock.

    Raises `Cancelled` and `DeadlinePassed`. `keep_open` descriptors live on in the command: a file
    lock among them is held until the command ends, even when we die. `started` gets the id of the
    process, which leads its group.
    """
    with subprocess.Popen(
        [str(argument) for argument in arguments],
        env=dict(environment),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=tuple(keep_open),
        user=user_id,
        group=user_id,
        extra_groups=[] if user_id is not None else None,
        umask=0o022,
    ) as process:
        try:
            started(process.pid)
            lines = _read(process, deadline, log, cancel)
        finally:
            # Before anyone collects the leader: until then nobody else can get its number.
            end_group(process.pid)
        code = process.wait()
    return Finished(code, lines)


def _has_ended(pid: int) -> bool:
    """Whether our child has ended, leaving it uncollected."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def end_group(leader: int) -> None:
    """Kill everything in the group that `leader` leads; nothing there is success."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _read(
    process: subprocess.Popen[bytes],
    deadline: float,
    log: Callable[[str], None],
    cancel: Callable[[], bool],
) -> tuple[str, ...]:
    assert process.stdout is not None
    lines: list[str] = []

    def take(raw: bytes) -> None:
        line = raw.decode("utf-8", "replace").rstrip()[:MAX_LINE_CHARACTERS]
        if line:
            log(line)
            lines.append(line)
            del lines[:-MAX_LINES]

    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if cancel():
                raise Cancelled
            left = deadline - time.monotonic()
            if left <= 0:
                raise DeadlinePassed
            if selector.select(min(left, POLL_SECONDS)):
                chunk = os.read(process.stdout.fileno(), 65_536)
                if not chunk:
                    selector.unregister(process.stdout)
                    continue
                *whole, pending = (pending + chunk).split(b"\n")
                pending = pending[-MAX_LINE_CHARACTERS:]
                for raw in whole:
                    take(raw)
            elif _has_ended(process.pid):
                break  # a grandchild may still hold the pipe open
    take(pending)
    return tuple(lines)
