"""The container of one local deployment: it outlives the command, and is found again by its name."""

from __future__ import annotations

import math
import os
import shutil
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from cli.local import engine, server
from cli.local.builds import Built
from cli.local.engine import EngineAway
from cli.local.ports import USUAL_DEBUG_PORT, free_port, usual_port
from cli.local.records import DeploymentRecord, Failure, write_deployment
from cli.local.surroundings import MLFLOW, TRITON, Routes
from cli.local.wishes import Wish

MODELS = "azureml-models"
APP_ROOT = "/var/azureml-app"
HEALTHY, STARTING, ABSENT = "Healthy", "Starting", "Absent"
PORT_TRIES = 5
GRACE_SECONDS = 5.0
KEPT_LINES = 2000
MOST_WORKERS = 64
ALL_GPUS = -1


def bring_up(
    record: DeploymentRecord, wish: Wish, built: Built
) -> tuple[DeploymentRecord, Failure | None]:
    """Start the container, reached at the record's port or a free one where that is taken; wait until it is ready.

    Returns the record with what runs, and why it never became ready: then nothing runs, and its console is kept.
    """
    model_dir, mounted = _lay_out(record, wish)
    spec = _spec(record, wish, built, model_dir)
    failure, found = None, {}
    for _ in range(PORT_TRIES):
        record = replace(record, port=free_port(record.port or usual_port()))
        # Whoever comes after us, should we be killed while we wait, must find the container.
        record = write_deployment(record)
        try:
            found = _started(record, wish, spec, mounted)
        except BaseException:
            stop(record)
            raise
        failure = _failure_of(record, found, wish)
        # Somebody took the port between our look and the engine's.
        if failure is None or not _is_taken(failure):
            break
        record = replace(record, port=free_port())
    if failure is not None:
        _keep_console(record)
        stop(record)
    return record, failure


def stop(record: DeploymentRecord) -> None:
    """End and remove the container; nothing there is success, and so is an engine that is away."""
    try:
        engine.ask("stop", name=_name(record), grace_seconds=GRACE_SECONDS)
    except EngineAway:
        # It ends what it runs when it is stopped, and the next start under this name removes what is left.
        return


def failure_now(record: DeploymentRecord) -> Failure | None:
    """Why a deployment that once came up does not serve any more; None while it does."""
    try:
        found = engine.ask("look", name=_name(record))
    except EngineAway as fault:
        return Failure("EngineAway", str(fault), (), ("Start the Docker engine again",))
    if found["phase"] in {HEALTHY, STARTING}:
        return None
    return _ended(record, found)


def tail(record: DeploymentRecord, lines: int) -> tuple[str, ...]:
    """The last lines of its console; of a container that is gone, those that were kept."""
    try:
        found = engine.ask("tail", name=_name(record), lines=lines)
    except EngineAway:
        found = []
    return tuple(found) or server.tail(record, lines)


def _started(
    record: DeploymentRecord, wish: Wish, spec: dict[str, Any], mounted: dict[str, str]
) -> dict[str, Any]:
    published = {str(spec["port"]): record.port}
    if record.debug_port:
        published[str(USUAL_DEBUG_PORT)] = record.debug_port
    seconds = None if math.isinf(wish.ready_seconds) else wish.ready_seconds
    found: dict[str, Any] = engine.ask(
        "start", spec=spec, published=published, mounted=mounted, ready_seconds=seconds
    )
    return found


def _failure_of(record: DeploymentRecord, found: dict[str, Any], wish: Wish) -> Failure | None:
    if found["phase"] == HEALTHY:
        return None
    if found["phase"] != STARTING:
        return _ended(record, found)
    return Failure(
        "ResourceNotReady",
        f"The container was not ready after {wish.ready_seconds:.0f} seconds.",
        tuple(found["evidence"]) or tail(record, server.EVIDENCE_LINES),
        (
            "Give init() more time with readiness_probe.failure_threshold",
            server.look_at_log(record),
        ),
    )


