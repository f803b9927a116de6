"""Static files, collected again only when one of them changed: hashing and compressing takes seconds."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from whitenoise.compress import Compressor
from whitenoise.storage import CompressedManifestStaticFilesStorage


class Gzipped(CompressedManifestStaticFilesStorage):  # type: ignore[misc]  # it ships no types
    """Compressed with gzip alone: Brotli, where something else brought it, takes half a minute of the first start."""

    def create_compressor(self, **options: Any) -> Compressor:
        return super().create_compressor(**options, use_brotli=False)


def collect() -> None:
    """Bring the collected files up to date; quick when they are."""
    stamp = Path(settings.STATIC_ROOT) / ".collected"
    wanted = _digest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    # Of the sidecar only Swagger UI is shown; ReDoc has as many megabytes again.
    call_command("collectstatic", interactive=False, verbosity=0, ignore_patterns=["redoc"])
    stamp.write_text(wanted)


def _digest() -> str:
    """Of every file's name, size and time, and of the storage that makes something of them."""
    text = hashlib.sha256(settings.STORAGES["staticfiles"]["BACKEND"].encode())
    for finder in get_finders():
        for name, storage in finder.list([]):
            facts = Path(storage.path(name)).stat()
            text.update(f"{name} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return text.hexdigest()
