"""Why an instance ended, in a code and a sentence: pure, from what was left behind."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Any

from deployments.runtimes.limits import MemoryFigures
from deployments.runtimes.records import ServerStatus

OUT_OF_MEMORY_SIGNS = ("MemoryError", "std::bad_alloc", "Cannot allocate memory")

# Not all that can be sent have a name.
SIGNAL_NAMES: dict[int | None, str] = {each.value: each.name for each in signal.Signals}


@dataclass(frozen=True)
class Ending:
    """Everything that is known once an instance has ended."""

    server: ServerStatus
    memory: MemoryFigures | None
    memory_limit_bytes: int
    evidence: tuple[str, ...] = ()
    failure: str = ""
    """Why it could not even be started."""
    signal_number: int | None = None
    exit_code: int | None = None
    disk_bytes: int = 0
    """What it had on the disk when it was ended for that; else 0."""

    def why(self) -> tuple[str, str]:
        """Code and sentence, the likeliest cause first."""
        limit = in_words(self.memory_limit_bytes)
        if self.memory is not None and self.memory.killed:
            return "OutOfMemory", f"Killed at {in_words(self.memory.peak_bytes)}, limit {limit}."
        if self.memory is None and self._speaks_of_memory():
            return "OutOfMemory", f"A process ran into its memory limit of {limit}."
        if self.disk_bytes:
            return (
                "ResourceNotReady",
                f"Ended because its files took {in_words(self.disk_bytes)} of the disk. An operator sets the limit "
                "(PORTICO_INSTANCE_DISK_GB); what the script writes is best removed when it is done with.",
            )
        if self.failure:
            return "InternalServerError", f"It could not be started: {self.failure}"
        if self.server.state == "failed" and self.server.code:
            return self.server.code, self.server.message
        code = "ResourceNotReady"
        if outside := self._from_outside():
            return code, outside
        if self.signal_number in SIGNAL_NAMES:
            name = SIGNAL_NAMES[self.signal_number]
            return code, f"The inference server was ended by {name}."
        if self.exit_code is not None:
            return code, f"The inference server ended with code {self.exit_code}."
        if self.signal_number:
            return code, f"The inference server was ended by signal {self.signal_number}."
        return code, "The inference server is gone; how it ended is not known."

    def told_evidence(self) -> tuple[str, ...]:
        """The lines that show it: of an end from outside nothing that it had printed tells."""
        return () if self.why()[1] == self._from_outside() else self.evidence

    def _from_outside(self) -> str:
        if self.signal_number == signal.SIGKILL and self.memory is not None:
            return "The inference server was ended by SIGKILL from outside; no want of memory was reported."
        if self.signal_number == signal.SIGTERM:
            return "The inference server was ended by SIGTERM from outside."
        if self.exit_code == 0 and self.server.state == "stopping":
            return "The inference server was told to stop from outside, and ended."
        return ""

    def _speaks_of_memory(self) -> bool:
        return any(sign in line for line in self.evidence for sign in OUT_OF_MEMORY_SIGNS)


def ending_of(
    ended: dict[str, Any],
    *,
    server: ServerStatus,
    memory: MemoryFigures | None,
    memory_limit_bytes: int,
    evidence: tuple[str, ...],
) -> Ending:
    """From the guardian's note, which is empty when the guardian was killed as well."""
    return Ending(
        server=server,
        memory=memory,
        memory_limit_bytes=memory_limit_bytes,
        evidence=evidence,
        failure=str(ended.get("failure", "")),
        signal_number=ended.get("signal"),
        exit_code=ended.get("exit_code"),
        disk_bytes=int(ended.get("disk_bytes", 0)),
    )


def cores_in_words(cores: float) -> str:
    """`1 core`, `0.5 cores`."""
    return f"{cores:g} core" if cores == 1 else f"{cores:g} cores"


def in_words(size_bytes: int) -> str:
    """A size as people read it: `512 MiB`, `2.0 GiB`."""
    if size_bytes < 1024**3:
        return f"{size_bytes / 1024**2:.0f} MiB"
    return f"{size_bytes / 1024**3:.1f} GiB"
