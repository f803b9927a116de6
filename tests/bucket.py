"""A bucket of a real S3 server, for tests: moto's, as a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.house import free_ports

NAME = "portico-test"
START_SECONDS = 60


@dataclass(frozen=True)
class S3:
    """What Portico's settings need to know of it."""

    endpoint: str
    url: str = f"s3://{NAME}/some/prefix"
    key: str = "testing"
    secret: str = "testing-secret"

    @property
    def variables(self) -> dict[str, str]:
        return {
            "PORTICO_STORAGE_URL": self.url,
            "PORTICO_STORAGE_ENDPOINT": self.endpoint,
            "PORTICO_STORAGE_REGION": "us-east-1",
            "PORTICO_STORAGE_KEY": self.key,
            "PORTICO_STORAGE_SECRET": self.secret,
        }

    @property
    def options(self) -> dict[str, object]:
        return {
            "endpoint_url": self.endpoint,
            "key": self.key,
            "secret": self.secret,
            "client_kwargs": (("region_name", "us-east-1"),),
        }


@contextmanager
def serve(log: Path) -> Iterator[S3]:
    """The server with its bucket, until the context ends."""
    port = free_ports(1)[0]
    endpoint = f"http://127.0.0.1:{port}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=output,
            stderr=output,
        )
    try:
        _make_bucket(endpoint, process, log)
        yield S3(endpoint)
    finally:
        process.terminate()
        process.wait(20)


def _make_bucket(endpoint: str, process: subprocess.Popen[bytes], log: Path) -> None:
    limit = time.monotonic() + START_SECONDS
    while True:
        request = urllib.request.Request(f"{endpoint}/{NAME}", method="PUT")
        try:
            urllib.request.urlopen(request, timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError):
            if process.poll() is not None or time.monotonic() > limit:
                raise AssertionError(log.read_text()[-2000:]) from None
            time.sleep(0.1)
