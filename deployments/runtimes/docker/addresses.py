"""Where Docker engines are; nothing here needs docker's SDK."""

from __future__ import annotations

import socket
import subprocess
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from deployments.runtimes import RuntimeAway

DEFAULT_URL = "unix:///var/run/docker.sock"
ANSWER_SECONDS = 2.0
SSH_SECONDS = 5.0


@dataclass(frozen=True)
class EngineAddress:
    """How to reach an engine: `unix://`, `tcp://` with or without TLS, or `ssh://`."""

    name: str
    url: str = DEFAULT_URL
    cert_path: str = ""
    """Folder with `ca.pem`, `cert.pem`, `key.pem`; with a tcp address it means TLS."""
    tls_verify: bool = True

    @property
    def is_local(self) -> bool:
        """Whether it sees this machine's files and we see its networks."""
        return self.url.startswith("unix:")

    @property
    def shares_our_networks(self) -> bool:
        """Whether its networks lie beside this machine's, so that neither may take the other's addresses."""
        return self.is_local or ip_address(self.host).is_loopback

    @property
    def host(self) -> str:
        """Where ports that it publishes are reached, as a number; empty for a local one."""
        name = urlsplit(self.url).hostname or ""
        if self.url.startswith("ssh:"):
            name = _meant_by_ssh(name)
        try:
            return socket.gethostbyname(name) if name else ""
        except OSError as error:
            raise RuntimeAway(f"The host {name} of engine {self.name} is not known.") from error


@cache
def _meant_by_ssh(name: str) -> str:
    """The host that the set-up of `ssh` has for a name; the name itself when it has none."""
    try:
        told = subprocess.run(
            ["ssh", "-G", "--", name], capture_output=True, text=True, timeout=SSH_SECONDS
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return name
    meant = [line.partition(" ")[2] for line in told.splitlines() if line.startswith("hostname ")]
    return meant[0] if meant else name


def addresses(
    pool: dict[str, str], *, host: str = "", cert_path: str = "", tls_verify: bool = False
) -> tuple[EngineAddress, ...]:
    """Of the pool when there is one, else the one engine of `DOCKER_HOST`."""
    found = pool or {"docker": host or DEFAULT_URL}
    return tuple(
        EngineAddress(name, url, cert_path if url.startswith("tcp:") else "", tls_verify)
        for name, url in found.items()
    )


def answers(address: EngineAddress) -> bool:
    """Whether the engine is there, asked within two seconds; one that is elsewhere was named on purpose."""
    if not address.is_local:
        return True
    try:
        with socket.socket(socket.AF_UNIX) as door:
            door.settimeout(ANSWER_SECONDS)
            door.connect(urlsplit(address.url).path)
            door.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            return b" 200 " in door.recv(100)
    except OSError:
        return False
