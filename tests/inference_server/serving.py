"""Starts an inference server on a scoring script and speaks HTTP with it, as any client would."""

import http.client
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The contract's checks run against another server too: CONTRACT_SERVER="/some/venv/bin/azmlinfsrv".
OTHER_SERVER = shlex.split(os.environ.get("CONTRACT_SERVER", ""))
COMMAND = OTHER_SERVER or [sys.executable, "-m", "inference_server"]
REPOSITORY = Path(__file__).resolve().parents[2]
START_SECONDS = 20.0


@dataclass(frozen=True)
class Reply:
    """An answer, headers as they came."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        found = self.all(name)
        return found[0] if found else None

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        return str(self.json()["message"])


class Served:
    """A running server process and where it listens."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, port: int) -> None:
        self.process = process
        self.folder = folder
        self.port = port

    def call(
        self,
        method: str = "POST",
        target: str = "/score",
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 20.0,
    ) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            data = body.encode() if isinstance(body, str) else body
            connection.request(method, target, data, dict(headers or {}))
            answer = connection.getresponse()
            return Reply(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()

    def post_json(self, value: Any, **headers: str) -> Reply:
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return self.call(
            body=json.dumps(value), headers={"Content-Type": "application/json", **named}
        )

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def raw(self, data: bytes) -> bytes:
        """Sends bytes, and reads until the server closes."""
        with self.connect() as connection:
            connection.sendall(data)
            return read_all(connection)

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text()

    def wait_for_log(self, text: str, seconds: float = 10.0) -> str:
        until(lambda: text in self.log, seconds, f"{text!r} in the log")
        return self.log

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "status.json").read_text())
        return found

    def wait_for_status(self, **wanted: Any) -> dict[str, Any]:
        path = self.folder / "status.json"
        until(
            lambda: path.exists() and wanted.items() <= self.status.items(), 10, f"status {wanted}"
        )
        return self.status

    def worker_pids(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ends the server and returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


# Starts a server; the fixtures that are called so say with what.
Serve = Callable[..., Served]


def launch(
    folder: Path,
    script: str | None,
    *flags: str,
    files: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    command: Sequence[str] = (),
) -> Served:
    """Starts the server in `folder`; does not wait until it is ready."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (files or {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    entry: list[str] = []
    if script is not None:
        (folder / "score.py").write_text(script)
        entry = ["--entry_script", "score.py"]
    port = free_port()
    own = [] if OTHER_SERVER else ["--status_file", str(folder / "status.json")]
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("COV")}
    with open(folder / "server.log", "wb") as log:
        process = subprocess.Popen(
            [*(command or COMMAND), *entry, "--port", str(port), *own, *flags],
            cwd=folder,
            env={
                **inherited,
                "PYTHONPATH": "" if OTHER_SERVER else str(REPOSITORY),
                **(environment or {}),
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    return Served(process, folder, port)


def serve(folder: Path, script: str | None, *flags: str, **more: Any) -> Served:
    """Starts the server and waits until it is healthy."""
    served = launch(folder, script, *flags, **more)
    wait_until_healthy(served)
    return served


def wait_until_healthy(served: Served) -> None:
    def is_healthy() -> bool:
        code = served.process.poll()
        assert code is None, f"the server ended with {code}:\n{served.log}"
        try:
            return served.call("GET", "/").status == 200
        except OSError:
            return False

    try:
        until(is_healthy, START_SECONDS, "a healthy server")
    except BaseException:
        served.process.kill()
        raise


def until(is_so: Any, seconds: float, what: str) -> None:
    """Looks again and again until `is_so()`; fails after `seconds`."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, f"no {what} within {seconds} s"
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def read_all(connection: socket.socket) -> bytes:
    parts = []
    while True:
        try:
            part = connection.recv(65_536)
        except ConnectionResetError:
            break
        if not part:
            break
        parts.append(part)
    return b"".join(parts)


def read_reply(file: Any) -> Reply:
    """One answer with a length from a connection that stays open."""
    status = int(file.readline().split()[1])
    headers = []
    while (line := file.readline().strip()) != b"":
        name, _, value = line.decode("latin-1").partition(":")
        headers.append((name, value.strip()))
    length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
    return Reply(status, headers, file.read(length))
