"""A running installation for end-to-end tests: `portico up` in a home of its own, on free ports."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 120
PORT_VARIABLES = (
    "PORTICO_PORT",
    "PORTICO_TLS_PORT",
    "PORTICO_GATEWAY_PORT",
    "PORTICO_GATEWAY_HTTP_PORT",
)
# What the machine running the tests may have set must not leak into the house.
FOREIGN_PREFIXES = ("PORTICO_", "DATABASE_URL", "REDIS_URL", "DJANGO_", "PYTEST_", "COV_")


@dataclass
class House:
    """Start with `start()`, or use it as a context; `stop()` ends it as Ctrl-C does."""

    variables: Mapping[str, str] = field(default_factory=dict)
    """Further environment variables, or others in place of the usual ones."""
    home: Path | None = None
    uid: int | None = None
    """The user to run as, when the tests run as root; `checkout` and `python` must be open to that user."""
    checkout: Path = ROOT
    python: str = sys.executable
    admin_password: str = "correct-horse-battery-staple"
    admin_token: str = "ptc_" + "house-token-" + "0123456789abcdef"

    def __post_init__(self) -> None:
        self.owns_home = self.home is None
        if self.home is None:
            self.home = Path(tempfile.mkdtemp(prefix="house-"))
            self.home.chmod(0o711)
            if self.uid is not None:
                os.chown(self.home, self.uid, self.uid)
        self.ports = dict(zip(PORT_VARIABLES, free_ports(len(PORT_VARIABLES)), strict=True))
        self.process: subprocess.Popen[bytes] | None = None
        self.output = Path(tempfile.mkdtemp(prefix="house-output-")) / "up.log"

    # Addresses ------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Studio and API over plain http."""
        return f"http://localhost:{self.ports['PORTICO_PORT']}"

    @property
    def tls_url(self) -> str:
        """Studio and API over TLS, as the SDK wants it; trust `ca_path`."""
        return f"https://localhost:{self.ports['PORTICO_TLS_PORT']}"

    @property
    def scoring_url(self) -> str:
        """Scoring over TLS: append `/<endpoint>/score`."""
        return f"https://localhost:{self.ports['PORTICO_GATEWAY_PORT']}"

    @property
    def plain_scoring_url(self) -> str:
        return f"http://localhost:{self.ports['PORTICO_GATEWAY_HTTP_PORT']}"

    @property
    def ca_path(self) -> Path:
        assert self.home is not None
        return self.home / "certificates" / "ca.pem"

    @property
    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca_path))

    @property
    def authorization(self) -> dict[str, str]:
        """Headers that make a request the administrator's."""
        return {"Authorization": f"Bearer {self.admin_token}"}

    @property
    def environment(self) -> dict[str, str]:
        """For `portico` commands against this installation."""
        own = {
            key: value for key, value in os.environ.items() if not key.startswith(FOREIGN_PREFIXES)
        }
        return {
            **own,
            "PORTICO_HOME": str(self.home),
            "PORTICO_RUNTIME": "process",
            "PORTICO_ADMIN_PASSWORD": self.admin_password,
            "PORTICO_ADMIN_TOKEN": self.admin_token,
            **{name: str(port) for name, port in self.ports.items()},
            **self.variables,
        }

    # Life -----------------------------------------------------------------------------------------------

    def __enter__(self) -> House:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def launch(self) -> House:
        """Start `portico up` and return at once."""
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [self.python, "-m", "cli", "up"],
                cwd=self.checkout,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                user=self.uid,
                group=self.uid,
                extra_groups=None if self.uid is None else [],
            )
        return self

    def start(self) -> House:
        """Start it and return once it is ready."""
        if self.process is None:
            self.launch()
        try:
            self.wait_for(self._is_ready, START_SECONDS, "be ready")
        except BaseException:
            self.close()
            raise
        return self

    def _is_ready(self) -> bool:
        # What a killed supervisor wrote stays until its successor writes.
        state = self.state
        assert self.process is not None
        return state.get("pid") == self.process.pid and state["phase"] == "ready"

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """One `portico` command against this installation, such as `run("doctor")`."""
        return subprocess.run(
            [self.python, "-m", "cli", *words],
            cwd=self.checkout,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
            user=self.uid,
            group=self.uid,
            extra_groups=None if self.uid is None else [],
        )

    def ask_to_stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """As Ctrl-C does; the exit code."""
        assert self.process is not None
        self.ask_to_stop()
        code = self.process.wait(START_SECONDS)
        self.process = None
        return code

    def crash(self) -> None:
        """Kill the supervisor alone, as the kernel does when memory runs out."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def close(self) -> None:
        """Stop what runs, whatever state it is in, and remove the home."""
        if self.process is not None:
            self.ask_to_stop()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
        if self.owns_home and self.home is not None:
            shutil.rmtree(self.home, ignore_errors=True)
        shutil.rmtree(self.output.parent, ignore_errors=True)

    # Looking and breaking -------------------------------------------------------------------------------

    @property
    def state(self) -> dict[str, Any]:
        """What the supervisor says of itself; empty while there is none."""
        for folder in self._run_dirs():
            with contextlib.suppress(OSError, ValueError):
                found: dict[str, Any] = json.loads((folder / "up.json").read_text())
                return found
        return {}

    def pid(self, name: str) -> int:
        """The process of `web`, `worker`, `beat`, `watch`, `envoy`, `postgres` or `redis`."""
        if name == "envoy":
            for folder in self._run_dirs():
                with contextlib.suppress(OSError, ValueError):
                    return int(json.loads((folder / "gateway" / "envoy.pid").read_text())["pid"])
        return int(self.state["programs"][name]["pid"])

    def kill(self, name: str) -> int:
        """kill -9 of one program; its process id."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        return pid

    def is_well(self) -> bool:
        with contextlib.suppress(OSError):
            return bool(self.get("/healthz").status == 200)
        return False

    def get(self, path: str, **headers: str) -> Any:
        """The answer to a GET over plain http; raises `urllib.error.HTTPError` from 400 on."""
        request = urllib.request.Request(self.url + path, headers=headers)
        return urllib.request.urlopen(request, timeout=10)

    def processes(self) -> list[psutil.Process]:
        """Every process that was started with this home, or names it."""
        found = []
        for process in psutil.process_iter():
            if process.pid == os.getpid():
                continue
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if process.environ().get("PORTICO_HOME") == str(self.home) or any(
                    str(self.home) in word for word in words
                ):
                    found.append(process)
        return found

    @property
    def said(self) -> str:
        """All that `portico up` printed so far."""
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def wait_for(self, condition: Callable[[], object], seconds: float, what: str) -> None:
        """Poll until it holds; the failure shows what the portal said."""
        until = time.monotonic() + seconds
        while not condition():
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"portico up ended ({self.process.returncode}): {self.said}")
            if time.monotonic() > until:
                raise AssertionError(f"did not {what} within {seconds} s: {self.said}")
            time.sleep(0.05)

    def _run_dirs(self) -> Iterator[Path]:
        assert self.home is not None
        yield self.home / "run"
        yield from Path("/tmp").glob(f"portico-*-{self.installation}")

    @property
    def installation(self) -> str:
        """How its containers and images are marked."""
        return hashlib.sha256(str(self.home).encode()).hexdigest()[:12]


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, below the range from which the kernel gives out its own."""
    found: list[int] = []
    while len(found) < count:
        port = 10_000 + secrets.randbelow(20_000)
        with socket.socket() as trial, contextlib.suppress(OSError):
            trial.bind(("127.0.0.1", port))
            if port not in found:
                found.append(port)
    return found
