"""`ml compute`, `datastore`, `job` and `workspace`."""

from __future__ import annotations

from cli.table import Command

COMMANDS: tuple[Command, ...] = ()
GROUPS: dict[str, str] = {}
