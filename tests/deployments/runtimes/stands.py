"""What a runtime needs around it in a test: specs of known fate, and a way to wait for that fate."""

from __future__ import annotations

import http.client
import os
import secrets
import socket
import sys
import textwrap
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from deployments.runtimes import InstanceSpec, InstanceStatus, LogLine, Phase, Runtime
from deployments.runtimes.docker.addresses import EngineAddress
from deployments.runtimes.docker.runtime import DockerRuntime
from deployments.runtimes.fake import FAILS, RUNS_OUT_OF_MEMORY, FakeRuntime
from deployments.runtimes.isolation import unreachable_folder
from deployments.runtimes.process import ProcessRuntime

PATIENCE_SECONDS = 20
MIB = 1024**2
T = TypeVar("T")
NOBODY = 65534

ECHO = """
    def init():
        print("model loaded")

    def run(data):
        return data
"""
FAILING = """
    def init():
        raise ValueError("no such model")

    def run(data):
        return data
"""
GREEDY = """
    def init():
        parts = []
        for _ in range(64):
            parts.append(bytearray(b"x") * (16 * 1024 * 1024))

    def run(data):
        return data
"""


class Stand(Protocol):
    @property
    def runtime(self) -> Runtime: ...

    def spec(self, name: str = "ep.blue.1.0", **fields: Any) -> InstanceSpec: ...
    def failing(self, name: str) -> InstanceSpec: ...
    def greedy(self, name: str) -> InstanceSpec: ...
    def say(self, name: str, text: str) -> None: ...
    def close(self) -> None: ...


