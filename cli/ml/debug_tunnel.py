"""`ml online-deployment attach-debug`: a port of this machine that leads to the debugger, through the portal."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import sys
import threading
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from azure.core.exceptions import AzureError, ResourceNotFoundError
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from cli.arm import address_of, call
from cli.faults import ClientFault
from cli.ml import debug_sessions
from cli.session import Session

HERE = "127.0.0.1"
CHUNK_BYTES = 64 * 1024
LOOK_SECONDS = 10.0


def attach(session: Session, name: str, endpoint_name: str, port: int) -> None:
    """Listens until the session is over or the user has had enough; the entry for launch.json goes to stdout."""
    found = debug_sessions.show(session, name, endpoint_name)
    if found["state"] != debug_sessions.RUNNING:
        raise ClientFault(
            f"The debug session is {found['state']}. Start it: portico ml online-deployment start-debug "
            f"-e {endpoint_name} -n {name}"
        )
    entry = found["launch"]
    entry["connect"] = {"host": HERE, "port": port}
    with _listener(port) as listener:
        print(json.dumps(entry, indent=4), file=session.output, flush=True)
        _tell(f"A debugger can attach at {HERE}:{port}: start the entry above in VS Code.")
        _tell(
            f"Requests that reach it: portico ml online-endpoint invoke -n {endpoint_name} "
            f"-d {found['deploymentHeader']} -r <file>. Ctrl-C ends this."
        )
        _serve(session, listener, debug_sessions.address(name, endpoint_name))


def _listener(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HERE, port))
    except OSError as error:
        listener.close()
        raise ClientFault(
            f"Port {port} of this machine cannot be had ({error.strerror}). Name another: --port."
        ) from error
    listener.listen()
    listener.settimeout(LOOK_SECONDS)
    return listener


def _serve(session: Session, listener: socket.socket, path: tuple[str, ...]) -> None:
    """Lead each connection to the portal, until that says that there is no session any more."""
    while True:
        try:
            near, _ = listener.accept()
        except TimeoutError:
            if _is_over(session, path):
                _tell("The debug session is over.")
                return
            continue
        near.setblocking(True)
        threading.Thread(target=_lead, args=(session, near, path), daemon=True).start()


def _is_over(session: Session, path: tuple[str, ...]) -> bool:
    """A portal that is away for a moment says nothing about that."""
    try:
        call(session, "GET", *path)
    except ResourceNotFoundError:
        return True
    except AzureError as error:
        _tell(f"The portal cannot be reached: {error}")
    return False


def _lead(session: Session, near: socket.socket, path: tuple[str, ...]) -> None:
    with near:
        try:
            with _far(session, path) as far:
                threading.Thread(target=_bring_there, args=(near, far), daemon=True).start()
                _bring_back(far, near)
        except ConnectionClosed as error:
            if error.sent is not None and error.rcvd_then_sent is False:
                return  # the debugger has detached, which closed our side first
            reason = error.rcvd.reason if error.rcvd is not None else ""
            _tell(f"A debugger was cut off: {reason or 'the connection to the portal was lost'}")
        except (OSError, WebSocketException) as error:
            _tell(f"The portal cannot be reached: {error}")


def _far(session: Session, path: tuple[str, ...]) -> ClientConnection:
    profile = session.profile
    address = urlsplit(address_of(session, *path, "tunnel"))
    trusted = str(profile.ca_path) if profile.ca_path else None
    return connect(
        urlunsplit(address._replace(scheme="wss")),
        ssl=ssl.create_default_context(cafile=trusted),
        origin=Origin(f"{address.scheme}://{address.netloc}"),
        additional_headers={"Authorization": f"Bearer {profile.token}"},
        compression=None,
    )


def _bring_there(near: socket.socket, far: ClientConnection) -> None:
    with contextlib.suppress(OSError, ConnectionClosed):
        while content := near.recv(CHUNK_BYTES):
            far.send(content)
    far.close()


def _bring_back(far: ClientConnection, near: socket.socket) -> None:
    """Raises `ConnectionClosed` if it was not our own side that closed."""
    while True:
        content: Any = far.recv()
        try:
            near.sendall(content)
        except OSError:
            return


def _tell(line: str) -> None:
    if "--only-show-errors" not in sys.argv:
        print(line, file=sys.stderr, flush=True)
