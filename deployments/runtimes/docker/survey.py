"""What an engine says of itself, asked once and briefly: for people who look, never for work."""

from __future__ import annotations

import socket
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import urlsplit

from docker.errors import DockerException
from requests.exceptions import RequestException

from deployments.runtimes.docker.addresses import EngineAddress
from deployments.runtimes.docker.containers import CORES, INSTANCE, MEMORY
from deployments.runtimes.docker.engines import connect, said
from deployments.runtimes.docker.networks import INSTALLATION

ANSWER_SECONDS = 2.0


@dataclass(frozen=True)
class EngineSurvey:
    """One engine: its machine, and what our instances hold of it."""

    name: str
    url: str
    away: str = ""
    """Why it does not answer; empty when it does."""
    version: str = ""
    cores: int = 0
    memory_bytes: int = 0
    taken_cores: float = 0.0
    taken_memory_bytes: int = 0
    container_count: int = 0
    """Of this installation, stopped ones included."""


def survey(address: EngineAddress, installation: str) -> EngineSurvey:
    """Ask it; each of its three answers may take two seconds."""
    closed = _closed_door(address)
    if closed:
        return EngineSurvey(address.name, address.url, away=closed)
    try:
        with closing(connect(address, timeout_seconds=ANSWER_SECONDS)) as api:
            info = api.info()
            found = api.containers(all=True, filters={"label": f"{INSTALLATION}={installation}"})
    except (DockerException, RequestException, OSError) as error:
        return EngineSurvey(address.name, address.url, away=said(error).rstrip("."))
    labels = [each["Labels"] for each in found if INSTANCE in each["Labels"]]
    return EngineSurvey(
        address.name,
        address.url,
        version=str(info.get("ServerVersion", "")),
        cores=int(info.get("NCPU", 0)),
        memory_bytes=int(info.get("MemTotal", 0)),
        taken_cores=sum(float(each.get(CORES, 0)) for each in labels),
        taken_memory_bytes=sum(int(each.get(MEMORY, 0)) for each in labels),
        container_count=len(labels),
    )


def is_there(address: EngineAddress) -> bool:
    """Whether it answers within two seconds."""
    if _closed_door(address):
        return False
    try:
        connect(address, timeout_seconds=ANSWER_SECONDS).close()
    except (DockerException, RequestException, OSError):
        return False
    return True


def _closed_door(address: EngineAddress) -> str:
    """Why nobody listens at an address of this machine: docker's SDK would leave a socket behind for that."""
    if not address.is_local:
        return ""
    try:
        with socket.socket(socket.AF_UNIX) as door:
            door.settimeout(ANSWER_SECONDS)
            door.connect(urlsplit(address.url).path)
    except OSError as error:
        return error.strerror or str(error)
    return ""
