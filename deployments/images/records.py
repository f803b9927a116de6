"""What is remembered of built images beside the engine: where Python is inside, and the versions of packages."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from deployments.environments.resolving import Lock


@dataclass(frozen=True)
class Record:
    """One finished image; without its record an image is as if it were not there."""

    reference: str
    python: str
    python_version: str
    warnings: tuple[str, ...]
    size_bytes: int = 0
    """On the engine's disk, with all layers; 0: it was not noted."""


@dataclass(frozen=True)
class Records:
    """Files below `root`; every write is seen whole or not at all."""

    root: Path

    def find(self, key: str) -> Record | None:
        try:
            data = json.loads(self._path(key).read_text(encoding="utf-8"))
            return Record(
                str(data["reference"]),
                str(data["python"]),
                str(data["python_version"]),
                tuple(data["warnings"]),
                int(data.get("size_bytes", 0)),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keys_of(self, reference: str) -> Iterator[str]:
        """Keys under which this image was built, the latest first."""
        paths = (self.root / "records").glob("*.json")
        for path in sorted(paths, key=_changed_at, reverse=True):
            record = self.find(path.stem)
            if record is not None and record.reference == reference:
                yield path.stem

    def of_reference(self, reference: str) -> Record | None:
        """What was built with this id, as it was noted; no engine is asked whether it is still there."""
        return next((self.find(key) for key in self.keys_of(reference)), None)

    def write(self, key: str, record: Record) -> None:
        _write_whole(self._path(key), json.dumps(asdict(record)))

    def touch(self, key: str) -> None:
        """Note that it was asked for."""
        with suppress(OSError):
            os.utime(self._path(key))

    def age_seconds(self, key: str) -> float:
        """Since it was last asked for; without end for one that was not."""
        changed_at = _changed_at(self._path(key))
        return time.time() - changed_at if changed_at else float("inf")

    def forget(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def kept_lock(self, key: str) -> Lock | None:
        """The versions of an earlier build: they outlive the image."""
        try:
            text = (self.folder(key) / "lock.json").read_text(encoding="utf-8")
            return Lock.from_dict(json.loads(text))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep_lock(self, lock: Lock) -> None:
        _write_whole(self.folder(lock.key) / "lock.json", json.dumps(lock.as_dict()))

    def folder(self, key: str) -> Path:
        """Where a build keeps copies of the wish's own files."""
        folder = self.root / "locks" / key
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    def _path(self, key: str) -> Path:
        return self.root / "records" / f"{key}.json"


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _write_whole(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
