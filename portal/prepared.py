"""Whether the database and the static files are ready for `web`, which loads while they are being made so."""

from __future__ import annotations

import asyncio
from pathlib import Path

from django.conf import settings

LOOK_SECONDS = 0.02


def forget() -> None:
    """From now on `web` waits until the next `mark`."""
    _mark().unlink(missing_ok=True)


def mark() -> None:
    _mark().touch()


async def wait() -> None:
    while not _mark().exists():
        await asyncio.sleep(LOOK_SECONDS)


def _mark() -> Path:
    return Path(settings.RUN_DIR) / "prepared"
