"""The whole contract without a process: for tests of what stands on a runtime. Can be told to fail or be slow."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deployments.runtimes import InstanceSpec, InstanceStatus, LogLine, Phase, Usage
from deployments.runtimes.locks import hold
from deployments.runtimes.records import read_record, write_record

LOCK_SECONDS = 10


@dataclass(frozen=True)
class Plan:
    """What becomes of an instance, unless told otherwise Healthy at once."""

    outcome: Phase = Phase.HEALTHY
    """`HEALTHY`, `EXITED`, or `STARTING` for one that never gets there."""
    inspections_before: int = 0
    """How often `inspect` says Starting first."""
    code: str = ""
    reason: str = ""
    evidence: tuple[str, ...] = ()
    exit_code: int | None = None


FAILS = Plan(
    outcome=Phase.EXITED,
    code="UserScriptInitFailed",
    reason="init() of the script failed.",
    evidence=("ValueError: no such model",),
    exit_code=3,
)
RUNS_OUT_OF_MEMORY = Plan(
    outcome=Phase.EXITED,
    code="OutOfMemory",
    reason="Killed at 2.0 GiB, limit 2.0 GiB.",
    exit_code=137,
)
IS_SLOW = Plan(inspections_before=3)
HANGS = Plan(outcome=Phase.STARTING)


class FakeRuntime:
    """Keeps instances in memory or, given a `root`, in a file there that several processes share."""

    def __init__(self, root: Path | None = None, **_: object) -> None:
        self._file = root / "fake-runtime.json" if root is not None else None
        self._memory: dict[str, Any] = {}
        self._threads = threading.RLock()

    # For tests

    def plan(self, name_prefix: str, plan: Plan) -> None:
        """Instances whose name begins so, and that start from now on, take this course."""
        with self._state() as state:
            state["plans"][name_prefix] = asdict(plan)

    def crash(
        self, name: str, *, code: str = "ResourceNotReady", reason: str = "It crashed."
    ) -> None:
        """End a running instance."""
        with self._state() as state:
            plan = Plan(outcome=Phase.EXITED, code=code, reason=reason, exit_code=1)
            state["instances"][name]["plan"] = asdict(plan)

    def hang(self, name: str, *, forever: bool = True) -> None:
        """Let a running instance not answer its probe any more, or answer again."""
        with self._state() as state:
            state["instances"][name]["plan"] = asdict(HANGS if forever else Plan())

    def say(self, name: str, text: str, *, time: datetime | None = None) -> None:
        """Write a line to the instance's console."""
        with self._state() as state:
            moment = (time or datetime.now(UTC)).isoformat()
            state["instances"][name]["lines"].append([moment, text])

    def use(self, name: str, *, cpu_percent: float, memory_bytes: int) -> None:
        """Let `usage` tell these figures."""
        with self._state() as state:
            instance = state["instances"][name]
            instance["cpu_percent"], instance["memory_bytes"] = cpu_percent, memory_bytes

    def starts(self, name: str) -> int:
        """How often an instance of this name was really started."""
        with self._state() as state:
            return int(state["starts"].get(name, 0))

    # The contract

    def ensure(self, spec: InstanceSpec) -> InstanceStatus:
        with self._state() as state:
            current = self._status(state, spec.name)
            if current.digest == spec.digest and current.phase != Phase.EXITED:
                return current
            lines = state["instances"].get(spec.name, {}).get("lines", [])
            state["starts"][spec.name] = state["starts"].get(spec.name, 0) + 1
            state["instances"][spec.name] = {
                "digest": spec.digest,
                "plan": self._plan_for(state, spec.name),
                "started_at": datetime.now(UTC).isoformat(),
                "lines": lines,
                "cpu_percent": 0.0,
                "memory_bytes": 0,
                "memory_limit_bytes": spec.memory_bytes,
            }
            return self._status(state, spec.name)

    def inspect(self, name: str) -> InstanceStatus:
        with self._state() as state:
            status = self._status(state, name)
            if name in state["instances"]:
                plan = state["instances"][name]["plan"]
                plan["inspections_before"] = max(0, plan["inspections_before"] - 1)
            return status

    def logs(self, name: str, *, since: datetime) -> Iterator[LogLine]:
        with self._state() as state:
            lines = list(state["instances"].get(name, {}).get("lines", []))
        for moment, text in lines:
            time = datetime.fromisoformat(moment)
            if time >= since:
                yield LogLine(time=time, text=text)

    def usage(self, name: str) -> Usage | None:
        with self._state() as state:
            if self._status(state, name).phase in (Phase.ABSENT, Phase.EXITED):
                return None
            instance = state["instances"][name]
            return Usage(
                cpu_percent=instance["cpu_percent"],
                memory_bytes=instance["memory_bytes"],
                memory_limit_bytes=instance["memory_limit_bytes"],
            )

    def remove(self, name: str, *, grace_seconds: float = 0) -> None:
        with self._state() as state:
            state["instances"].pop(name, None)

    def owned(self) -> Iterator[str]:
        with self._state() as state:
            return iter(sorted(state["instances"]))

    def running(self) -> set[str]:
        with self._state() as state:
            names = state["instances"]
            return {name for name in names if self._status(state, name).phase != Phase.EXITED}

    def _status(self, state: dict[str, Any], name: str) -> InstanceStatus:
        instance = state["instances"].get(name)
        if instance is None:
            return InstanceStatus(Phase.ABSENT)
        plan = instance["plan"]
        phase = Phase(plan["outcome"]) if plan["inspections_before"] == 0 else Phase.STARTING
        has_failed = phase == Phase.EXITED
        return InstanceStatus(
            phase=phase,
            address="" if has_failed else f"unix:/fake/{name}.sock",
            code=plan["code"] if has_failed else "",
            reason=plan["reason"] if has_failed else "",
            evidence=tuple(plan["evidence"]) if has_failed else (),
            exit_code=plan["exit_code"] if has_failed else None,
            started_at=datetime.fromisoformat(instance["started_at"]),
            digest=instance["digest"],
        )

    def _plan_for(self, state: dict[str, Any], name: str) -> dict[str, Any]:
        """The plan with the longest prefix of the name."""
        fitting = [prefix for prefix in state["plans"] if name.startswith(prefix)]
        return dict(state["plans"][max(fitting, key=len)]) if fitting else asdict(Plan())

    @contextmanager
    def _state(self) -> Iterator[dict[str, Any]]:
        empty: dict[str, Any] = {"plans": {}, "instances": {}, "starts": {}}
        with self._threads:
            if self._file is None:
                self._memory = self._memory or empty
                yield self._memory
                return
            with hold(self._file.with_suffix(".lock"), seconds=LOCK_SECONDS):
                state = read_record(self._file) or empty
                yield state
                write_record(self._file, state)
