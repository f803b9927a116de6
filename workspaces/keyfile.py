"""Keys that live in files of mode 0600, made once and safe against two starts at the same moment."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Callable
from pathlib import Path


def random_key() -> str:
    """32 random bytes in URL-safe base64."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


def read_or_make(path: Path, *, make: Callable[[], str] = random_key) -> str:
    """The content of `path`; what `make` returns is written there first when it is missing.

    Without the right to write there, a key for this process alone is returned: commands such as
    `portico --help` work on a machine where nothing was started yet.
    """
    try:
        return path.read_text().strip()
    except OSError:
        pass
    key = make()
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # fails when another process was first: its key wins
        except FileExistsError:
            key = path.read_text().strip()
        finally:
            draft.unlink()
    except OSError:
        return key
    return key


def read_or_make_keys(path: Path) -> list[str]:
    """The keys of a file that may hold several, one a line, newest first."""
    return [line for line in read_or_make(path).splitlines() if line.strip()]
