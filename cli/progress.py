"""Tells on stderr how a long operation goes: its phases as the portal reports them, and the failure card at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TextIO

REMIND_SECONDS = 30
RUNNING = "Running"


@dataclass
class Progress:
    """A line for each phase that ended; on a terminal also the one that runs, rewritten as it goes."""

    is_quiet: bool = False
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    _doing: str = ""
    _told: set[str] = field(default_factory=set)
    _reminded_at: float = 0.0

    @contextmanager
    def of(self, doing: str) -> Iterator[None]:
        """While this lasts, phases are told under the heading `doing`."""
        self._doing = doing
        self._told = set()
        self._reminded_at = time.monotonic()
        try:
            yield
        finally:
            self._doing = ""
            self._rewrite("")

    def hear(self, operation: Mapping[str, Any]) -> None:
        """Take in one answer to a poll. Says nothing of operations without phases."""
        if self.is_quiet or not self._doing:
            return
        phases = (operation.get("properties") or {}).get("phases") or []
        if phases and not self._told:
            self._say(self._doing)
            self._told.add("")
        for phase in phases:
            if phase["state"] != RUNNING and phase["name"] not in self._told:
                self._told.add(phase["name"])
                self._say(f"  {phase_line(phase)}")
        for phase in phases:
            if phase["state"] == RUNNING and operation.get("status") == "InProgress":
                self._tell_running(phase)

    def _tell_running(self, phase: Mapping[str, Any]) -> None:
        line = f"  {running_line(phase, datetime.now(UTC))}"
        if self.stream.isatty():
            self._rewrite(line)
        elif time.monotonic() - self._reminded_at > REMIND_SECONDS:
            self._reminded_at = time.monotonic()
            self._say(line)

    def _say(self, line: str) -> None:
        self._rewrite("")
        print(line, file=self.stream, flush=True)

    def _rewrite(self, line: str) -> None:
        if self.stream.isatty() and not self.is_quiet:
            self.stream.write(f"\r\x1b[K{line}")
            self.stream.flush()


def phase_line(phase: Mapping[str, Any]) -> str:
    """`Build environment   12.4 s`, with what became of it unless that is success."""
    seconds = _seconds(phase, phase.get("endTime"))
    outcome = "" if phase["state"] == "Succeeded" else f"   {phase['state'].lower()}"
    return f"{phase['name']:<18} {seconds:>7.1f} s{outcome}"


def running_line(phase: Mapping[str, Any], now: datetime) -> str:
    seconds = _seconds(phase, now.isoformat())
    usual = phase.get("expectedSeconds")
    hint = f" (usually {usual:.0f} s)" if usual and usual >= 1 else ""
    return f"{phase['name']:<18} {max(seconds, 0):>7.0f} s so far{hint}"


def _seconds(phase: Mapping[str, Any], until: str | None) -> float:
    begun = datetime.fromisoformat(phase["startTime"])
    ended = datetime.fromisoformat(until) if until else begun
    return (ended - begun).total_seconds()
