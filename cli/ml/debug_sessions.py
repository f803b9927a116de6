"""`ml online-deployment start-debug|show-debug|stop-debug`: Portico's own."""

from __future__ import annotations

from typing import Any

from cli.arm import call
from cli.session import Session


def start(session: Session, name: str, endpoint_name: str, minutes: int) -> Any:
    return call(session, "PUT", *_session(name, endpoint_name), body={"minutes": minutes})


def show(session: Session, name: str, endpoint_name: str) -> Any:
    return call(session, "GET", *_session(name, endpoint_name))


def stop(session: Session, name: str, endpoint_name: str) -> None:
    call(session, "DELETE", *_session(name, endpoint_name))


def _session(name: str, endpoint_name: str) -> tuple[str, ...]:
    return ("onlineEndpoints", endpoint_name, "deployments", name, "debugSession")
