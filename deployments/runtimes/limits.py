"""What the kernel lets us limit here: control groups, version 2 or 1, where we may make them; else each process."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import re
import subprocess
import sys
import time
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

MOUNTS = Path("/proc/self/mountinfo")
OWN_GROUPS = Path("/proc/self/cgroup")
PERIOD_MICROSECONDS = 100_000
WANTED_V2 = ("memory", "cpu", "pids")
GUARDIANS = "guardians"
REMOVE_SECONDS = 2


@dataclass(frozen=True)
class Confinement:
    """What the launcher must do to put an instance under its limits."""

    groups: list[str] = field(default_factory=list)
    guardian_groups: list[str] = field(default_factory=list)
    resource_limits: dict[str, int] = field(default_factory=dict)
    cpus: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class MemoryFigures:
    used_bytes: int
    """Without the page cache that the kernel can drop at once."""
    peak_bytes: int
    killed: int
    """Processes the kernel has killed in this group for want of memory."""


class Limits(Protocol):
    """Limits of instances, by name. Every call may be repeated; a group that is not there is no error."""

    def describe(self) -> str:
        """One sentence for people: what is limited, and how."""
        ...

    def prepare(
        self, name: str, *, memory_bytes: int, cpu_cores: float, process_count: int
    ) -> Confinement:
        """Make the instance's groups afresh."""
        ...

    def processes(self, name: str) -> set[int]:
        """Process ids in the instance's groups."""
        ...

    def memory(self, name: str) -> MemoryFigures | None:
        """None where nothing counts it for the instance as a whole."""
        ...

    def cpu_seconds(self, name: str) -> float | None:
        """Processor time used since the start, as above."""
        ...

    def stop_forks(self, name: str) -> None:
        """Let nothing in the groups start another process, so that killing comes to an end."""
        ...

    def remove(self, name: str) -> None:
        """Remove the instance's groups, which must be empty, and with the last one the installation's."""
        ...


def detect(installation: str) -> Limits:
    """The strongest kind that works here, found out by making a group and not by asking versions."""
    mounts = cgroup_mounts(MOUNTS.read_text())
    own = own_groups(OWN_GROUPS.read_text())
    unified = mounts.get("")
    if unified is not None:
        for parent in v2_parents(unified, own.get("", "/")):
            limits = _try_v2(parent / f"portico-{installation}")
            if limits is not None:
                return limits
    folders = {}
    for controller in ("memory", "cpu", "cpuacct", "pids"):
        folder = mounts.get(controller)
        if folder is not None and _can_make(folder / f"portico-{installation}"):
            folders[controller] = folder / f"portico-{installation}"
    if "memory" in folders:
        return GroupsV1(folders)
    return ProcessLimits()


def cgroup_mounts(mountinfo: str) -> dict[str, Path]:
    """Controller → mount point; version 2 under the empty name. Read-only mounts are left out."""
    found: dict[str, Path] = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(), after.split(maxsplit=2)
        if "ro" in fields[5].split(",") or "ro" in options.split(","):
            continue
        if kind == "cgroup2":
            found.setdefault("", Path(fields[4]))
        elif kind == "cgroup":
            for option in options.split(","):
                found.setdefault(option, Path(fields[4]))
    return found


def own_groups(text: str) -> dict[str, str]:
    """Controller → own group's path, from `/proc/self/cgroup`."""
    found = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            found[controller] = path
    return found


def v2_parents(mount: Path, own: str) -> list[Path]:
    """Groups to try to make ours in, outermost first: outside our service's own, a stop of the service spares them."""
    own_path = mount / own.strip("/")
    outer_first = [*reversed(own_path.parents), own_path]
    return [path for path in outer_first if path == mount or mount in path.parents]


def _try_v2(folder: Path) -> Limits | None:
    groups = GroupsV2(folder)
    try:
        groups.open()
        _prove_that_processes_may_move(folder / GUARDIANS)
    except OSError:
        return None
    finally:
        groups.remove("")
    return groups


