"""`ml environment list-images|remove-unused-images`: Portico's own."""

from __future__ import annotations

from typing import Any

from cli.arm import call
from cli.session import Session


def list_all(session: Session) -> Any:
    return call(session, "GET", "images")["value"]


def remove_unused(session: Session) -> Any:
    return call(session, "POST", "images", "removeUnused")
