"""What is kept of local endpoints and deployments: small files below `~/.portico/local`, written whole.

endpoints/<endpoint>/endpoint.json
endpoints/<endpoint>/<deployment>.lock          held by the command that works on it
endpoints/<endpoint>/<deployment>/deployment.json
                                  status.json   the server's own
                                  console.log   its output
                                  azureml-models/<model>/<version>/
                                  fetched/      assets of the portal
environments/                                   shared by all
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cli import profiles
from cli.faults import ClientFault
from cli.names import checked_name

CREATING, UPDATING, SUCCEEDED, FAILED = "Creating", "Updating", "Succeeded", "Failed"
PROCESS, DOCKER = "process", "docker"
# Long enough for those who only look whether somebody works.
WAIT_SECONDS, PAUSE_SECONDS = 1.0, 0.02


@dataclass(frozen=True)
class Failure:
    """What the failure card shows."""

    code: str
    message: str
    evidence: tuple[str, ...] = ()
    fixes: tuple[str, ...] = ()


@dataclass(frozen=True)
class DeploymentRecord:
    """One deployment as the last command left it; `pid` is its server's process, unless that is in a container."""

    endpoint_name: str
    name: str
    yaml: dict[str, Any]
    """The SDK's own form of it, with absolute paths."""
    state: str = CREATING
    failure: Failure | None = None
    port: int = 0
    pid: int = 0
    created_at: str = ""
    updated_at: str = ""
    runtime: str = PROCESS
    scoring_path: str = "/score"
    debug_port: int = 0
    """Where a debugger attaches; 0: nowhere."""
    image: str = ""
    """What its container runs; empty for a process."""
    python: str = ""
    """The script's interpreter, inside the image if there is one."""

    @property
    def folder(self) -> Path:
        return endpoint_folder(self.endpoint_name) / self.name

    @property
    def console(self) -> Path:
        return self.folder / "console.log"

    @property
    def status(self) -> Path:
        return self.folder / "status.json"

    @property
    def scoring_uri(self) -> str:
        return f"http://localhost:{self.port}{self.scoring_path}"


@dataclass(frozen=True)
class EndpointRecord:
    name: str
    auth_mode: str = "key"
    description: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)


def root() -> Path:
    return profiles.folder() / "local"


def environments_root() -> Path:
    return root() / "environments"


def endpoint_folder(name: str) -> Path:
    return root() / "endpoints" / name


def write_endpoint(record: EndpointRecord) -> None:
    _write(endpoint_folder(record.name) / "endpoint.json", asdict(record))


def read_endpoint(name: str) -> EndpointRecord | None:
    found = _read(endpoint_folder(checked_name("endpoint", name)) / "endpoint.json")
    return EndpointRecord(**found) if found is not None else None


def endpoints() -> list[EndpointRecord]:
    """By name."""
    names = sorted(path.parent.name for path in (root() / "endpoints").glob("*/endpoint.json"))
    return [record for name in names if (record := read_endpoint(name)) is not None]


def forget_endpoint(name: str) -> None:
    shutil.rmtree(endpoint_folder(name), ignore_errors=True)


def write_deployment(record: DeploymentRecord) -> DeploymentRecord:
    """The record as written, with its times."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    record = replace(record, created_at=record.created_at or now, updated_at=now)
    _write(record.folder / "deployment.json", asdict(record))
    return record


def read_deployment(endpoint_name: str, name: str) -> DeploymentRecord | None:
    folder = endpoint_folder(checked_name("endpoint", endpoint_name))
    found = _read(folder / checked_name("deployment", name) / "deployment.json")
    if found is None:
        return None
    failure = found.pop("failure")
    if failure is not None:
        lists = {key: tuple(failure[key]) for key in ("evidence", "fixes")}
        failure = Failure(**{**failure, **lists})
    return DeploymentRecord(**found, failure=failure)


def deployments(endpoint_name: str) -> list[DeploymentRecord]:
    """Those of one endpoint, by name."""
    folder = endpoint_folder(checked_name("endpoint", endpoint_name))
    names = sorted(path.parent.name for path in folder.glob("*/deployment.json"))
    found = [read_deployment(endpoint_name, name) for name in names]
    return [record for record in found if record is not None]


@contextmanager
def work_on(endpoint_name: str, name: str) -> Iterator[None]:
    """One command at a time; `ClientFault` while another works on the same deployment."""
    path = _lock_path(endpoint_name, name)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    until = time.monotonic() + WAIT_SECONDS
    while (descriptor := _take(path)) is None and time.monotonic() < until:
        time.sleep(PAUSE_SECONDS)
    if descriptor is None:
        raise ClientFault(
            f"Another command works on the local deployment '{name}' of '{endpoint_name}' right now. Wait for it to "
            "end, or stop it with Ctrl-C."
        )
    try:
        yield
    finally:
        os.close(descriptor)


def is_worked_on(endpoint_name: str, name: str) -> bool:
    path = _lock_path(endpoint_name, name)
    if not path.exists():
        return False
    descriptor = _take(path)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def forget_deployment(endpoint_name: str, name: str) -> None:
    """Called while working on it."""
    shutil.rmtree(endpoint_folder(endpoint_name) / name, ignore_errors=True)
    _lock_path(endpoint_name, name).unlink(missing_ok=True)


def _lock_path(endpoint_name: str, name: str) -> Path:
    return endpoint_folder(endpoint_name) / f"{name}.lock"


def _take(path: Path) -> int | None:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return None  # the whole endpoint goes away under us
    with suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A holder before us may have removed the file: then ours is a lock on nothing.
        if os.fstat(descriptor).st_ino == path.stat().st_ino:
            return descriptor
    os.close(descriptor)
    return None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ClientFault(
            f"{path} cannot be read ({error}). Remove the folder {path.parent} and create it again."
        ) from error
    return found


def _write(path: Path, content: dict[str, Any]) -> None:
    """A reader sees the old text or the new one, never a part; nobody else can read it."""
    profiles.write_private(path, json.dumps(content, indent=2) + "\n")
