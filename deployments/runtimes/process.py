"""Instances as processes of this machine: no container engine, one user and one set of limits each where we may.

An instance is the inference server's I/O process with its workers, below a small guardian (`launcher.py`). None of
them is a child of the portal, so they outlive it, and the next portal finds them by folder and by mark.

    <root>/<name>/            ours, the instance may pass through it and read
        instance.json         digest, limits, user: what we asked for
        process.json          pid and start time: written by the instance itself before its program runs
        exit.json             how it ended: written by the guardian
        console.log, .1       standard output and error
        state/                the instance's: status.json, and tmp/ which is its HOME
    <run_dir>/<id>/           the instance's: where it makes its socket
    <run_dir>/<id>.sock       the same socket under a name only we can change: what the gateway is told
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deployments.runtimes import (
    InstanceSpec,
    InstanceStatus,
    LogLine,
    Phase,
    Usage,
    console,
    launcher,
    limits,
)
from deployments.runtimes.commands import Server
from deployments.runtimes.endings import ending_of, in_words
from deployments.runtimes.isolation import Users, unreachable_folder
from deployments.runtimes.locks import hold
from deployments.runtimes.marks import (
    MARK,
    MarkedProcess,
    boot_id,
    is_alive,
    kill,
    marked_processes,
    pause,
    start_ticks_of,
)
from deployments.runtimes.places import Place, answers, publish
from deployments.runtimes.records import (
    read_record,
    read_server_status,
    write_record,
)
from deployments.runtimes.usage import UsageMeter

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
START_SECONDS = 10
SOCKET_PATH_BYTES = 107
LOCK_SECONDS = 20
KILL_SECONDS = 5
LONGEST_GRACE_SECONDS = 15
CONSOLE_BYTES = 16 * 1024**2
PROCESSES_EACH = 2048
OPEN_FILES_EACH = 65_536
SMALLEST_SHARED_BYTES = 64 * 1024**2
SHARED_TEMPORARY = ("/tmp", "/var/tmp")


class ProcessRuntime:
    """Runs instances as processes on this machine; see the module for what is where."""

    def __init__(
        self,
        root: Path,
        run_dir: Path,
        installation: str,
        server_dir: Path,
        server_python: Path,
        uid_base: int = 20000,
        disk_bytes: int = 0,
    ) -> None:
        """`disk_bytes`: what an instance may leave on the disk before it is ended; 0 for no limit."""
        if not NAME.fullmatch(installation):
            raise ValueError(
                f"'{installation}' is no installation name: use letters, digits, '.', '_' and '-'."
            )
        self.root = root.absolute()
        self.run_dir = run_dir.absolute()
        self.installation = installation
        self.server = Server(folder=server_dir, python=server_python)
        self.users = Users(uid_base)
        self.disk_bytes = disk_bytes
        for folder in (self.root, self.run_dir):
            folder.mkdir(parents=True, exist_ok=True)
            # Passed through by every instance, listed by none.
            folder.chmod(0o711)
        longest = Place(self.root, self.run_dir, "x").socket
        if len(os.fsencode(longest)) > SOCKET_PATH_BYTES:
            raise ValueError(
                f"{self.run_dir} is too long for sockets in it: {longest} may have "
                f"{SOCKET_PATH_BYTES} bytes. Give a shorter folder for running things."
            )
        self.limits = limits.detect(installation)
        self._meter = UsageMeter()

    def describe(self) -> str:
        """Two sentences for people: how instances are kept apart and limited on this machine."""
        return f"{self.users.describe()} {self.limits.describe()}"

    def owner_ids(self, owner: int) -> tuple[int, int]:
        """User and group that the owner's instances run as."""
        return self.users.ids(owner)

    def grant(self, path: Path, owner: int) -> None:
        """Let the owner's instances, and no other's, read `path` and all below it; may be repeated."""
        self.users.grant(path, owner)

    def ensure(self, spec: InstanceSpec) -> InstanceStatus:
        """Start the instance, or find it running; see the contract."""
        place = self._place(spec.name)
        with self._lock(spec.name):
            current = self.inspect(spec.name)
            # A launcher still at work without its starter, who held the lock, is not to be relied on.
            is_there = current.phase != Phase.EXITED and current.started_at is not None
            if is_there and current.digest == spec.digest:
                return current
            self._end(place, grace_seconds=0)
            place.folder.mkdir(mode=0o750, exist_ok=True)
            self._record(spec, place)
            failure = self._what_is_in_the_way(spec) or self._launch(self._prepare(spec, place))
            if failure:
                write_record(place.folder / "exit.json", {"failure": failure})
        return self.inspect(spec.name)

    def inspect(self, name: str) -> InstanceStatus:
        """What runs under this name: reads three small files and asks the socket, whatever else runs here."""
        place = self._place(name)
        record = read_record(place.folder / "instance.json")
        if record is None:
            return InstanceStatus(Phase.ABSENT)
        digest = str(record["digest"])
        identity = read_record(place.folder / "process.json")
        if identity is not None and _runs(identity):
            return self._status_of_running(place, record, identity)
        ended = read_record(place.folder / "exit.json")
        if identity is None and ended is None:
            if self._marked(name):
                return InstanceStatus(Phase.STARTING, digest=digest)
            # The starter died before it started anything.
            return InstanceStatus(Phase.ABSENT)
        if ended is None:
            # The guardian is still clearing up, or has been killed too: then nobody else will.
            self._clear_up(place)
            ended = read_record(place.folder / "exit.json")
        return self._status_of_ended(place, record, identity or {}, ended or {})

    def logs(self, name: str, *, since: datetime) -> Iterator[LogLine]:
        """Console lines from `since` on, oldest first; none when there is no such instance."""
        place = self._place(name)
        identity = read_record(place.folder / "process.json")
        is_over = identity is None or not _runs(identity)
        started_at = _time((identity or {}).get("started_at")) or datetime.now(UTC)
        return console.lines_since(place.folder, since, started_at=started_at, is_over=is_over)

    def usage(self, name: str) -> Usage | None:
        """Memory now and processor time since the last call (or the start); None when it does not run."""
        place = self._place(name)
        record = read_record(place.folder / "instance.json")
        identity = read_record(place.folder / "process.json")
        if record is None or identity is None or not _runs(identity):
            return None
        return self._meter.measure(
            self.limits,
            name,
            pid=int(identity["pid"]),
            started_at=float(identity["started_at"]),
            cpu_cores=float(record["cpu_cores"]),
            memory_limit_bytes=int(record["memory_bytes"]),
        )

    def remove(self, name: str, *, grace_seconds: float = 0) -> None:
        """Stop and forget it; at most fifteen seconds of grace, since every call must come back."""
        place = self._place(name)
        with self._lock(name, forget=True):
            self._end(place, grace_seconds=min(grace_seconds, LONGEST_GRACE_SECONDS))
            self._meter.forget(name)
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(place.folder)

    def owned(self) -> Iterator[str]:
        """Names by folder and by mark: a crash at any moment leaves at least one of them."""
        names = {process.name for process in marked_processes(self.installation)}
        names.update(entry.name for entry in self.root.iterdir())
        # Anyone may give a process of theirs a mark: what no call of ours could have made is not ours.
        return iter(sorted(name for name in names if NAME.fullmatch(name)))

    def running(self) -> set[str]:
        """Names of the instances whose main process is alive: reads one small file of each."""
        found = set()
        for entry in self.root.iterdir():
            identity = read_record(entry / "process.json") if NAME.fullmatch(entry.name) else None
            if identity is not None and _runs(identity):
                found.add(entry.name)
        return found

    # Starting

    def _what_is_in_the_way(self, spec: InstanceSpec) -> str:
        """Why the instance's user could not even begin; empty when nothing is in the way."""
        uid, gid = self.owner_ids(spec.owner)
        script = spec.code_dir / spec.scoring_script if spec.code_dir else None
        needed = (
            self.root,
            self.run_dir,
            self.server.folder,
            self.server.python,
            spec.python,
        )
        for path in (*needed, script, spec.model_dir):
            if path is None:
                continue
            if not path.exists():
                return f"{path} does not exist."
            if self.users.are_separate:
                closed = unreachable_folder(path, uid=uid, gid=gid)
                if closed is not None:
                    return (
                        f"The instance's user {uid} cannot get to {path}: {closed} is closed to it. "
                        f"Open it with `chmod o+x {closed}`, or put PORTICO_HOME elsewhere."
                    )
        return ""

    def _record(self, spec: InstanceSpec, place: Place) -> None:
        record = {
            "digest": spec.digest,
            "uid": self.owner_ids(spec.owner)[0],
            "cpu_cores": spec.cpu_cores,
            "memory_bytes": spec.memory_bytes,
        }
        write_record(place.folder / "instance.json", record)

    def _prepare(self, spec: InstanceSpec, place: Place) -> dict[str, Any]:
        """Make the folders and groups; returns the order for the launcher."""
        uid, gid = self.owner_ids(spec.owner)
        separate = self.users.are_separate
        for folder in (place.state, place.temporary, place.socket_folder):
            folder.mkdir(mode=0o700, exist_ok=True)
            if separate:
                os.chown(folder, uid, gid)
        if separate:
            os.chown(place.folder, -1, gid)
        confinement = self.limits.prepare(
            spec.name,
            memory_bytes=spec.memory_bytes,
            cpu_cores=spec.cpu_cores,
            process_count=PROCESSES_EACH,
        )
        return {
            "folder": str(place.folder),
            "argv": self.server.command(spec, place),
            "environment": self.server.environment(spec, place, as_root=uid == 0)
            | {MARK: f"{self.installation}/{spec.name}"},
            "cwd": str(spec.code_dir or place.temporary),
            "uid": uid if separate else None,
            "gid": gid if separate else None,
            "groups": confinement.groups,
            "guardian_groups": confinement.guardian_groups,
            "temporary": str(place.temporary),
            "covered": self._covered(spec),
            "written": [str(place.state), str(place.socket_folder)],
            "disk_bytes": self.disk_bytes,
            "shared_memory_bytes": max(SMALLEST_SHARED_BYTES, spec.memory_bytes // 2),
            "cpus": confinement.cpus,
            "resource_limits": {
                "RLIMIT_CORE": 0,
                "RLIMIT_NOFILE": OPEN_FILES_EACH,
                **confinement.resource_limits,
            },
            "oom_score_adj": 500,
            "console_bytes": CONSOLE_BYTES,
        }

    def _covered(self, spec: InstanceSpec) -> list[str]:
        """Everybody's temporary folders, in whose place it finds its own; not one that holds what it needs."""
        pythons = [python for python in (self.server.python, spec.python) if python is not None]
        needed = [self.root, self.run_dir, self.server.folder, *pythons]
        needed += [python.resolve() for python in pythons]
        needed += [path for path in (spec.code_dir, spec.model_dir) if path is not None]
        return [
            place
            for place in SHARED_TEMPORARY
            if os.path.isdir(place) and not any(path.is_relative_to(place) for path in needed)
        ]

    def _launch(self, order: dict[str, Any]) -> str:
        """Hand the order to a launcher; the reason when the instance's program does not run afterwards."""
        mark = order["environment"][MARK]
        # The mark is there from the launcher's first moment, so that a crash of ours hides nothing.
        with subprocess.Popen(
            [sys.executable, "-I", "-S", launcher.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
            env={MARK: mark, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        ) as process:
            try:
                output, _ = process.communicate(json.dumps(order).encode(), timeout=START_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                return f"It could not be started within {START_SECONDS} s."
        if process.returncode == 0:
            return ""
        text = output.decode(errors="replace").strip()
        return text.splitlines()[-1] if text else "The launcher ended without a word."

    # Looking

    def _status_of_running(
        self, place: Place, record: dict[str, Any], identity: dict[str, Any]
    ) -> InstanceStatus:
        server = read_server_status(place.status)
        code, reason = server.code, server.message
        memory = self.limits.memory(place.name)
        if memory is not None and memory.killed:
            code = "OutOfMemory"
            limit = in_words(int(record["memory_bytes"]))
            reason = f"A worker was killed at its memory limit of {limit}."
        is_reached = publish(place, uid=int(record["uid"]))
        healthy = is_reached and answers(place.address)
        return InstanceStatus(
            phase=Phase.HEALTHY if healthy else Phase.STARTING,
            address=f"unix:{place.address}" if is_reached else "",
            code="" if healthy else code,
            reason=reason,
            evidence=server.evidence,
            started_at=_time(identity["started_at"]),
            digest=str(record["digest"]),
        )

    def _status_of_ended(
        self,
        place: Place,
        record: dict[str, Any],
        identity: dict[str, Any],
        ended: dict[str, Any],
    ) -> InstanceStatus:
        server = read_server_status(place.status)
        evidence = server.evidence or console.last_lines(
            place.folder, from_offset=int(identity.get("console_offset", 0))
        )
        ending = ending_of(
            ended,
            server=server,
            memory=self.limits.memory(place.name),
            memory_limit_bytes=int(record["memory_bytes"]),
            evidence=evidence,
        )
        code, reason = ending.why()
        return InstanceStatus(
            phase=Phase.EXITED,
            code=code,
            reason=reason,
            evidence=ending.told_evidence(),
            exit_code=ending.exit_code,
            started_at=_time(identity.get("started_at")),
            digest=str(record["digest"]),
        )

    # Ending

    def _end(self, place: Place, *, grace_seconds: float) -> None:
        """End every process of the instance, then clear what it would find on the next start; the console stays."""
        identity = read_record(place.folder / "process.json")
        if grace_seconds > 0 and identity is not None and _runs(identity):
            main = (int(identity["pid"]), int(identity["start_ticks"]))
            kill([main], signal_number=signal.SIGTERM)
            until = time.monotonic() + grace_seconds
            while is_alive(*main) and time.monotonic() < until:
                pause()
        self._kill_everything(place)
        self.limits.remove(place.name)
        place.address.unlink(missing_ok=True)
        for folder in (place.socket_folder, place.state):
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(folder)
        for name in ("instance.json", "process.json", "exit.json"):
            (place.folder / name).unlink(missing_ok=True)

    def _clear_up(self, place: Place) -> None:
        """End what a dead main process has left, unless someone is at work on this instance."""
        with contextlib.suppress(TimeoutError), self._lock(place.name, seconds=0):
            identity = read_record(place.folder / "process.json")
            if identity is not None and not _runs(identity):
                self._kill_everything(place)

    def _kill_everything(self, place: Place) -> None:
        """Kill main process and groups first: the guardian then clears the tree below it and ends by itself."""
        until = time.monotonic() + KILL_SECONDS
        guardian_until = time.monotonic() + KILL_SECONDS / 2
        self.limits.stop_forks(place.name)
        while True:
            identity = read_record(place.folder / "process.json")
            main = {int(identity["pid"])} if identity is not None and _runs(identity) else set()
            doomed = main | self.limits.processes(place.name)
            marked = {process.pid: process.start_ticks for process in self._marked(place.name)}
            if not doomed and not marked:
                return
            if time.monotonic() > until:
                raise TimeoutError(
                    f"Processes of instance {place.name} do not end: {sorted(doomed | set(marked))}."
                )
            spared = {place.guardian_pid()} if time.monotonic() < guardian_until else set()
            targets = (doomed | set(marked)) - spared
            kill((pid, ticks) for pid in targets if (ticks := start_ticks_of(pid)) is not None)
            pause()

    def _marked(self, name: str) -> list[MarkedProcess]:
        return [process for process in marked_processes(self.installation) if process.name == name]

    # Places

    def _place(self, name: str) -> Place:
        if not NAME.fullmatch(name):
            raise ValueError(
                f"'{name}' is no instance name: use letters, digits, '.', '_' and '-'."
            )
        return Place(self.root, self.run_dir, name)

    def _lock(
        self, name: str, *, seconds: float = LOCK_SECONDS, forget: bool = False
    ) -> contextlib.AbstractContextManager[None]:
        folder = self.root / ".locks"
        folder.mkdir(mode=0o700, exist_ok=True)
        return hold(folder / name, seconds=seconds, forget=forget)


def _runs(identity: dict[str, Any]) -> bool:
    """Whether the main process that left this identity is still alive."""
    if identity["boot_id"] != boot_id():
        return False
    return is_alive(int(identity["pid"]), int(identity["start_ticks"]))


def _time(seconds: object) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if isinstance(seconds, float) else None
