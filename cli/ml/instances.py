"""`ml online-deployment list-instances|restart-instance|drain-instance|get-build-log`: Portico's own."""

from __future__ import annotations

from typing import Any

from cli.arm import call
from cli.session import Session


def list_all(session: Session, name: str, endpoint_name: str) -> Any:
    return call(session, "GET", *_deployment(name, endpoint_name), "instances")["value"]


def restart(session: Session, name: str, endpoint_name: str, instance: str) -> Any:
    return call(
        session, "POST", *_deployment(name, endpoint_name), "instances", instance, "restart"
    )


def drain(session: Session, name: str, endpoint_name: str, instance: str) -> Any:
    return call(session, "POST", *_deployment(name, endpoint_name), "instances", instance, "drain")


def get_build_log(
    session: Session, name: str, endpoint_name: str, revision: int | None, lines: int | None
) -> Any:
    wish = {"revision": revision, "tail": lines}
    body = {key: value for key, value in wish.items() if value is not None}
    return call(session, "POST", *_deployment(name, endpoint_name), "getBuildLog", body=body)[
        "content"
    ]


def _deployment(name: str, endpoint_name: str) -> tuple[str, ...]:
    return ("onlineEndpoints", endpoint_name, "deployments", name)
