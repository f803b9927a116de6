"""What is noted of each instance beside its engine, and the locks that keep two workers from one instance."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.runtimes.locks import hold
from deployments.runtimes.records import read_record, write_record

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
LOCK_SECONDS = 30


@dataclass(frozen=True)
class Notes:
    """Files `<root>/<name>.json`, and locks in `locks`, which runtimes on the same engines share."""

    root: Path
    installation: str
    locks: Path

    def container(self, name: str) -> str:
        """The container's name on its engine."""
        if not NAME.fullmatch(name):
            raise ValueError(
                f"'{name}' is no instance name: use up to 200 letters, digits, '.', '_' and '-'."
            )
        return f"portico-{self.installation}-{name}"

    def names(self) -> set[str]:
        return {path.stem for path in self.root.glob("*.json")}

    def find(self, name: str) -> dict[str, Any] | None:
        with contextlib.suppress(json.JSONDecodeError):
            return read_record(self._path(name))
        return None

    def write(self, name: str, **facts: Any) -> None:
        write_record(self._path(name), facts)

    def forget(self, name: str) -> None:
        self._path(name).unlink(missing_ok=True)

    def on(self, engine: str) -> set[str]:
        """Names of the instances that this engine was given."""
        records = {name: self.find(name) for name in self.names()}
        return {
            name for name, record in records.items() if record and record.get("engine") == engine
        }

    def lock(self, name: str, *, forget: bool = False) -> contextlib.AbstractContextManager[None]:
        """One worker at a time starts or ends this instance; `TimeoutError` after half a minute."""
        self.container(name)
        return hold(self._lock_folder() / name, seconds=LOCK_SECONDS, forget=forget)

    def lock_network(
        self, owner: int, *, seconds: float = LOCK_SECONDS, forget: bool = False
    ) -> contextlib.AbstractContextManager[None]:
        """One at a time makes or takes away what the deployment's containers share."""
        return hold(self._lock_folder() / f"network-{owner}", seconds=seconds, forget=forget)

    def _path(self, name: str) -> Path:
        self.container(name)
        return self.root / f"{name}.json"

    def _lock_folder(self) -> Path:
        self.locks.mkdir(mode=0o700, exist_ok=True)
        return self.locks
