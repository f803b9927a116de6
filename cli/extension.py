"""`az extension add -n ml` stands at the head of many scripts; here the ml commands are built in."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any


def add(**_: Any) -> None:
    """Nothing to do: the commands are there."""


def list_all() -> list[dict[str, Any]]:
    return [show("ml")]


def show(name: str) -> dict[str, Any]:
    return {"name": "ml", "version": version("azure-ai-ml"), "extensionType": "built in"}
