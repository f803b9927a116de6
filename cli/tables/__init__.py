"""Every client command, on a few pages: names, flags, help, and where the code is. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterator

from cli.table import Command
from cli.tables import account, assets, batch, online, resources

PAGES = (account, online, batch, assets, resources)


def commands() -> Iterator[Command]:
    for page in PAGES:
        yield from page.COMMANDS


def groups() -> dict[str, str]:
    """Name → help of each group of commands."""
    return {name: text for page in PAGES for name, text in page.GROUPS.items()}
