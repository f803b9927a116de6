"""What a build may take of the engine's machine: memory, processor, processes, and disk.

Build containers get their bounds from the engine. The steps of a Dockerfile do not: BuildKit inside the engine takes no
limits from its client, but keeps all its steps in one control group, which is bounded where we may write to it.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from docker import APIClient

from deployments.environments.failures import BuildFailed, disk_ran_out, disk_taken
from deployments.environments.uv_command import Cancel
from deployments.images.settings import ImageSettings
from deployments.runtimes.endings import cores_in_words
from deployments.runtimes.limits import MOUNTS, cgroup_mounts

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.1
STEPS = Path("docker", "buildkit")
"""Below the engine's control groups, where it uses cgroupfs."""
PERIOD_MICROSECONDS = 100_000
# A quarter of what an instance weighs where processors are scarce: serving comes before building.
SHARES, WEIGHT = 256, 25
SMALLEST_MEMORY_BYTES = 256 * 1024**2


@dataclass(frozen=True)
class Bounds:
    """The figures for one engine."""

    memory_bytes: int
    cores: float
    processes: int
    disk_bytes: int

    def in_words(self) -> str:
        memory = f"{self.memory_bytes / 1024**3:.1f} GiB of memory"
        return f"{memory}, {cores_in_words(self.cores)}, {self.processes} processes"


def bounds_of(client: APIClient, settings: ImageSettings) -> Bounds:
    """Half of the engine's memory where the setting says nothing."""
    info = client.info()
    limits = settings.limits
    return Bounds(
        memory_bytes=limits.memory_bytes
        or max(SMALLEST_MEMORY_BYTES, int(info.get("MemTotal") or 0) // 2),
        cores=min(limits.cores or float("inf"), float(info.get("NCPU") or 1)),
        processes=limits.processes,
        disk_bytes=limits.disk_bytes,
    )


def bound_steps(settings: ImageSettings, bounds: Bounds) -> bool:
    """Bound all that BuildKit runs on this machine's engine, whoever asked for it; False where we may not.

    May be repeated; the last figures count, and stay when the build has ended.
    """
    if not settings.is_local:
        return False
    mounts = cgroup_mounts(MOUNTS.read_text())
    wanted = _files(mounts, bounds)
    try:
        for path, text in wanted:
            # The engine made the group above when it was started; the steps' own may not be there yet.
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    except OSError as error:
        logger.info("steps of Dockerfiles cannot be bounded: %s", error)
        return False
    return bool(wanted)


@dataclass
class DiskWatch:
    """A `cancel` that also looks at the disk: it raises `BuildFailed` before a build has filled it.

    What the build takes is told by what the disk loses meanwhile: what others write counts, too.
    """

    folder: Path
    least_free_bytes: int
    most_taken_bytes: int
    cancel: Cancel
    free: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free
    _free_at_first: int = field(init=False)
    _looked_at: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._free_at_first = self.free(self.folder)

    def __call__(self) -> bool:
        now = time.monotonic()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            self._look()
        return self.cancel()

    def _look(self) -> None:
        free = self.free(self.folder)
        if free < self.least_free_bytes:
            raise BuildFailed(disk_ran_out(free, str(self.folder)))
        taken = self._free_at_first - free
        if taken > self.most_taken_bytes:
            raise BuildFailed(disk_taken(self.most_taken_bytes))


def _files(mounts: dict[str, Path], bounds: Bounds) -> list[tuple[Path, str]]:
    """What is written where; nothing where the engine keeps its groups elsewhere."""
    quota = int(bounds.cores * PERIOD_MICROSECONDS)
    unified = mounts.get("")
    # Where both versions are mounted, the older one has the controllers.
    if unified is not None and "memory" not in mounts and (unified / STEPS.parent).is_dir():
        group = unified / STEPS
        return [
            (group / "memory.max", str(bounds.memory_bytes)),
            (group / "memory.swap.max", "0"),
            (group / "pids.max", str(bounds.processes)),
            (group / "cpu.max", f"{quota} {PERIOD_MICROSECONDS}"),
            (group / "cpu.weight", str(WEIGHT)),
        ]
    wanted = [
        ("memory", "memory.limit_in_bytes", str(bounds.memory_bytes)),
        ("pids", "pids.max", str(bounds.processes)),
        ("cpu", "cpu.cfs_quota_us", str(quota)),
        ("cpu", "cpu.shares", str(SHARES)),
    ]
    return [
        (mounts[controller] / STEPS / name, text)
        for controller, name, text in wanted
        if controller in mounts and (mounts[controller] / STEPS.parent).is_dir()
    ]
