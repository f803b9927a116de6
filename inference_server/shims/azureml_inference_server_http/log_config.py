"""The formatter and the filter that a user's logging.json may name."""

from __future__ import annotations

import logging
import time


class RootAccessFilter(logging.Filter):
    """Leaves health probes out."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "GET / HTTP/1.1" not in record.getMessage()


class AMLLogFormatter(logging.Formatter):
    """`2026-01-31 12:00:00,000 I [pid] logger - text`, in UTC."""

    converter = staticmethod(time.gmtime)

    def __init__(
        self,
        fmt: str = "%(asctime)s %(levelname).1s [%(process)d] %(name)s - %(message)s",
        datefmt: str | None = None,
        style: str = "%",
    ) -> None:
        super().__init__(fmt, datefmt, style)  # type: ignore[arg-type]
