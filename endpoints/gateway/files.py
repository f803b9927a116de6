"""Files that another process reads while we write them."""

import os
from pathlib import Path


def replace_file(path: Path, data: bytes) -> None:
    """Writes a file that only its owner reads, in one step: readers see the old or the new one."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    fresh.replace(path)
