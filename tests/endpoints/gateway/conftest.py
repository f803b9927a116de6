"""A stage for the gateway: a real Envoy, the real xDS server, and models made of asyncio."""

import asyncio
import json
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from endpoints.gateway.bootstrap import GatewaySettings
from endpoints.gateway.envoy import Envoy
from endpoints.gateway.resources import (
    CLUSTER,
    ROUTES,
    DeploymentRoute,
    EndpointRoute,
    endpoint_resources,
)
from endpoints.gateway.store import ResourceStore
from endpoints.gateway.xds import Rejection, serving
from portal.certificates import ensure_server_certificate
from workspaces.signing import ensure_signing_key

KEY, OTHER_KEY = "primary-key", "secondary-key"


class Model:
    """An instance: answers as its name, and as the request tells it to. Keeps what it saw."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path
        self.seen: list[dict[str, Any]] = []
        self.running = 0
        self.most_running = 0
        self.release = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def address(self) -> str:
        return f"unix:{self.path}"

    async def start(self) -> None:
        self.path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def kill(self) -> None:
        """Goes away at once, as a killed process does."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self.path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self._answer(head.decode(), reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(
        self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        request_line, *lines = head.rstrip().split("\r\n")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
        body = await self._body(headers, reader)
        self.seen.append({"line": request_line, "headers": headers, "body": body})
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self._do(headers.get("x-do", "answer"), headers, writer)
        finally:
            self.running -= 1

    async def _body(self, headers: dict[str, str], reader: asyncio.StreamReader) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return await reader.readexactly(int(headers.get("content-length", 0)))
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
        return body

    async def _do(self, what: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        match what.split():
            case ["answer"]:
                self._write(writer, 200, self.name.encode())
            case ["status", status, *named]:
                self._write(writer, int(status), b"from the model", *named)
            case ["wait"]:
                await self.release.wait()
                self._write(writer, 200, self.name.encode())
            case ["stream"]:
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                    b"transfer-encoding: chunked\r\n\r\n"
                )
                writer.write(b"d\r\ndata: first\n\n\r\n")
                await writer.drain()
                # The second event leaves only after the test has read the first.
                await self.release.wait()
                writer.write(b"e\r\ndata: second\n\n\r\n0\r\n\r\n")
            case ["die"]:
                writer.transport.abort()
            case ["upgrade"]:
                writer.write(
                    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n"
                    b"upgrade: websocket\r\n\r\n"
                )
                writer.write(b"hello")
        await writer.drain()

    def _write(self, writer: asyncio.StreamWriter, status: int, body: bytes, *named: str) -> None:
        extra = "".join(f"{header.replace('=', ': ')}\r\n" for header in named)
        head = f"HTTP/1.1 {status} X\r\n{extra}content-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)


