"""The I/O process's own log lines, gathered and written together."""

import asyncio
import os
import sys
import time
from time import monotonic

from inference_server.protocol import Request

FLUSH_SECONDS = 0.05
# Refusals come in floods, just when there is no time to log each.
COUNTED = (429, 503)
SCORING_PATHS = (b"/score", b"/swagger.json")


class RequestLog:
    """One line per request if asked for; always one per failure, and per call that was slow."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, logs_all: bool, slow_call_ms: float
    ) -> None:
        self._loop = loop
        self._logs_all = logs_all
        self._slow_seconds = slow_call_ms / 1000
        self._lines: list[str] = []
        self._counted = dict.fromkeys(COUNTED, 0)
        self._pid = os.getpid()
        self._second = (0, "")

    def answered(self, request: Request, status: int, size: int) -> None:
        took = monotonic() - request.arrived
        if not self._logs_all and status < 400 and took < self._slow_seconds:
            return
        if request.path not in SCORING_PATHS and not request.path.endswith(b"/infer"):
            return  # health checks of a server that still loads its model are no news
        if status in self._counted:
            self._counted[status] += 1
        else:
            target = request.target.decode("latin-1")
            method = request.method.decode("latin-1")
            length = "N/A" if request.is_streaming else str(size)
            self.line("I", f"{method} {target} {status} {took * 1000:.3f}ms {length}")

    def line(self, level: str, text: str) -> None:
        now = time.time()
        second = int(now)
        if second != self._second[0]:
            self._second = (second, time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(second)))
        if not self._lines:
            self._loop.call_later(FLUSH_SECONDS, self.flush)
        milliseconds = int((now - second) * 1000)
        self._lines.append(
            f"{self._second[1]},{milliseconds:03d} {level} [{self._pid}] azmlinfsrv - {text}\n"
        )

    def tick(self) -> None:
        """Once a second: how many requests were refused."""
        for status, count in self._counted.items():
            if count:
                self._counted[status] = 0
                self.line(
                    "W", f"{count} requests to /score were answered {status} within a second"
                )

    def flush(self) -> None:
        if self._lines:
            # A worker may have told us halves of characters, which no encoding has.
            text = "".join(self._lines).encode(errors="backslashreplace").decode()
            sys.stdout.write(text)
            sys.stdout.flush()
            self._lines.clear()
