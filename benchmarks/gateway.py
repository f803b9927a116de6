"""What the gateway costs: time added to a request, and time until a change is obeyed.

    python -m benchmarks.gateway [--endpoints 1000] [--rate 200] [--seconds 20]

Compare ratios and differences within one run; absolute figures move with the machine.
"""

import argparse
import asyncio
import contextlib
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from endpoints.gateway.bootstrap import GatewaySettings
from endpoints.gateway.envoy import Envoy
from endpoints.gateway.resources import DeploymentRoute, EndpointRoute, endpoint_resources
from endpoints.gateway.store import ResourceStore
from endpoints.gateway.xds import serving
from portal.certificates import ensure_server_certificate
from workspaces.signing import ensure_signing_key

BODY = b'{"data": [' + b"1.0, " * 200 + b"1.0]}"
ROUND_SECONDS = 1.0
CHANGES = 200


class Model(asyncio.Protocol):
    """Answers every request at once; a request is over when its body has come."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self.received.endswith(BODY) or self.received.startswith(b"GET "):
            self.received = b""
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n[1.0, 2.0]\n")


async def serve_model(path: str) -> None:
    server = await asyncio.get_running_loop().create_unix_server(Model, path)
    await server.serve_forever()


@dataclass
class Caller:
    """One connection that is kept, as clients do."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def score(self, endpoint: str, key: str) -> int:
        """Sends one request; gives the status."""
        length = f"content-length: {len(BODY)}\r\n\r\n".encode()
        return await self._call(f"POST /{endpoint}/score", key, length + BODY)

    async def may_ask(self, endpoint: str, key: str) -> bool:
        """Whether the key opens the endpoint. Has no body: refused with one, we were cut off."""
        return await self._call(f"GET /{endpoint}/swagger.json", key, b"\r\n") == 200

    async def _call(self, what: str, key: str, rest: bytes) -> int:
        head = f"{what} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {key}\r\n"
        self.writer.write(head.encode() + rest)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        await self.reader.readexactly(length)
        return int(head.split(" ", 2)[1])


@dataclass
class Bench:
    settings: GatewaySettings
    model_path: Path
    store: ResourceStore

    def route(self, name: str, key: str) -> EndpointRoute:
        address = f"unix:{self.model_path}"
        deployments = (
            DeploymentRoute("blue", 90, 0, (address,), 50, 1, 10_000),
            DeploymentRoute("green", 10, 0, (address,), 50, 1, 10_000),
        )
        return EndpointRoute(name, "key", deployments, (key, f"{key}-second"))

    def publish(self, name: str, key: str) -> None:
        self.store.set_endpoint(name, endpoint_resources(self.route(name, key)))

    @contextlib.asynccontextmanager
    async def caller(self, *, direct: bool = False) -> AsyncIterator[Caller]:
        if direct:
            reader, writer = await asyncio.open_unix_connection(self.model_path)
        else:
            port = self.settings.gateway_http_port
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield Caller(reader, writer)
        finally:
            writer.close()

    async def answers(self, name: str, key: str) -> None:
        """Waits until Envoy serves `name` to `key`."""
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                async with self.caller() as caller:
                    while not await caller.may_ask(name, key):
                        await asyncio.sleep(0.001)
                return
            await asyncio.sleep(0.01)


async def latencies_ms(bench: Bench, *, direct: bool, rate: int) -> list[float]:
    """One round at a fixed rate, each request at its own time, over eight connections."""
    found: list[float] = []
    async with contextlib.AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(bench.caller(direct=direct)) for _ in range(8)]
        idle: asyncio.Queue[Caller] = asyncio.Queue()
        for caller in callers:
            await caller.score("bench-0", "key")
            idle.put_nowait(caller)

        async def one(intended: float) -> None:
            caller = await idle.get()
            assert await caller.score("bench-0", "key") == 200
            found.append((time.perf_counter() - intended) * 1000)
            idle.put_nowait(caller)

        begin = time.perf_counter()
        running = []
        for number in range(int(rate * ROUND_SECONDS)):
            await asyncio.sleep(max(0.0, begin + number / rate - time.perf_counter()))
            running.append(asyncio.create_task(one(time.perf_counter())))
        await asyncio.gather(*running)
    return found