def _hand_down(folder: Path) -> None:
    """Enable the controllers for the groups below; OSError when memory is not to be had."""
    available = (folder / "cgroup.controllers").read_text().split()
    if "memory" not in available:
        raise FileNotFoundError(folder)
    enabled = (folder / "cgroup.subtree_control").read_text().split()
    for controller in WANTED_V2:
        if controller in available and controller not in enabled:
            (folder / "cgroup.subtree_control").write_text(f"+{controller}")


def _prove_that_processes_may_move(group: Path) -> None:
    """Move a throw-away process in: delegation may allow folders and still refuse this."""
    command = [sys.executable, "-I", "-S", "-c", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            (group / "cgroup.procs").write_text(str(process.pid))
        finally:
            process.kill()


def _can_make(folder: Path) -> bool:
    try:
        folder.mkdir(exist_ok=True)
        return os.access(folder / "cgroup.procs", os.W_OK)
    except OSError:
        return False
    finally:
        _remove_if_empty(folder)


@dataclass(frozen=True)
class GroupsV2:
    """Control groups, version 2."""

    root: Path

    def describe(self) -> str:
        available = (self.root.parent / "cgroup.controllers").read_text().split()
        kinds = [kind for kind in WANTED_V2 if kind in available]
        return f"Control groups v2 limit {', '.join(kinds)} of each instance as a whole."

    def open(self) -> None:
        """Make the installation's groups with the controllers in them; may be repeated."""
        _hand_down(self.root.parent)
        self.root.mkdir(exist_ok=True)
        _hand_down(self.root)
        (self.root / GUARDIANS).mkdir(exist_ok=True)

    def prepare(
        self, name: str, *, memory_bytes: int, cpu_cores: float, process_count: int
    ) -> Confinement:
        self.remove(name)
        self.open()
        group = self.root / name
        group.mkdir()
        wanted = {
            "memory.max": str(memory_bytes),
            "memory.swap.max": "0",
            "cpu.max": f"{_quota(cpu_cores)} {PERIOD_MICROSECONDS}",
            "pids.max": str(process_count),
        }
        for file, value in wanted.items():
            if file == "memory.max" or (group / file).exists():
                (group / file).write_text(value)
        return Confinement(groups=[str(group)], guardian_groups=[str(self.root / GUARDIANS)])

    def processes(self, name: str) -> set[int]:
        return _pids([self.root / name])

    def memory(self, name: str) -> MemoryFigures | None:
        group = self.root / name
        with contextlib.suppress(OSError):
            used = int((group / "memory.current").read_text())
            cache = _figures(group / "memory.stat").get("inactive_file", 0)
            peak_file = group / "memory.peak"
            # Kernels before 5.19 keep no peak.
            peak = int(peak_file.read_text()) if peak_file.exists() else used
            killed = _figures(group / "memory.events").get("oom_kill", 0)
            return MemoryFigures(max(0, used - cache), peak, killed)
        return None

    def cpu_seconds(self, name: str) -> float | None:
        with contextlib.suppress(OSError):
            return _figures(self.root / name / "cpu.stat")["usage_usec"] / 1e6
        return None

    def stop_forks(self, name: str) -> None:
        with contextlib.suppress(OSError):
            (self.root / name / "pids.max").write_text("0")
        with contextlib.suppress(OSError):
            (self.root / name / "cgroup.kill").write_text("1")

    def remove(self, name: str) -> None:
        if name:
            _remove_groups([self.root / name])
        _remove_if_empty(self.root / GUARDIANS)
        _remove_if_empty(self.root)


@dataclass(frozen=True)
class GroupsV1:
    """Control groups, version 1: one tree per controller, some of which may be missing."""

    roots: dict[str, Path]

    def describe(self) -> str:
        kinds = [kind for kind in ("memory", "cpu", "pids") if kind in self.roots]
        return f"Control groups v1 limit {', '.join(kinds)} of each instance as a whole."

    def prepare(
        self, name: str, *, memory_bytes: int, cpu_cores: float, process_count: int
    ) -> Confinement:
        self.remove(name)
        groups = {kind: root / name for kind, root in self.roots.items()}
        for group in groups.values():
            # Two controllers may be mounted as one tree.
            group.mkdir(parents=True, exist_ok=True)
        (groups["memory"] / "memory.limit_in_bytes").write_text(str(memory_bytes))
        with contextlib.suppress(OSError):
            (groups["memory"] / "memory.memsw.limit_in_bytes").write_text(str(memory_bytes))
        if "cpu" in groups:
            (groups["cpu"] / "cpu.cfs_period_us").write_text(str(PERIOD_MICROSECONDS))
            (groups["cpu"] / "cpu.cfs_quota_us").write_text(str(_quota(cpu_cores)))
        if "pids" in groups:
            (groups["pids"] / "pids.max").write_text(str(process_count))
        return Confinement(
            groups=[str(group) for group in groups.values()],
            guardian_groups=[str(root) for root in self.roots.values()],
        )

    def processes(self, name: str) -> set[int]:
        return _pids([root / name for root in self.roots.values()])

    def memory(self, name: str) -> MemoryFigures | None:
        group = self.roots["memory"] / name
        with contextlib.suppress(OSError):
            used = int((group / "memory.usage_in_bytes").read_text())
            cache = _figures(group / "memory.stat").get("total_inactive_file", 0)
            peak = int((group / "memory.max_usage_in_bytes").read_text())
            killed = _figures(group / "memory.oom_control").get("oom_kill", 0)
            return MemoryFigures(max(0, used - cache), peak, killed)
        return None

    def cpu_seconds(self, name: str) -> float | None:
        with contextlib.suppress(OSError, KeyError):
            return int((self.roots["cpuacct"] / name / "cpuacct.usage").read_text()) / 1e9
        return None

    def stop_forks(self, name: str) -> None:
        with contextlib.suppress(OSError, KeyError):
            (self.roots["pids"] / name / "pids.max").write_text("0")

    def remove(self, name: str) -> None:
        _remove_groups([root / name for root in self.roots.values()])
        for root in self.roots.values():
            _remove_if_empty(root)


@dataclass(frozen=True)
class ProcessLimits:
    """No control groups: each process has its own memory limit, and runs on so many processors."""

    def describe(self) -> str:
        return (
            "No control groups to be had: memory is limited for each process of an instance by itself, "
            "processors by affinity, and the number of processes not at all."
        )

    def prepare(
        self, name: str, *, memory_bytes: int, cpu_cores: float, process_count: int
    ) -> Confinement:
        allowed = sorted(os.sched_getaffinity(0))
        count = min(len(allowed), math.ceil(cpu_cores))
        first = zlib.crc32(name.encode()) % len(allowed)
        cpus = [allowed[(first + step) % len(allowed)] for step in range(count)]
        return Confinement(resource_limits={"RLIMIT_DATA": memory_bytes}, cpus=cpus)

    def processes(self, name: str) -> set[int]:
        return set()

    def memory(self, name: str) -> MemoryFigures | None:
        return None

    def cpu_seconds(self, name: str) -> float | None:
        return None

    def stop_forks(self, name: str) -> None:
        pass

    def remove(self, name: str) -> None:
        pass


def _quota(cpu_cores: float) -> int:
    # The kernel refuses less than a millisecond a period.
    return max(1000, round(cpu_cores * PERIOD_MICROSECONDS))


def _pids(groups: Iterable[Path]) -> set[int]:
    found: set[int] = set()
    for group in groups:
        with contextlib.suppress(OSError):
            found.update(map(int, (group / "cgroup.procs").read_text().split()))
    return found


def _figures(path: Path) -> dict[str, int]:
    return {key: int(value) for key, value in re.findall(r"^(\S+) (\d+)$", path.read_text(), re.M)}


def _remove_groups(groups: Iterable[Path]) -> None:
    """Remove empty groups; a process that has just ended may hold one for a moment longer."""
    for group in groups:
        until = time.monotonic() + REMOVE_SECONDS
        while group.exists():
            try:
                group.rmdir()
            except FileNotFoundError:
                break
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > until:
                    raise
                time.sleep(0.01)


def _remove_if_empty(group: Path) -> None:
    """Remove a group that nobody needs any more; one that is in use, or not ours, stays."""
    with contextlib.suppress(OSError):
        if not any(entry.is_dir() for entry in group.iterdir()) and not _pids([group]):
            _remove_groups([group])
