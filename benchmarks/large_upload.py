"""What a large upload costs: memory of the web process while a file comes in blocks, is joined and read back.

    python -m benchmarks.large_upload [--mib 5120] [--at-once 8]

Needs three times the file's size on the disk.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import http.client
import json
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import psutil

from tests.house import House

MIB = 1024 * 1024
BLOCK = 4 * MIB
RANGE = 32 * MIB
WORKSPACE = (
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/portico/providers/"
    "Microsoft.MachineLearningServices/workspaces/main"
)


@dataclass
class Outcome:
    """Seconds of each step, and how far the web process grew."""

    seconds: dict[str, float] = field(default_factory=dict)
    before_mib: float = 0
    peak_mib: float = 0

    @property
    def grown_mib(self) -> float:
        return self.peak_mib - self.before_mib


class Client:
    """Speaks to the portal as its administrator, with a connection for each thread."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._own = threading.local()
        self._opened: list[http.client.HTTPSConnection] = []

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
        if not hasattr(self._own, "connection"):
            port = self._house.ports["PORTICO_TLS_PORT"]
            self._own.connection = http.client.HTTPSConnection(
                "localhost", port, context=self._house.tls, timeout=600
            )
            self._opened.append(self._own.connection)
        connection = self._own.connection
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, {**self._house.authorization, **named})
        reply = connection.getresponse()
        data: bytes = reply.read()
        assert reply.status in (200, 201, 206), (reply.status, data[:500])
        return data

    def close(self) -> None:
        for connection in self._opened:
            connection.close()


def run(house: House, mib: int, at_once: int) -> Outcome:
    """Upload a file of so many MiB in blocks, register it, read it back by ranges; raises if it came back otherwise."""
    outcome = Outcome()
    with closing(Client(house)) as client:
        _upload(house, client, outcome, mib, at_once)
    return outcome


def _upload(house: House, client: Client, outcome: Outcome, mib: int, at_once: int) -> None:
    count = mib * MIB // BLOCK
    noise = os.urandom(BLOCK - 8)
    path = f"LocalUpload/{os.urandom(8).hex()}/large.bin"
    url = f"/storage/main.blob.core.windows.net/azureml/{path}"
    names = [base64.b64encode(f"{number:032}".encode()).decode() for number in range(count)]

    def put(number: int) -> None:
        data = number.to_bytes(8, "big") + noise
        client.ask("PUT", f"{url}?comp=block&blockid={names[number]}", data)

    with _watched(house, outcome):
        with _timed(outcome, "blocks"), ThreadPoolExecutor(at_once) as pool:
            list(pool.map(put, range(count)))
        with _timed(outcome, "join"):
            latest = "".join(f"<Latest>{name}</Latest>" for name in names)
            text = f"<BlockList>{latest}</BlockList>".encode()
            client.ask("PUT", f"{url}?comp=blocklist", text)
        with _timed(outcome, "register"):
            uri = f"azureml://datastores/workspaceblobstore/paths/{path}"
            body = json.dumps({"properties": {"modelUri": uri}}).encode()
            client.ask("PUT", f"{WORKSPACE}/models/large/versions/{os.urandom(4).hex()}", body)
        with _timed(outcome, "read"):
            found = hashlib.sha256()
            for start in range(0, count * BLOCK, RANGE):
                found.update(
                    client.ask("GET", url, x_ms_range=f"bytes={start}-{start + RANGE - 1}")
                )
    wanted = hashlib.sha256()
    for number in range(count):
        wanted.update(number.to_bytes(8, "big"))
        wanted.update(noise)
    assert found.digest() == wanted.digest(), "the file came back otherwise"


@contextmanager
def _timed(outcome: Outcome, step: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    outcome.seconds[step] = time.monotonic() - start


@contextmanager
def _watched(house: House, outcome: Outcome) -> Iterator[None]:
    """Notes how large the web process becomes meanwhile."""
    web = psutil.Process(house.pid("web"))
    over = threading.Event()
    outcome.before_mib = outcome.peak_mib = web.memory_info().rss / MIB

    def look() -> None:
        while not over.wait(0.05):
            outcome.peak_mib = max(outcome.peak_mib, web.memory_info().rss / MIB)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=5120)
    parser.add_argument("--at-once", type=int, default=8)
    options = parser.parse_args()
    with House() as house:
        outcome = run(house, options.mib, options.at_once)
    for step, seconds in outcome.seconds.items():
        print(f"{step:>10} {seconds:8.1f} s {options.mib / max(seconds, 0.001):8.0f} MiB/s")
    print(f"web grew by {outcome.grown_mib:.0f} MiB from {outcome.before_mib:.0f} MiB")


if __name__ == "__main__":
    main()
