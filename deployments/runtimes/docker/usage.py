"""Turns an engine's figures about a container into live CPU and memory."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from deployments.runtimes import Usage

SHORTEST_SPAN_SECONDS = 0.5


class UsageMeter:
    """Processor time as a rate: since the call before, at first since the start."""

    def __init__(self) -> None:
        self._samples: dict[str, tuple[float, float]] = {}

    def measure(
        self,
        container: str,
        figures: dict[str, Any],
        *,
        started_at: datetime | None,
        cpu_cores: float,
        memory_limit_bytes: int,
    ) -> Usage | None:
        """None when the container ended meanwhile and has no figures any more."""
        memory = figures.get("memory_stats") or {}
        if "usage" not in memory:
            return None
        now = time.time()
        used_seconds = figures["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9
        begun = (started_at or datetime.now(UTC)).timestamp()
        before, counted = self._samples.get(container, (begun, 0.0))
        if used_seconds < counted:
            # Started again since.
            before, counted = begun, 0.0
        if now - before >= SHORTEST_SPAN_SECONDS:
            self._samples[container] = (now, used_seconds)
        percent = 100 * (used_seconds - counted) / max(now - before, 0.001) / cpu_cores
        return Usage(
            cpu_percent=round(min(100.0, max(0.0, percent)), 1),
            memory_bytes=min(memory["usage"] - _droppable(memory), memory_limit_bytes),
            memory_limit_bytes=memory_limit_bytes,
        )

    def forget(self, container: str) -> None:
        self._samples.pop(container, None)


def _droppable(memory: dict[str, Any]) -> int:
    """Page cache that the kernel can drop at once: under this name in control groups v1, that one in v2."""
    details = memory.get("stats") or {}
    return int(details.get("total_inactive_file", details.get("inactive_file", 0)))
