"""The life of the I/O process: listen, start the workers, serve, drain, end."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
from time import monotonic

from inference_server.contract import Contract
from inference_server.dispatch import Dispatcher
from inference_server.pool import Pool
from inference_server.protocol import Connection
from inference_server.request_log import RequestLog
from inference_server.settings import Settings
from inference_server.status import StatusFile

EXIT_CANNOT_START = 3
SOCKET_MODE = 0o660
BACKLOG = 2_048


class Server:
    """One deployment's server. `run()` returns the exit code of the process."""

    def __init__(self, settings: Settings, environment: dict[str, str]) -> None:
        self._settings = settings
        self._environment = environment
        self._loop = asyncio.get_running_loop()
        self._listeners: list[asyncio.Server] = []
        self._asked_to_stop = asyncio.Event()
        self._has_failed = False
        self._grace_seconds = settings.grace_seconds
        self._status = StatusFile(settings.status_file, settings.worker_count)
        self._log = RequestLog(
            self._loop, logs_all=settings.log_requests, slow_call_ms=settings.slow_call_ms
        )
        self._contract = Contract(settings, self._log)
        self._dispatcher = Dispatcher(settings, self._contract, self._loop)
        self._contract.queue = self._dispatcher
        self._pool = Pool(
            settings,
            environment,
            self._dispatcher,
            self._contract,
            self._status,
            self._log,
            self._fail,
        )

    async def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop)
        try:
            await self._listen()
        except OSError as error:
            self._status.change(state="failed", code="CannotListen", message=str(error))
            print(f"Cannot listen: {error}", file=sys.stderr)
            return EXIT_CANNOT_START
        self._sweep()
        await self._pool.start()
        # What exists now stays; collections need not walk it, and come less often.
        gc.freeze()
        gc.set_threshold(20_000, 50, 50)
        await self._asked_to_stop.wait()
        await self._drain()
        await self._pool.stop()
        self._log.flush()
        if self._settings.socket_path:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._settings.socket_path)
        return EXIT_CANNOT_START if self._has_failed else 0

    async def _listen(self) -> None:
        settings = self._settings
        sockets: list[socket.socket] = []
        if settings.socket_path:
            sockets.append(_unix_listener(settings.socket_path))
        else:
            sockets.append(_tcp_listener(settings.host, settings.port))
        if settings.health_port:
            sockets.append(_tcp_listener(settings.host, settings.health_port))
        for listener in sockets:
            is_unix = listener.family == socket.AF_UNIX
            serve = self._loop.create_unix_server if is_unix else self._loop.create_server
            self._listeners.append(await serve(self._connection, sock=listener, backlog=BACKLOG))

    def _connection(self) -> Connection:
        return Connection(self._contract, self._loop)

    def _stop(self) -> None:
        if self._asked_to_stop.is_set():
            # Asked twice: whoever asks does not want to wait for the drain.
            self._grace_seconds = 0.0
        self._asked_to_stop.set()

    def _fail(self) -> None:
        self._has_failed = True
        self._asked_to_stop.set()

    async def _drain(self) -> None:
        """Takes no new connections, finishes what is under way, within the grace period."""
        for listener in self._listeners:
            listener.close()
        if self._has_failed:
            return
        self._status.change(state="stopping")
        for connection in list(self._contract.connections):
            connection.close_when_done()
        began = monotonic()
        while self._contract.connections and monotonic() - began < self._grace_seconds:
            await asyncio.sleep(0.01)
        for connection in list(self._contract.connections):
            connection.abort()

    def _sweep(self) -> None:
        now = monotonic()
        settings = self._settings
        for connection in list(self._contract.connections):
            connection.sweep(now, settings.keep_alive_seconds, settings.slow_request_seconds)
        self._contract.tick()
        self._log.tick()
        self._loop.call_later(1.0, self._sweep)


def _tcp_listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    return listener


def _unix_listener(path: str) -> socket.socket:
    """A fresh socket in place of one that a dead server left; a living one is not pushed aside."""
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with probe:
        try:
            probe.connect(path)
        except OSError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        else:
            raise OSError(f"another server listens on {path}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o777 & ~SOCKET_MODE)
    try:
        listener.bind(path)
    finally:
        os.umask(mask)
    return listener
