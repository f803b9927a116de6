"""Takes over every instance's console into the segments of its deployment, each line once and in order."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from deployments.runtimes import FollowsLogs, Runtime
from monitoring.consoles import Console, ConsoleFile, RuntimeConsole
from monitoring.segments import SegmentWriter
from monitoring.streams import StreamedConsole

logger = logging.getLogger(__name__)

SOURCE = "inference-server"
RUNTIME_POLL_SECONDS = 0.5

Ring = Callable[[int, int], None]


@dataclass(frozen=True)
class Owner:
    """The deployment an instance belongs to, as its name tells: `<endpoint>.<deployment>.<id>.<revision>.<number>`."""

    endpoint_name: str
    deployment_name: str
    deployment_id: int


def owner_of(instance: str) -> Owner | None:
    """None for a name that no deployment gives."""
    parts = instance.split(".")
    if len(parts) != 5 or not parts[2].isdigit():
        return None
    return Owner(parts[0], parts[1], int(parts[2]))


def folder_of(root: Path, owner: Owner) -> Path:
    """Where the deployment's segments lie; another deployment of the same name has another folder."""
    return root / owner.endpoint_name / f"{owner.deployment_name}.{owner.deployment_id}"


class LogFollower:
    """Needs no database. Belongs to one thread, and is the only writer of the segments below `root`."""

    def __init__(
        self,
        root: Path,
        instances_root: Path,
        *,
        ring: Ring,
        runtimes: Callable[[], Iterable[Runtime]] = tuple,
    ) -> None:
        """`runtimes` gives those whose instances have no console file here; it may be asked often."""
        self.root = root
        self._instances_root = instances_root
        self._runtimes = runtimes
        self._ring = ring
        self._consoles: dict[str, Console] = {}
        self._writers: dict[Owner, SegmentWriter] = {}
        self._troubled: set[str] = set()
        self._owned: dict[str, Runtime] = {}
        self._ask_runtime_at = 0.0
        self._is_runtimes_turn = False

    def step(self) -> bool:
        """Take over what is new; False when nothing was."""
        self._discover()
        found = False
        for name in list(self._consoles):
            try:
                found |= self._take_over(name)
                self._troubled.discard(name)
            except OSError as error:
                # Begun again at the next step, from what is safely written.
                if name not in self._troubled:
                    logger.warning("console of %s cannot be followed: %s", name, error)
                self._troubled.add(name)
                self._drop(name)
        return found

    def folders(self) -> set[Path]:
        """Where lines are being written."""
        return {folder_of(self.root, owner) for owner in self._writers}

    def close(self) -> None:
        for name in list(self._consoles):
            self._drop(name)
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _take_over(self, name: str) -> bool:
        console = self._consoles[name]
        if isinstance(console, RuntimeConsole) and not self._is_runtimes_turn:
            return False
        entries = console.read()
        owner = owner_of(name)
        assert owner is not None
        if entries:
            cursor = self._writers[owner].append(name, SOURCE, entries)
            self._ring(owner.deployment_id, cursor)
        elif console.has_ended():
            self._drop(name)
            self._writers[owner].forget(name)
            self._release(owner)
        return bool(entries)

    def _discover(self) -> None:
        for name in self._names():
            owner = owner_of(name)
            if name in self._consoles or owner is None:
                continue
            with contextlib.suppress(FileNotFoundError):
                self._consoles[name] = self._open(name, owner)

    def _names(self) -> set[str]:
        names: set[str] = set()
        if self._instances_root.exists():
            names.update(os.listdir(self._instances_root))
        self._is_runtimes_turn = False
        if time.monotonic() >= self._ask_runtime_at:
            self._ask_runtime_at = time.monotonic() + RUNTIME_POLL_SECONDS
            self._is_runtimes_turn = True
            self._owned = {name: house for house in self._runtimes() for name in house.owned()}
            names |= self._owned.keys()
        return names

    def _open(self, name: str, owner: Owner) -> Console:
        folder = self._instances_root / name
        house = self._owned.get(name)
        has_file = (folder / "console.log").exists()
        if house is None and not has_file:
            raise FileNotFoundError(folder)
        writer = self._writers.get(owner)
        if writer is None:
            writer = self._writers[owner] = SegmentWriter(folder_of(self.root, owner))
        position = writer.positions.get(name)
        if house is None or has_file:
            return ConsoleFile(folder, position)
        if isinstance(house, FollowsLogs):
            return StreamedConsole(house, name, position, self._is_owned)
        return RuntimeConsole(house, name, position, self._is_owned)

    def _is_owned(self, name: str) -> bool:
        return name in self._owned

    def _drop(self, name: str) -> None:
        console = self._consoles.pop(name, None)
        if console is not None:
            console.close()

    def _release(self, owner: Owner) -> None:
        """Close the segments of a deployment that has no instance any more."""
        if not any(owner_of(name) == owner for name in self._consoles):
            self._writers.pop(owner).close()