async def added_latency(bench: Bench, *, rate: int, seconds: float) -> None:
    rounds = max(2, int(seconds / ROUND_SECONDS / 2))
    direct: list[float] = []
    gateway: list[float] = []
    # Interleaved, so that whatever else the machine does falls on both.
    for _ in range(rounds):
        direct += await latencies_ms(bench, direct=True, rate=rate)
        gateway += await latencies_ms(bench, direct=False, rate=rate)
    for name, found in (("direct", direct), ("gateway", gateway)):
        cuts = statistics.quantiles(found, n=100)
        print(f"{name:8} at {rate}/s: p50 {cuts[49]:.3f} ms, p95 {cuts[94]:.3f} ms")
    added = statistics.median(gateway) - statistics.median(direct)
    print(f"gateway added p50: {added:.3f} ms (bar: < 1 ms)")


async def update_latency(bench: Bench, endpoints: int) -> None:
    """Rotates keys of endpoints picked in turn; the new key opens, so the change is in force."""
    found = []
    async with bench.caller() as caller:
        for number in range(CHANGES):
            name = f"bench-{number * 7919 % endpoints}"
            key = f"rotated-{number}"
            begin = time.perf_counter()
            bench.publish(name, key)
            while not await caller.may_ask(name, key):
                await asyncio.sleep(0)
            found.append((time.perf_counter() - begin) * 1000)
    cuts = statistics.quantiles(found, n=100)
    print(
        f"change obeyed with {endpoints} endpoints: p50 {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms,"
        f" worst {max(found):.1f} ms (bar: < 100 ms)"
    )


async def measure(bench: Bench, arguments: argparse.Namespace) -> None:
    envoy = Envoy(bench.settings)
    begin = time.perf_counter()
    routes = [bench.route(f"bench-{number}", "key") for number in range(arguments.endpoints)]
    bench.store.replace_all({route.name: endpoint_resources(route) for route in routes})
    print(f"{arguments.endpoints} endpoints built in {time.perf_counter() - begin:.2f} s")
    async with serving(bench.store, bench.settings.xds_socket):
        begin = time.perf_counter()
        envoy.start()
        try:
            await bench.answers(f"bench-{arguments.endpoints - 1}", "key")
            print(f"Envoy serves all of them after {time.perf_counter() - begin:.2f} s")
            await added_latency(bench, rate=arguments.rate, seconds=arguments.seconds)
            await update_latency(bench, arguments.endpoints)
        finally:
            await asyncio.to_thread(envoy.drain_and_stop, 5)


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def make_settings(folder: Path) -> GatewaySettings:
    certificate = ensure_server_certificate(folder / "tls")
    scoring_tls, scoring, studio, studio_tls = free_ports(4)
    return GatewaySettings(
        run_dir=folder / "run",
        gateway_port=scoring_tls,
        gateway_http_port=scoring,
        studio_http_port=studio,
        studio_tls_port=studio_tls,
        web_socket=folder / "web.sock",
        xds_socket=folder / "xds.sock",
        admin_socket=folder / "admin.sock",
        access_log=folder / "access.log",
        certificate_path=certificate.certificate,
        key_path=certificate.key,
        jwks=ensure_signing_key(folder / "tls").jwks,
        bind_address="127.0.0.1",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--endpoints", type=int, default=1000)
    parser.add_argument("--rate", type=int, default=200, help="requests per second")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--serve-model", metavar="SOCKET", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve_model:
        asyncio.run(serve_model(arguments.serve_model))
        return
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
    folder = Path(tempfile.mkdtemp(prefix="gwb"))
    model_path = folder / "model.sock"
    # A process of its own, so that the model and the caller do not wait for each other.
    model = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.gateway", "--serve-model", str(model_path)]
    )
    try:
        while not model_path.exists():
            time.sleep(0.01)
        store = ResourceStore(folder / "snapshot.jsonl")
        asyncio.run(measure(Bench(make_settings(folder), model_path, store), arguments))
    finally:
        model.terminate()
        model.wait()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
