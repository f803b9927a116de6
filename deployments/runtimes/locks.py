"""One lock per instance between all processes and threads of the portal; the kernel frees it when its holder dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PAUSE_SECONDS = 0.01


@contextmanager
def hold(path: Path, *, seconds: float, forget: bool = False) -> Iterator[None]:
    """Hold the lock at `path`, waiting at most `seconds`, else TimeoutError; `forget` removes its file afterwards."""
    until = time.monotonic() + seconds
    while (descriptor := _take(path)) is None:
        if time.monotonic() >= until:
            raise TimeoutError(f"{path.name} is being worked on elsewhere.")
        time.sleep(PAUSE_SECONDS)
    try:
        yield
        if forget:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _take(path: Path) -> int | None:
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A holder before us may have removed the file: then ours is a lock on nothing.
        if os.fstat(descriptor).st_ino == path.stat().st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None
