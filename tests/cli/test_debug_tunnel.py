"""What `attach-debug` leads from a port of this machine to the portal, and what it says when that ends."""

from __future__ import annotations

import importlib
import socket
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK
from websockets.frames import Close

from cli.faults import ClientFault

# The SDK's own warnings tell nothing of ours.
pytestmark = [pytest.mark.sdk, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def tunnel() -> Any:
    """Loaded late: it brings the SDK."""
    return importlib.import_module("cli.ml.debug_tunnel")


class Portal:
    """The far end: says its lines, then closes as told."""

    def __init__(self, *said: bytes, then: Exception) -> None:
        self.said = list(said)
        self.then = then
        self.heard: list[bytes] = []

    def __enter__(self) -> Portal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def recv(self) -> bytes:
        if not self.said:
            raise self.then
        return self.said.pop(0)

    def send(self, content: bytes) -> None:
        self.heard.append(content)

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize(
    ("then", "told"),
    [
        (
            ConnectionClosedError(Close(4410, "It is over."), Close(4410, ""), True),
            "A debugger was cut off: It is over.\n",
        ),
        (
            ConnectionClosedError(None, None, None),
            "A debugger was cut off: the connection to the portal was lost\n",
        ),
        (ConnectionClosedOK(Close(1000, ""), Close(1000, ""), False), ""),
        (OSError("no route"), "The portal cannot be reached: no route\n"),
    ],
)
def test_what_the_portal_says_arrives_and_its_end_is_explained(
    tunnel: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    then: Exception,
    told: str,
) -> None:
    monkeypatch.setattr(tunnel, "_far", lambda session, path: Portal(b"a", b"b", then=then))
    debugger, near = socket.socketpair()
    with debugger:
        tunnel._lead(None, near, ())
        assert debugger.recv(100) == b"ab"
    assert capsys.readouterr().err == told


def test_a_port_that_is_taken_is_named_with_the_way_out(tunnel: Any) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ClientFault, match=f"Port {port} .*--port"):
            tunnel._listener(port)
