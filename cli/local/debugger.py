"""The debugger that is brought to scripts whose environment has none."""

from __future__ import annotations

import importlib.util
from contextlib import suppress
from pathlib import Path

from cli.faults import ClientFault
from cli.local import records

PACKAGE = "debugpy"


def brought() -> Path:
    """A folder with debugpy in it and nothing else, so that scripts can import no more of ours than that."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ClientFault(
            "debugpy is not installed beside this command. Install it with: uv pip install debugpy"
        )
    package = Path(found.origin).parent
    folder = records.root() / "debugger"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    link = folder / PACKAGE
    if not link.is_symlink() or link.readlink() != package:
        link.unlink(missing_ok=True)
        with suppress(FileExistsError):  # another command was faster
            link.symlink_to(package)
    return folder
