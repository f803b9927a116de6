"""The server of one local deployment: a process that outlives the command, found again by number and command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from cli.local.assets import FetchedModel
from cli.local.builds import Built
from cli.local.debugger import brought
from cli.local.ports import free_port, usual_port
from cli.local.records import DeploymentRecord, Failure, write_deployment
from cli.local.surroundings import MLFLOW, TRITON
from cli.local.wishes import Wish

PROGRAM = "inference_server"
POLL_SECONDS = 0.05
STOP_SECONDS = 10.0
EVIDENCE_LINES = 12
PORT_TRIES = 5
# What scripts may see of the user's own environment; a container would see none of it.
PASSED_ON = (
    *("HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "HF_HOME", "XDG_CACHE_HOME"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
)

_children: dict[int, subprocess.Popen[bytes]] = {}
"""Started by this very process, which therefore has to collect them when they end."""


@dataclass(frozen=True)
class Status:
    """What the server says of itself; `state` is empty before it has said anything."""

    state: str = ""
    code: str = ""
    message: str = ""
    evidence: tuple[str, ...] = ()


def bring_up(
    record: DeploymentRecord, wish: Wish, built: Built, own: Mapping[str, str]
) -> tuple[DeploymentRecord, Failure | None]:
    """Start the server on the record's port, or a free one where that is taken, and wait until it is ready.

    `own` is the user's environment. Returns the record with what runs, and why it never became ready. Nothing may run
    under the record before.
    """
    model_dir = _lay_out(record, wish.model)
    python = Path(built.python)
    environment = _environment(own, record, wish, python, model_dir)
    wanted, failure = record.port or usual_port(), None
    for _ in range(PORT_TRIES):
        port = free_port(wanted)
        record = _start(replace(record, port=port), wish, python, model_dir, environment)
        # Whoever comes after us, should we be killed while we wait, must find the process.
        record = write_deployment(record)
        try:
            failure = _failure_of(record, within_seconds=wish.ready_seconds)
        except BaseException:
            stop(record)
            raise
        if failure is None:
            break
        stop(record)
        if failure.code != "CannotListen":
            break
        # Somebody took the port between our look and the server's.
        wanted = port
    return record, failure


def _failure_of(record: DeploymentRecord, *, within_seconds: float) -> Failure | None:
    """Wait until the first worker is ready: None. Else why it never was."""
    until = time.monotonic() + within_seconds
    while time.monotonic() < until:
        status = read_status(record)
        if status.state == "ready":
            return None
        if not is_alive(record):
            # It may have said why between the two looks.
            return _ended(record, read_status(record))
        time.sleep(POLL_SECONDS)
    return Failure(
        "ResourceNotReady",
        f"No worker was ready after {within_seconds:.0f} seconds.",
        tail(record, EVIDENCE_LINES),
        ("Give init() more time with readiness_probe.failure_threshold", look_at_log(record)),
    )


def stop(record: DeploymentRecord) -> None:
    """End the server and all it started; nothing there is success."""
    if is_alive(record):
        with suppress(ProcessLookupError):
            os.kill(record.pid, signal.SIGTERM)
        until = time.monotonic() + STOP_SECONDS
        while is_alive(record) and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
        # It leads its group, whose number is not given away while anyone is left in it.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(record.pid, signal.SIGKILL)
        while is_alive(record):
            time.sleep(POLL_SECONDS)
    child = _children.pop(record.pid, None)
    if child is not None:
        child.wait()


def is_alive(record: DeploymentRecord) -> bool:
    """Whether that very server runs: its number alone may have gone to another process."""
    if not record.pid:
        return False
    child = _children.get(record.pid)
    if child is not None:
        # For a moment after its start a process has no command line to be known by.
        return child.poll() is None
    try:
        # Of no other process, nor of one that has ended and waits to be collected.
        return str(record.status) in psutil.Process(record.pid).cmdline()
    except psutil.Error:
        return False


def read_status(record: DeploymentRecord) -> Status:
    try:
        found: dict[str, Any] = json.loads(record.status.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return Status()
    return Status(found["state"], found["code"], found["message"], tuple(found["evidence"]))


def failure_now(record: DeploymentRecord) -> Failure | None:
    """Why a deployment that once came up does not serve any more; None while it does."""
    if not is_alive(record):
        return _ended(record, read_status(record))
    return None


def tail(record: DeploymentRecord, lines: int) -> tuple[str, ...]:
    """The last lines of its console."""
    try:
        with record.console.open("rb") as file:
            return tuple(_last_lines(file, lines))
    except FileNotFoundError:
        return ()


def _last_lines(file: Any, count: int, block: int = 65_536) -> list[str]:
    """Read from the end, as far as it takes."""
    position, content = file.seek(0, os.SEEK_END), b""
    while position > 0 and content.count(b"\n") <= count:
        step = min(block, position)
        position -= step
        file.seek(position)
        content = file.read(step) + content
    lines: list[str] = content.decode("utf-8", "replace").splitlines()
    return lines[-count:] if count > 0 else []


def _ended(record: DeploymentRecord, status: Status) -> Failure:
    if status.state == "failed":
        return Failure(
            status.code,
            status.message,
            status.evidence or tail(record, EVIDENCE_LINES),
            (look_at_log(record),),
        )
    return Failure(
        "ServerEnded",
        "The server of this deployment has ended: it was stopped or killed from outside, or the machine was restarted.",
        tail(record, EVIDENCE_LINES),
        (
            f"Start it again: portico ml online-deployment update --local -e {record.endpoint_name} -n {record.name}",
            look_at_log(record),
        ),
    )


def look_at_log(record: DeploymentRecord) -> str:
    return f"Read the log: portico ml online-deployment get-logs --local -e {record.endpoint_name} -n {record.name}"


def _start(
    record: DeploymentRecord,
    wish: Wish,
    python: Path,
    model_dir: Path | None,
    environment: Mapping[str, str],
) -> DeploymentRecord:
    record.status.unlink(missing_ok=True)
    options: dict[str, object] = {
        "host": "127.0.0.1",
        "port": record.port,
        "python": python,
        "status_file": record.status,
    }
    if wish.code_dir is not None and wish.script is not None:
        options["entry_script"] = wish.code_dir / wish.script
    if model_dir is not None and wish.model is not None:
        options["model_dir"] = model_dir
        if wish.served_alone == TRITON:
            options["model_repository"] = model_dir / wish.model.path.name
    flags = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    descriptor = os.open(
        record.console, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600
    )
    try:
        process = subprocess.Popen(
            # Without the working directory on its path: modules of the user must not stand in for the server's.
            [sys.executable, "-P", "-m", PROGRAM, *flags],
            cwd=wish.code_dir or record.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)
    _children[process.pid] = process
    return replace(record, pid=process.pid)


def _environment(
    own: Mapping[str, str],
    record: DeploymentRecord,
    wish: Wish,
    python: Path,
    model_dir: Path | None,
) -> dict[str, str]:
    """All the script sees; the user's own variables of the YAML win."""
    values = {name: own[name] for name in PASSED_ON if name in own}
    values["PATH"] = f"{python.parent}:{own.get('PATH', '/usr/local/bin:/usr/bin:/bin')}"
    # A compiled script beside the user's own would be taken for it, if that is changed within a second.
    values["PYTHONDONTWRITEBYTECODE"] = "1"
    if wish.code_dir is not None:
        values["AML_APP_ROOT"] = str(wish.code_dir)
        values["AZUREML_ENTRY_SCRIPT"] = str(wish.script)
    if model_dir is not None and wish.model is not None:
        values["AZUREML_MODEL_DIR"] = str(model_dir)
        if wish.served_alone == MLFLOW:
            values["MLFLOW_MODEL_FOLDER"] = wish.model.path.name
    if record.debug_port:
        values["PORTICO_DEBUG_LISTEN"] = f"127.0.0.1:{record.debug_port}"
        values["PORTICO_DEBUGPY"] = str(brought())
    return values | dict(wish.variables)


def _lay_out(record: DeploymentRecord, model: FetchedModel | None) -> Path | None:
    """`AZUREML_MODEL_DIR` with the model's own file or folder in it: real folders, and links to the files."""
    root = record.folder / "azureml-models"
    shutil.rmtree(root, ignore_errors=True)
    if model is None:
        return None
    place = root / model.name / model.version
    place.mkdir(mode=0o700, parents=True)
    if model.path.is_file():
        (place / model.path.name).symlink_to(model.path)
        return place
    # A folder that is a link itself would be missed by scripts that walk through the model.
    _link_tree(model.path, place / model.path.name)
    return place


def _link_tree(source: Path, target: Path) -> None:
    target.mkdir(mode=0o700)
    for entry in os.scandir(source):
        if entry.is_dir():
            _link_tree(Path(entry.path), target / entry.name)
        else:
            (target / entry.name).symlink_to(entry.path)
