"""Engines behind ssh: through the program `ssh` and its set-up, where docker's SDK would need an ssh of its own."""

from __future__ import annotations

import http.client
import socket
import subprocess
import tempfile
import threading
from typing import IO, Any
from urllib.parse import urlsplit

from docker import APIClient
from docker.constants import DEFAULT_DOCKER_API_VERSION
from docker.transport.unixconn import UnixHTTPAdapter, UnixHTTPConnectionPool
from urllib3.connection import HTTPConnection

NO_SOCKET = "unix:///nowhere"


class SshFailed(OSError):
    """What `ssh` said when it could not reach the engine."""


def ssh_client(url: str, *, timeout_seconds: float) -> APIClient:
    """A client of docker's SDK that reaches the engine through `ssh`; it has asked for nothing yet."""
    client = APIClient(NO_SOCKET, version=DEFAULT_DOCKER_API_VERSION, timeout=timeout_seconds)
    client.mount("http+docker://", _Adapter(command(url, timeout_seconds), timeout_seconds))
    return client


def command(url: str, timeout_seconds: float) -> list[str]:
    """What connects its standard streams with the engine; it never asks for anything."""
    place = urlsplit(url)
    words = ["ssh", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={timeout_seconds:.0f}"]
    if place.username:
        words += ["-l", place.username]
    if place.port:
        words += ["-p", str(place.port)]
    return [*words, "--", place.hostname or "", "docker", "system", "dial-stdio"]


class _Connection(HTTPConnection):
    """One connection is one `ssh`, which ends when both sides have closed it."""

    def __init__(self, words: list[str], timeout_seconds: float) -> None:
        super().__init__("localhost", timeout=timeout_seconds)
        self._words = words
        self._said: IO[bytes] | None = None
        self._why = ""

    def connect(self) -> None:
        ours, theirs = socket.socketpair()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the connection
        with theirs:
            try:
                child = subprocess.Popen(
                    self._words,
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=self._said,
                    start_new_session=True,
                )
            except OSError as error:
                ours.close()
                raise SshFailed("there is no program ssh on this machine") from error
        threading.Thread(target=child.wait, daemon=True, name="engine-ssh").start()
        ours.settimeout(self.timeout)
        self.sock = ours

    def getresponse(self, *args: Any, **more: Any) -> Any:
        try:
            return super().getresponse(*args, **more)
        except (http.client.RemoteDisconnected, ConnectionError) as error:
            self.close()
            raise SshFailed(self._why or "ssh ended without a word") from error

    def close(self) -> None:
        super().close()
        if self._said is not None:
            self._said.seek(0)
            self._why = self._said.read().decode(errors="replace").strip().rpartition("\n")[2]
            self._said.close()
            self._said = None


class _Pool(UnixHTTPConnectionPool):  # type: ignore[misc]
    def __init__(self, words: list[str], timeout_seconds: float, size: int) -> None:
        super().__init__("localhost", "", timeout_seconds, maxsize=size)
        self._words = words

    def _new_conn(self) -> _Connection:
        return _Connection(self._words, self.timeout)


class _Adapter(UnixHTTPAdapter):  # type: ignore[misc]
    def __init__(self, words: list[str], timeout_seconds: float) -> None:
        super().__init__("", timeout_seconds)
        self._words = words

    def get_connection(self, url: str, proxies: Any = None) -> Any:
        with self.pools.lock:
            pool = self.pools.get(url)
            if pool is None:
                pool = self.pools[url] = _Pool(self._words, self.timeout, self.max_pool_size)
        return pool
