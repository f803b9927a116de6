"""Live CPU and memory of an instance: from its control groups, else summed over its processes."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psutil

from deployments.runtimes import Usage
from deployments.runtimes.limits import Limits

SHORTEST_SPAN_SECONDS = 0.5


@dataclass(frozen=True)
class _Sample:
    at: float
    cpu_seconds: float


class UsageMeter:
    """Turns processor time into a rate: since the call before, at first since the start."""

    def __init__(self) -> None:
        self._samples: dict[tuple[str, int], _Sample] = {}

    def measure(
        self,
        limits: Limits,
        name: str,
        *,
        pid: int,
        started_at: float,
        cpu_cores: float,
        memory_limit_bytes: int,
    ) -> Usage:
        tree = _processes_below(pid)
        figures = limits.memory(name)
        memory = figures.used_bytes if figures is not None else _resident_bytes(tree)
        counted = limits.cpu_seconds(name)
        now = _Sample(time.time(), counted if counted is not None else _cpu_seconds(tree))
        before = self._samples.get((name, pid), _Sample(started_at, 0.0))
        if now.at - before.at >= SHORTEST_SPAN_SECONDS:
            self._samples[name, pid] = now
        span = max(now.at - before.at, 0.001)
        percent = 100 * (now.cpu_seconds - before.cpu_seconds) / span / cpu_cores
        return Usage(
            cpu_percent=round(min(100.0, max(0.0, percent)), 1),
            memory_bytes=memory,
            memory_limit_bytes=memory_limit_bytes,
        )

    def forget(self, name: str) -> None:
        for key in [key for key in self._samples if key[0] == name]:
            self._samples.pop(key, None)


def _processes_below(pid: int) -> list[psutil.Process]:
    try:
        main = psutil.Process(pid)
        return [main, *main.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _resident_bytes(tree: list[psutil.Process]) -> int:
    total = 0
    for process in tree:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def _cpu_seconds(tree: list[psutil.Process]) -> float:
    total = 0.0
    for process in tree:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total
