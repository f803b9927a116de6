"""The small JSON files in an instance's folder: ours, which we trust, and the instance's own, which we do not."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.runtimes.printable import printable
from deployments.runtimes.telling import EVIDENCE_LINES

STATUS_BYTES = 1 << 16
MESSAGE_LENGTH = 1000


@dataclass(frozen=True)
class ServerStatus:
    """What the inference server says of itself."""

    state: str = ""
    code: str = ""
    message: str = ""
    evidence: tuple[str, ...] = ()


def read_record(path: Path) -> dict[str, Any] | None:
    """A file of ours; None when it is not there."""
    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    return record


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Whole or not at all, readable by us alone."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    with open(os.open(fresh, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        json.dump(record, file)
    fresh.replace(path)


def read_server_status(path: Path) -> ServerStatus:
    """The instance writes this file, so it may be a link, a pipe, huge, or nonsense: then it says nothing."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return told_status(file.read(STATUS_BYTES))
    return ServerStatus()


def told_status(text: str | bytes) -> ServerStatus:
    """The same from what was read elsewhere: JSON, if it is honest."""
    value: object = None
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(text)
    if not isinstance(value, dict):
        return ServerStatus()
    evidence = value.get("evidence")
    if isinstance(evidence, str):
        evidence = evidence.splitlines()
    if not isinstance(evidence, list):
        evidence = []
    lines = [_text(line)[:MESSAGE_LENGTH] for line in evidence[-EVIDENCE_LINES:]]
    return ServerStatus(
        state=_text(value.get("state"))[:32],
        code=_text(value.get("code"))[:64],
        message=_text(value.get("message"))[:MESSAGE_LENGTH],
        evidence=tuple(lines),
    )


def _text(value: object) -> str:
    return printable(value) if isinstance(value, str) else ""
