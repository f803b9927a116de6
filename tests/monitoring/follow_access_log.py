"""Counts an access log in a process of its own, for tests that kill it: `python -m … <log> <database>`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import django
from django.conf import settings

django.setup()

from monitoring import accesslog  # noqa: E402

accesslog.CHUNK_BYTES = 4096


def main(path: Path, database: str) -> None:
    settings.DATABASES["default"]["NAME"] = database
    log = accesslog.AccessLog(path, reopen=lambda: None)
    while True:
        if not log.step():
            time.sleep(0.005)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
