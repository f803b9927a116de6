"""The engine that images are built on: how to reach it, its pulls and its registries' credentials."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from docker import APIClient
from docker.errors import APIError, DockerException, ImageNotFound
from requests.exceptions import RequestException

from deployments.environments.failures import BuildFailed
from deployments.environments.process import Cancelled, DeadlinePassed
from deployments.environments.uv_command import Cancel, Log
from deployments.images.failures import (
    credentials_failed,
    engine_failed,
    pull_failed,
    silent_engine,
)
from deployments.images.settings import ImageSettings
from deployments.runtimes.docker.engines import connect

Item = TypeVar("Item")

CALL_SECONDS = 120
POLL_SECONDS = 0.2


def connected(settings: ImageSettings) -> APIClient:
    """A client; raises `BuildFailed` when the engine does not answer."""
    try:
        return connect(settings.address, timeout_seconds=CALL_SECONDS)
    except (DockerException, RequestException, OSError) as error:
        raise BuildFailed(silent_engine(str(error))) from error


def read_credentials(client: APIClient, settings: ImageSettings) -> None:
    """Give the client the registries' credentials as they are now: they change while the client lives."""
    chosen = settings.docker_config
    try:
        if chosen is not None:
            json.loads(chosen.read_text())  # the SDK takes what it cannot read for empty
        client.reload_config(str(chosen) if chosen is not None else None)
    except (DockerException, OSError, ValueError) as error:
        raise BuildFailed(credentials_failed(str(error))) from error


@contextmanager
def explained() -> Iterator[None]:
    """What the engine says below, in the failure card's words."""
    try:
        yield
    except APIError as error:
        raise BuildFailed(engine_failed(str(error.explanation or error))) from error
    except (DockerException, RequestException) as error:
        raise BuildFailed(silent_engine(str(error))) from error


def follow(
    start: Callable[[], Iterable[Item]], *, cancel: Cancel, deadline: float
) -> Iterator[Item]:
    """What `start` gives, as it comes; raises `Cancelled` and `DeadlinePassed` however silent it is."""
    found: queue.Queue[tuple[bool, Any]] = queue.Queue(maxsize=1000)

    def read() -> None:
        try:
            for item in start():
                found.put((True, item))
            found.put((False, None))
        except Exception as error:  # raised again where it is waited for
            found.put((False, error))

    threading.Thread(target=read, daemon=True, name="engine-stream").start()
    while True:
        if cancel():
            raise Cancelled
        if time.monotonic() > deadline:
            raise DeadlinePassed
        try:
            is_item, item = found.get(timeout=POLL_SECONDS)
        except queue.Empty:
            continue
        if is_item:
            yield item
        elif item is None:
            return
        else:
            raise item


def identity(client: APIClient, reference: str) -> str:
    """The id of an image on the engine; empty when it is not there."""
    try:
        return str(client.inspect_image(reference)["Id"])
    except ImageNotFound:
        return ""


def pull(client: APIClient, reference: str, *, log: Log, cancel: Cancel, deadline: float) -> str:
    """Fetch an image with the client's credentials and give its id; raises `BuildFailed` with the way out."""
    log(f"Pulling {reference}")
    repository, tag = _split(reference)
    said: dict[str, str] = {}
    try:
        events = follow(
            lambda: client.pull(repository, tag=tag, stream=True, decode=True),
            cancel=cancel,
            deadline=deadline,
        )
        for event in events:
            if "error" in event:
                raise BuildFailed(pull_failed(reference, str(event["error"])))
            layer, status = str(event.get("id", "")), str(event.get("status", ""))
            if status and said.get(layer) != status and status != "Downloading":
                said[layer] = status
                log(f"{layer}: {status}" if layer else status)
    except APIError as error:
        raise BuildFailed(pull_failed(reference, str(error.explanation or error))) from error
    except DockerException as error:
        # What a credential helper said; the engine was not asked yet.
        raise BuildFailed(credentials_failed(str(error), reference=reference)) from error
    found = identity(client, reference)
    if not found:
        raise BuildFailed(pull_failed(reference, "not found after the pull"))
    return found


def _split(reference: str) -> tuple[str, str]:
    """Repository and tag or digest."""
    if "@" in reference:
        repository, _, digest = reference.partition("@")
        return repository, digest
    head, colon, tag = reference.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (reference, "latest")
