"""Signals as values: heard in the loop that waits for them, never in the middle of something else."""

from __future__ import annotations

import select
import signal
import socket

HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)


class Signals:
    """Hears the supervisor's signals. Main thread only, one in a process."""

    def __init__(self) -> None:
        self._reading, self._writing = socket.socketpair()
        self._reading.setblocking(False)
        self._writing.setblocking(False)
        signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)
        for number in HEARD:
            signal.signal(number, lambda _number, _frame: None)

    def wait(self, seconds: float) -> list[int]:
        """The signals that came, as soon as one comes; empty when none did."""
        readable, _, _ = select.select([self._reading], [], [], seconds)
        return list(self._reading.recv(4096)) if readable else []
