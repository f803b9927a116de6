"""`ml environment build|list-builds|get-build-log|cancel-build|check`: Portico's own."""

from __future__ import annotations

import sys
import time
from typing import Any

from cli.arm import call
from cli.faults import ClientFault
from cli.sdk_faults import error_text
from cli.session import Session

OPEN = ("Queued", "Running")
PAUSE_SECONDS = 1.0


def build(session: Session, name: str, version: str, no_wait: bool) -> Any:
    """Its log goes to stderr while it runs."""
    place = _place(name, version)
    found = call(session, "POST", *place, "builds")
    if no_wait:
        return found
    shown = 0
    while True:
        found = call(session, "GET", *place, "builds", str(found["id"]))
        shown = _show(_log(session, name, version, found["id"]), shown)
        if found["state"] not in OPEN:
            break
        time.sleep(PAUSE_SECONDS)
    if found["state"] != "Succeeded":
        error = found.get("error", {"code": found["state"], "message": "It was canceled."})
        raise ClientFault(error_text(error))
    return found


def list_builds(session: Session, name: str, version: str) -> Any:
    return call(session, "GET", *_place(name, version), "builds")["value"]


def get_build_log(session: Session, name: str, version: str, build: int | None) -> Any:
    """Of the newest build unless one is named."""
    return _log(session, name, version, build or _newest(session, name, version))


def cancel_build(session: Session, name: str, version: str, build: int | None) -> Any:
    number = build or _newest(session, name, version)
    return call(session, "POST", *_place(name, version), "builds", str(number), "cancel")


def check(session: Session, name: str, version: str, resolve: bool) -> Any:
    return call(session, "POST", *_place(name, version), "check", body={"resolve": resolve})


def _newest(session: Session, name: str, version: str) -> int:
    builds = list_builds(session, name, version)
    if not builds:
        raise ClientFault(
            f"Environment '{name}:{version}' has no build. 'portico ml environment build -n {name} -v {version}' "
            "begins one."
        )
    return int(builds[0]["id"])


def _log(session: Session, name: str, version: str, build: int) -> str:
    place = (*_place(name, version), "builds", str(build), "getLog")
    return str(call(session, "POST", *place, body={})["content"])


def _show(log: str, shown: int) -> int:
    """Print the lines behind the first `shown`; how many there are now."""
    lines = log.splitlines()
    for line in lines[shown:]:
        print(line, file=sys.stderr)
    return len(lines)


def _place(name: str, version: str) -> tuple[str, ...]:
    return ("environments", name, "versions", version)
