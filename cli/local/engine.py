"""The Docker engine of this machine: found as the docker command finds it, and asked by a program of the house."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from cli.faults import ClientFault
from cli.local import programs, records

PROGRAM = "deployments.runtimes.docker"
SOCKET = "unix:///var/run/docker.sock"


@dataclass(frozen=True)
class Engine:
    """What is known of it; `reason` says why it cannot be used, empty when it can."""

    reason: str = ""
    has_gpus: bool = False


class EngineAway(ClientFault):
    """The engine does not answer."""


def engine() -> Engine:
    """Asked once a command."""
    return _engine(address()["url"])


def ask(verb: str, **needed: Any) -> Any:
    """The answer of the program to one verb; `EngineAway` when the engine does not answer."""
    said = programs.run(PROGRAM, {**marks(), "do": verb, **needed}, tell=_ignore)
    if "away" in said:
        raise EngineAway(said["away"])
    return said["done"]


def marks() -> dict[str, Any]:
    """What every order to the engine says: whose containers and images they are, and where the engine is."""
    root = str(records.root())
    records.root().mkdir(mode=0o700, parents=True, exist_ok=True)
    mark = hashlib.sha256(f"{os.getuid()} {root}".encode()).hexdigest()[:10]
    return {"root": root, "installation": f"local-{mark}", "engine": address()}


def address(environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """As the docker command has it."""
    return {
        "url": environment.get("DOCKER_HOST") or SOCKET,
        "cert_path": environment.get("DOCKER_CERT_PATH", ""),
        "tls_verify": bool(environment.get("DOCKER_TLS_VERIFY")),
    }


def _ignore(line: str) -> None:
    """The program has no log."""


@cache
def _engine(url: str) -> Engine:
    if not url.startswith("unix:"):
        return Engine(
            f"DOCKER_HOST is {url}: the engine is on another machine, which sees neither code nor model of this one."
        )
    try:
        found = ask("ask")
    except EngineAway as fault:
        return Engine(str(fault))
    return Engine(has_gpus=found["has_gpus"])
