"""`ml compute list-engines|attach-engine|update-engine|check-engine|drain-engine|detach-engine`: Portico's own."""

from __future__ import annotations

from typing import Any

from cli.arm import call
from cli.faults import UsageFault
from cli.session import Session

GIB = 2**30


def list_all(session: Session, name: str) -> Any:
    return call(session, "GET", "computes", name, "engines")["value"]


def attach(session: Session, name: str, engine: str, **facts: Any) -> Any:
    return call(session, "PUT", *_engine(name, engine), body=_body(**facts))


def update(session: Session, name: str, engine: str, **facts: Any) -> Any:
    body = _body(**facts)
    if not body:
        raise UsageFault(
            "Say what to change: --url, --max-cores, --max-memory-gib, --schedulable."
        )
    return call(session, "PATCH", *_engine(name, engine), body=body)


def check(session: Session, name: str, engine: str) -> Any:
    return call(session, "POST", *_engine(name, engine), "check")


def drain(session: Session, name: str, engine: str) -> Any:
    return call(session, "POST", *_engine(name, engine), "drain")


def detach(session: Session, name: str, engine: str) -> None:
    call(session, "DELETE", *_engine(name, engine))


def _engine(name: str, engine: str) -> tuple[str, ...]:
    return ("computes", name, "engines", engine)


def _body(
    url: str | None,
    cert_path: str | None,
    max_cores: float | None,
    max_memory_gib: float | None,
    schedulable: str | None,
) -> dict[str, Any]:
    wish = {
        "url": url,
        "certPath": cert_path,
        "maxCores": max_cores,
        "maxMemoryBytes": None if max_memory_gib is None else int(max_memory_gib * GIB),
        "isSchedulable": None if schedulable is None else schedulable == "true",
    }
    return {key: value for key, value in wish.items() if value is not None}
