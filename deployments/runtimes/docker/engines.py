"""The Docker engines that run our containers: one by its address, or several as one pool."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from docker import APIClient
from docker.constants import DEFAULT_DOCKER_API_VERSION
from docker.errors import APIError, DockerException, NotFound
from docker.tls import TLSConfig

from deployments.runtimes import RuntimeAway
from deployments.runtimes.docker.addresses import EngineAddress
from deployments.runtimes.docker.ssh import SshFailed, ssh_client

logger = logging.getLogger(__name__)

# The longest single answer; nothing here waits for anything but the engine itself.
ANSWER_SECONDS = 10
AWAY_SECONDS = 3
INFO_SECONDS = 30
POOLED_CONNECTIONS = 32
ERRNO = re.compile(r"\[Errno -?\d+\] ([^'\"()]+)")


class Engine:
    """One engine. Every call answers within seconds, or raises `RuntimeAway`."""

    def __init__(self, address: EngineAddress, *, tells_address: bool = True) -> None:
        """Without `tells_address`, only the log says where it is and what it answered: others read `RuntimeAway`."""
        self.address = address
        self._tells_address = tells_address
        self.name = address.name
        self.is_local = address.is_local
        self._client: APIClient | None = None
        self._lock = threading.Lock()
        self._away_until = 0.0
        self._away = ""
        self._info: tuple[float, dict[str, Any]] = (0.0, {})

    def __repr__(self) -> str:
        return f"<Engine {self.name} at {self.address.url}>"

    @contextlib.contextmanager
    def asking(self) -> Iterator[APIClient]:
        """The client of docker's SDK; its refusals (`APIError`) pass, all that means silence becomes `RuntimeAway`."""
        if time.monotonic() < self._away_until:
            raise RuntimeAway(self._away)
        try:
            yield self._connected()
        except APIError as error:
            if error.response is not None and error.response.status_code == 503:
                self._note_away(error)
                raise RuntimeAway(self._away) from error
            raise
        except (requests.RequestException, DockerException, OSError) as error:
            if isinstance(error, RuntimeAway):
                raise
            self._note_away(error)
            raise RuntimeAway(self._away) from error
        if self._away:
            logger.info("the Docker engine %s answers again", self.name)
            self._away = ""

    def info(self) -> dict[str, Any]:
        """What the engine says of its machine, at most half a minute old."""
        asked_at, found = self._info
        if time.monotonic() - asked_at > INFO_SECONDS or not found:
            with self.asking() as api:
                found = api.info()
            self._info = (time.monotonic(), found)
        return found

    def api_version(self) -> str:
        """What the engine and we both speak."""
        with self.asking() as api:
            return str(api.api_version)

    def container(self, name: str) -> dict[str, Any] | None:
        """Everything about a container; None when there is none of that name."""
        with self.asking() as api:
            try:
                found: dict[str, Any] = api.inspect_container(name)
            except NotFound:
                return None
        return found

    def containers(self, labels: dict[str, str]) -> list[dict[str, Any]]:
        """Short facts of all containers with these labels, stopped ones included."""
        with self.asking() as api:
            found: list[dict[str, Any]] = api.containers(
                all=True, filters={"label": [f"{key}={value}" for key, value in labels.items()]}
            )
        return found

    def image(self, name: str) -> dict[str, Any] | None:
        with self.asking() as api:
            try:
                found: dict[str, Any] = api.inspect_image(name)
            except NotFound:
                return None
        return found

    def _connected(self) -> APIClient:
        with self._lock:
            if self._client is None:
                self._client = connect(self.address)
            return self._client

    def _note_away(self, error: Exception) -> None:
        sentence = said(error)
        fresh = f"The Docker engine {self.name} at {self.address.url} does not answer: {sentence}"
        if not self._away:
            logger.warning("%s", fresh)
        self._away = (
            fresh if self._tells_address else f"The Docker engine {self.name} does not answer."
        )
        self._away_until = time.monotonic() + AWAY_SECONDS
        self._info = (0.0, {})


def connect(address: EngineAddress, *, timeout_seconds: float = ANSWER_SECONDS) -> APIClient:
    """A client of docker's SDK for the engine; raises `DockerException` when it does not answer."""
    if address.url.startswith("ssh:"):
        client = ssh_client(address.url, timeout_seconds=timeout_seconds)
    else:
        client = APIClient(
            base_url=address.url,
            version=DEFAULT_DOCKER_API_VERSION,
            timeout=timeout_seconds,
            tls=_security(address),
            max_pool_size=POOLED_CONNECTIONS,
        )
    if address.cert_path:
        # Else REQUESTS_CA_BUNDLE, which is for other services, would win over the engine's own authority.
        client.trust_env = False
    client._version = client._retrieve_server_version()
    return client


def _security(address: EngineAddress) -> TLSConfig | bool:
    if not address.cert_path:
        return False
    folder = Path(address.cert_path)
    return TLSConfig(
        client_cert=(str(folder / "cert.pem"), str(folder / "key.pem")),
        ca_cert=str(folder / "ca.pem"),
        verify=address.tls_verify,
    )


def said(error: BaseException) -> str:
    """Why an engine does not answer, in one line; what ssh said explains more than what its silence led to."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, SshFailed):
        cause = cause.__cause__ or cause.__context__
    text = " ".join(str(cause or error).split())
    # Deep inside what the libraries between us and the engine say of each other.
    reason = ERRNO.search(text)
    return (reason[1].strip() if reason else text)[:300] or type(error).__name__


def reason_of(error: APIError) -> str:
    """What the engine said when it refused."""
    text = str(error.explanation or error)
    return " ".join(text.split())[:500]
