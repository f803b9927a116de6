"""Live CPU and memory of a container: from its control groups where we see them, else from the engine's figures."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deployments.runtimes import Usage
from deployments.runtimes.docker import consoles
from deployments.runtimes.docker.containers import CORES, MEMORY
from deployments.runtimes.docker.engines import Engine

SHORTEST_SPAN_SECONDS = 0.5
GROUPS = Path("/sys/fs/cgroup")
PROCESSES = Path("/proc")


@dataclass(frozen=True)
class Figures:
    cpu_seconds: float
    """Since the start."""
    memory_bytes: int
    """Without the page cache that the kernel can drop at once."""


class UsageMeter:
    """Processor time as a rate: since the call before, at first since the start."""

    def __init__(self) -> None:
        self._samples: dict[str, tuple[float, float]] = {}

    def measure(self, engine: Engine, facts: dict[str, Any]) -> Usage | None:
        """None when the container ended meanwhile and has no figures any more."""
        # The engine takes up to a second for each, so it is only asked where nothing else tells.
        figures = _of_groups(facts["State"]["Pid"]) if engine.is_local else None
        figures = figures or _of_engine(engine, facts["Id"])
        if figures is None:
            return None
        container, labels = facts["Id"], facts["Config"]["Labels"]
        now, limit = time.time(), int(labels[MEMORY])
        started_at = consoles.time_of(facts["State"]["StartedAt"]) or datetime.now(UTC)
        begun = started_at.timestamp()
        before, counted = self._samples.get(container, (begun, 0.0))
        if before < begun or figures.cpu_seconds < counted:
            # Started again since.
            before, counted = begun, 0.0
        if now - before >= SHORTEST_SPAN_SECONDS:
            self._samples[container] = (now, figures.cpu_seconds)
        share = (figures.cpu_seconds - counted) / max(now - before, 0.001) / float(labels[CORES])
        return Usage(
            cpu_percent=round(min(100.0, max(0.0, 100 * share)), 1),
            memory_bytes=max(0, min(figures.memory_bytes, limit)),
            memory_limit_bytes=limit,
        )

    def forget(self, container: str) -> None:
        self._samples.pop(container, None)


def _of_groups(pid: int) -> Figures | None:
    """What the kernel counts for the groups of this process; None where we do not see them."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        places: dict[str, str] = {}
        for line in (PROCESSES / str(pid) / "cgroup").read_text().splitlines():
            _, controllers, place = line.split(":", 2)
            places |= dict.fromkeys(controllers.split(","), place.lstrip("/"))
        if "memory" in places:
            memory = GROUPS / "memory" / places["memory"]
            counted = GROUPS / "cpuacct" / places["cpuacct"] / "cpuacct.usage"
            used = int((memory / "memory.usage_in_bytes").read_text())
            droppable = _read_pairs(memory / "memory.stat")["total_inactive_file"]
            return Figures(int(counted.read_text()) / 1e9, used - droppable)
        group = GROUPS / places[""]
        used = int((group / "memory.current").read_text())
        droppable = _read_pairs(group / "memory.stat")["inactive_file"]
        return Figures(_read_pairs(group / "cpu.stat")["usage_usec"] / 1e6, used - droppable)
    return None


def _read_pairs(path: Path) -> dict[str, int]:
    pairs = (line.split() for line in path.read_text().splitlines())
    return {key: int(value) for key, value in pairs}


def _of_engine(engine: Engine, container: str) -> Figures | None:
    with engine.asking() as api:
        told = api.stats(container, stream=False, one_shot=True)
    memory = told.get("memory_stats") or {}
    if "usage" not in memory:
        return None
    details = memory.get("stats") or {}
    # Under this name in control groups v1, that one in v2.
    droppable = details.get("total_inactive_file", details.get("inactive_file", 0))
    return Figures(
        told["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9, memory["usage"] - droppable
    )