def wait_until(look: Callable[[], T | None], what: str) -> T:
    """Poll until `look` gives something true; what it gave."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        found = look()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"waited {PATIENCE_SECONDS} s for: {what}; last: {look()}")


def wait_for(runtime: Runtime, name: str, phase: Phase) -> InstanceStatus:
    """The status, once it is in that phase."""

    until = time.monotonic() + PATIENCE_SECONDS
    while (status := runtime.inspect(name)).phase != phase:
        if status.phase == Phase.EXITED:
            raise AssertionError(f"{name} exited: {status} {console_of(runtime, name)}")
        if time.monotonic() > until:
            raise AssertionError(f"waited {PATIENCE_SECONDS} s for {name} to be {phase}: {status}")
        time.sleep(0.01)
    return status


def console_of(runtime: Runtime, name: str) -> str:
    if isinstance(runtime, ProcessRuntime):
        path = runtime.root / name / "console.log"
        return path.read_text() if path.exists() else ""
    return ""


def ask(address: str, path: str = "/", *, method: str = "GET", body: str = "") -> tuple[int, str]:
    """One request to an instance."""
    with _connected(address) as connection:
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        reply = http.client.HTTPResponse(connection)
        reply.begin()
        return reply.status, reply.read().decode()


def _connected(address: str) -> socket.socket:
    if address.startswith("unix:"):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE_SECONDS)
        connection.connect(address.removeprefix("unix:"))
        return connection
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), PATIENCE_SECONDS)


class FakeStand:
    def __init__(self, folder: Path) -> None:
        self.runtime = FakeRuntime(root=folder)

    def spec(self, name: str = "ep.blue.1.0", **fields: Any) -> InstanceSpec:
        return make_spec(name, **fields)

    def failing(self, name: str) -> InstanceSpec:
        self.runtime.plan(name, FAILS)
        return make_spec(name)

    def greedy(self, name: str) -> InstanceSpec:
        self.runtime.plan(name, RUNS_OUT_OF_MEMORY)
        return make_spec(name)

    def say(self, name: str, text: str) -> None:
        self.runtime.say(name, text)

    def close(self) -> None:
        pass


class ProcessStand:
    """The process runtime with the stand-in server, or with another given as `server_dir`."""

    def __init__(
        self,
        folder: Path,
        *,
        server_dir: Path | None = None,
        python: Path | None = None,
        disk_bytes: int = 0,
    ) -> None:
        self.disk_bytes = disk_bytes
        self.folder = folder
        self.installation = f"test{secrets.token_hex(4)}"
        self.server_dir = server_dir or self._lay_out_stand_in()
        self.python = python or usable_python()
        self.runtime = self.another_runtime()

    def another_runtime(self) -> ProcessRuntime:
        """As the portal would make it after a restart."""
        return ProcessRuntime(
            root=self.folder / "instances",
            run_dir=self.folder / "run",
            installation=self.installation,
            server_dir=self.server_dir,
            server_python=self.python,
            disk_bytes=self.disk_bytes,
        )

    def _lay_out_stand_in(self) -> Path:
        target = self.folder / "server"
        target.mkdir()
        target.chmod(0o755)
        source = Path(__file__).parent / "standin" / "__main__.py"
        (target / "__main__.py").write_text(source.read_text())
        (target / "__main__.py").chmod(0o644)
        return target

    def spec(
        self, name: str = "ep.blue.1.0", *, script: str = ECHO, **fields: Any
    ) -> InstanceSpec:
        owner = fields.setdefault("owner", 1)
        code = self.folder / f"code-{secrets.token_hex(4)}"
        code.mkdir()
        (code / "score.py").write_text(textwrap.dedent(script))
        self.runtime.grant(code, owner)
        return make_spec(name, code_dir=code, **fields)

    def failing(self, name: str) -> InstanceSpec:
        return self.spec(name, script=FAILING)

    def greedy(self, name: str) -> InstanceSpec:
        return self.spec(name, script=GREEDY, memory_bytes=96 * MIB)

    def say(self, name: str, text: str) -> None:
        with (self.runtime.root / name / "console.log").open("a") as log:
            log.write(f"{text}\n")

    def close(self) -> None:
        for name in self.runtime.owned():
            self.runtime.remove(name)


class DockerStand:
    """The docker runtime on the engine of this machine, or on others given as `engines`."""

    def __init__(
        self,
        folder: Path,
        *,
        bundle: Path,
        image: str,
        engines: tuple[EngineAddress, ...] = (EngineAddress("docker"),),
        **options: Any,
    ) -> None:
        self.folder = folder
        self.installation = f"test{secrets.token_hex(4)}"
        self.bundle = bundle
        self.image = image
        self.engines = engines
        self.options = options
        self.runtime = self.another_runtime()

    def another_runtime(self) -> DockerRuntime:
        """As the portal would make it after a restart."""
        return DockerRuntime(
            root=self.folder / "containers",
            installation=self.installation,
            server_bundle=self.bundle,
            engines=self.engines,
            **self.options,
        )

    def spec(
        self, name: str = "ep.blue.1.0", *, script: str = ECHO, **fields: Any
    ) -> InstanceSpec:
        owner = fields.setdefault("owner", 1)
        code = self.folder / f"code-{secrets.token_hex(4)}"
        code.mkdir()
        (code / "score.py").write_text(textwrap.dedent(script))
        self.runtime.grant(code, owner)
        python = Path("/usr/bin/python3")
        return make_spec(
            name, **({"code_dir": code, "python": python, "image": self.image} | fields)
        )

    def failing(self, name: str) -> InstanceSpec:
        return self.spec(name, script=FAILING)

    def greedy(self, name: str) -> InstanceSpec:
        return self.spec(name, script=GREEDY, memory_bytes=96 * MIB)

    def say(self, name: str, text: str) -> None:
        self.inside(name, f"echo '{text}' > /proc/1/fd/1")

        def has_come() -> list[LogLine]:
            lines = self.runtime.logs(name, since=datetime.min)
            return [line for line in lines if line.text == text]

        wait_until(has_come, f"{text} to be logged")

    def inside(self, name: str, command: str) -> tuple[int, str]:
        """Exit code and output of a shell command in the container, as the user that the server has there."""
        engine = next(iter(self.runtime.engines.values()))
        container = f"portico-{self.installation}-{name}"
        with engine.asking() as api:
            call = api.exec_create(container, ["sh", "-c", command])
            output: bytes = api.exec_start(call)
            return api.exec_inspect(call)["ExitCode"], output.decode()

    def close(self) -> None:
        for name in self.runtime.owned():
            self.runtime.remove(name)


def make_spec(name: str, **fields: Any) -> InstanceSpec:
    given: dict[str, Any] = {
        "owner": 1,
        "code_dir": None,
        "scoring_script": "score.py",
        "model_dir": None,
        "python": None,
        "memory_bytes": 512 * MIB,
    }
    return InstanceSpec(name=name, **(given | fields))


def usable_python() -> Path:
    """An interpreter that other users can run: ours may live in a closed home."""
    for candidate in (Path(sys.executable).resolve(), Path("/usr/bin/python3")):
        if os.geteuid() != 0 or unreachable_folder(candidate, uid=NOBODY, gid=NOBODY) is None:
            return candidate
    raise AssertionError("no interpreter that an unprivileged user can run")
