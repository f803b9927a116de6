"""`ml batch-endpoint` and `ml batch-deployment`."""

from __future__ import annotations

from cli.table import Command

COMMANDS: tuple[Command, ...] = ()
GROUPS: dict[str, str] = {}