class Stage:
    """Everything a test needs, in one place. Coroutines run in the stage's own thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.certificates = ensure_server_certificate(
            folder / "tls", ["*.local.models.test", "models.test"]
        )
        self.signing = ensure_signing_key(folder / "tls")
        self.settings = GatewaySettings(
            run_dir=folder / "envoy",
            gateway_port=self.free_port(),
            gateway_http_port=self.free_port(),
            studio_http_port=self.free_port(),
            studio_tls_port=self.free_port(),
            web_socket=folder / "web.sock",
            xds_socket=folder / "xds.sock",
            admin_socket=folder / "admin.sock",
            access_log=folder / "access.log",
            certificate_path=self.certificates.certificate,
            key_path=self.certificates.key,
            jwks=self.signing.jwks,
            max_body_bytes=1_000_000,
            region="local",
            domain="models.test",
            bind_address="127.0.0.1",
        )
        self.snapshot = folder / "snapshot.jsonl"
        self.store = ResourceStore(self.snapshot)
        self.rejections: list[Rejection] = []
        self.envoy = Envoy(self.settings)
        self.models: list[Model] = []
        self._xds: AsyncExitStack | None = None
        self._pool = ThreadPoolExecutor(32)
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.settings.gateway_http_port}",
            headers={"authorization": f"Bearer {KEY}"},
            timeout=20,
            limits=httpx.Limits(max_connections=64),
        )

    @staticmethod
    def free_port() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            return port

    def start(self) -> None:
        self.start_xds()
        self.envoy.start(workers=2)
        self.until(self.envoy.is_ready)
        assert self.envoy.problem() == ""

    def stop(self) -> None:
        self.envoy.drain_and_stop(0)
        self.stop_xds()
        for model in self.models:
            self.run(model.kill())
        self._pool.shutdown()
        self.client.close()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()

    def start_xds(self) -> None:
        """Serves what the store of the moment holds."""
        serving_now = serving(
            self.store, self.settings.xds_socket, on_rejection=self.rejections.append
        )
        self._xds = AsyncExitStack()
        self.run(self._xds.enter_async_context(serving_now))

    def stop_xds(self) -> None:
        if self._xds is not None:
            self.run(self._xds.aclose())
        self._xds = None

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def call(self, function: Callable[[], Any]) -> Any:
        """Runs a plain function in the stage's thread, where the store and the models live."""

        async def wrapped() -> Any:
            return function()

        return self.run(wrapped())

    def until(self, condition: Callable[[], Any], seconds: float = 20) -> Any:
        """The first true value of `condition`; the time is a limit, not a measure."""
        deadline = time.monotonic() + seconds
        while True:
            value = condition()
            if value:
                return value
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.005)

    def model(self, name: str, path: Path | None = None) -> Model:
        model = Model(name, path or self.folder / f"{name}{len(self.models)}.sock")
        self.models.append(model)
        self.run(model.start())
        return model

    def deployment(self, name: str, *models: Model, **facts: Any) -> DeploymentRoute:
        """A deployment with room for everybody, unless said otherwise."""
        defaults: dict[str, Any] = {
            "weight": 0,
            "mirror_percent": 0,
            "max_concurrent_requests_per_instance": 50,
            "instance_count": 1,
            "request_timeout_ms": 10_000,
        }
        addresses = tuple(model.address for model in models)
        return DeploymentRoute(name, addresses=addresses, **{**defaults, **facts})

    def publish(self, name: str, *deployments: DeploymentRoute, **facts: Any) -> None:
        """Sets an endpoint and waits until Envoy has its routes and clusters."""
        defaults: dict[str, Any] = {"auth_mode": "key", "keys": (KEY, OTHER_KEY)}
        endpoint = EndpointRoute(name, deployments=deployments, **{**defaults, **facts})
        resources = endpoint_resources(endpoint, region=self.settings.region)
        self.call(lambda: self.store.set_endpoint(name, resources))
        waited_for = {self.store.get(key) for key in resources if key[0] in (ROUTES, CLUSTER)}
        versions = {resource.version for resource in waited_for if resource is not None}
        self.until(lambda: versions <= self.versions())

    def publish_one(self, name: str, **facts: Any) -> Model:
        """An endpoint with one deployment, `blue`, that gets all traffic."""
        model = self.model("blue")
        self.publish(name, self.deployment("blue", model, weight=100, **facts))
        return model

    def versions(self) -> set[str]:
        """The versions of all clusters and routes that Envoy has in force."""
        found = set()
        for kind in ("dynamic_active_clusters", "dynamic_route_configs"):
            _, body = self.envoy._admin("GET", f"/config_dump?resource={kind}")
            found |= {
                entry.get("version_info", "") for entry in json.loads(body).get("configs", [])
            }
        return found

    def token(self, **claims: Any) -> str:
        """A token of this installation."""
        claims = {"iss": "portico", "exp": int(time.time()) + 600, **claims}
        headers = {"kid": self.signing.id}
        return jwt.encode(claims, self.signing.private_pem, "ES256", headers=headers)

    def background(self, path: str, **headers: str) -> "Future[httpx.Response]":
        """Sends a request from another thread."""
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        return self._pool.submit(self.client.post, path, headers=named)

    def in_background(self, function: Callable[[], Any]) -> "Future[Any]":
        return self._pool.submit(function)

    def raw(self, port: int, data: bytes) -> bytes:
        """Sends exactly these bytes and reads the first part of the answer."""
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(data)
            return connection.recv(65536)

    def log_rows(self, endpoint: str, count: int) -> list[dict[str, Any]]:
        """The access log of one endpoint, once it has `count` rows."""

        def rows() -> list[dict[str, Any]] | None:
            # Behind the last line end stands a row that is being written.
            lines = self.settings.access_log.read_text().rpartition("\n")[0].splitlines()
            found = [row for row in map(json.loads, lines) if row["endpoint"] == endpoint]
            return found if len(found) >= count else None

        found: list[dict[str, Any]] = self.until(rows)
        return found


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    # Socket paths are limited to about 100 characters, which pytest's own folders exceed.
    folder = Path(tempfile.mkdtemp(prefix="gw"))
    stage = Stage(folder)
    try:
        stage.start()
        yield stage
    finally:
        stage.stop()
        shutil.rmtree(folder)