def _ended(record: DeploymentRecord, found: dict[str, Any]) -> Failure:
    if found["phase"] == ABSENT:
        again = f"portico ml online-deployment update --local -e {record.endpoint_name} -n {record.name}"
        return Failure(
            "ServerEnded",
            "The container of this deployment is gone: it was removed from outside.",
            (),
            (f"Start it again: {again}",),
        )
    return Failure(
        found["code"] or "ServerEnded",
        found["reason"],
        tuple(found["evidence"]) or tail(record, server.EVIDENCE_LINES),
        (server.look_at_log(record),),
    )


def _is_taken(failure: Failure) -> bool:
    return (
        "port is already allocated" in failure.message
        or "address already in use" in failure.message
    )


def _keep_console(record: DeploymentRecord) -> None:
    """What it printed, once the container itself is removed."""
    lines = tail(record, KEPT_LINES)
    descriptor = os.open(record.console, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def _name(record: DeploymentRecord) -> str:
    return f"{record.endpoint_name}.{record.name}"


def _spec(
    record: DeploymentRecord, wish: Wish, built: Built, model_dir: Path | None
) -> dict[str, Any]:
    """By the names of the runtime's own `InstanceSpec`."""
    routes = wish.surroundings.routes
    told = routes or Routes()
    # Nobody else notes the requests here.
    variables = {"PORTICO_LOG_REQUESTS": "true", **wish.variables}
    if record.debug_port:
        variables = {"PORTICO_DEBUG_LISTEN": f"0.0.0.0:{USUAL_DEBUG_PORT}", **variables}
    repository = ""
    if wish.model is not None and wish.served_alone == MLFLOW:
        variables = {"MLFLOW_MODEL_FOLDER": wish.model.path.name, **variables}
    elif wish.model is not None and wish.served_alone == TRITON:
        repository = wish.model.path.name
    workers = variables.get("WORKER_COUNT", "")
    worker_count = int(workers) if workers.isdecimal() and 0 < int(workers) <= MOST_WORKERS else 1
    return {
        "name": _name(record),
        # A number of its own, for a network of its own.
        "owner": zlib.crc32(_name(record).encode()),
        "code_dir": str(wish.code_dir) if wish.code_dir else "",
        "scoring_script": str(wish.script or ""),
        "model_dir": str(model_dir) if model_dir else "",
        "model_repository": repository,
        "python": built.python,
        "image": built.image,
        "is_custom": routes is not None,
        "port": told.port,
        "readiness_path": told.readiness_path,
        "readiness_port": told.readiness_port,
        "model_mount": wish.model_mount if routes is not None else "",
        "gpu_count": ALL_GPUS if wish.wants_gpu else 0,
        "environment_variables": variables,
        "cpu_cores": float(os.cpu_count() or 1),
        "memory_bytes": psutil.virtual_memory().total,
        "worker_count": worker_count,
        "max_concurrent_requests": 0,
        "request_timeout_ms": 0,
        "max_queue_wait_ms": 5000,
    }


def _lay_out(record: DeploymentRecord, wish: Wish) -> tuple[Path | None, dict[str, str]]:
    """An empty `AZUREML_MODEL_DIR` with a place to mount the model's own file or folder, and what is mounted there."""
    root = record.folder / MODELS
    shutil.rmtree(root, ignore_errors=True)
    model = wish.model
    if model is None:
        return None, {}
    place = root / model.name / model.version
    place.mkdir(mode=0o755, parents=True)
    leaf = place / model.path.name
    if model.path.is_file():
        leaf.touch(mode=0o644)
    else:
        leaf.mkdir(mode=0o755)
    inside = f"{APP_ROOT}/{MODELS}/{model.name}/{model.version}"
    if wish.surroundings.routes is not None and wish.model_mount:
        inside = wish.model_mount.rstrip("/")
    return place, {f"{inside}/{leaf.name}": str(model.path)}
