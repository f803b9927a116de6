"""The tunnel to a debug session: for owners with a token, and nobody else."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from asgiref.testing import ApplicationCommunicator
from channels.routing import URLRouter

from api.debug_tunnel import FORBIDDEN, NOT_THERE, UNAUTHORIZED
from api.routing import websocket_urlpatterns
from tests.api.conftest import Api
from tests.factories import Cast, make_deployment, make_online_endpoint

TUNNEL = "onlineEndpoints/churn/deployments/blue/debugSession/tunnel"


def closed_with(api: Api) -> tuple[int, str]:
    """Code and reason with which the connection of this caller is ended at once."""
    words = f"Bearer {api.token}".encode() if api.token else b""
    scope = {
        "type": "websocket",
        "path": f"{api.workspace.arm_id}/{TUNNEL}",
        "query_string": b"",
        "headers": [(b"authorization", words)],
        "subprotocols": [],
    }

    async def ask() -> dict[str, Any]:
        socket: Any = ApplicationCommunicator(URLRouter(websocket_urlpatterns), scope)  # type: ignore[no-untyped-call]
        await socket.send_input({"type": "websocket.connect"})
        assert (await socket.receive_output(timeout=5))["type"] == "websocket.accept"
        told: dict[str, Any] = await socket.receive_output(timeout=5)
        await socket.send_input({"type": "websocket.disconnect", "code": 1000})
        await socket.wait(timeout=5)
        return told

    told = async_to_sync(ask)()
    assert told["type"] == "websocket.close"
    return told["code"], told["reason"]


@pytest.fixture(autouse=True)
def blue(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    # As Django's own test client does: the test's transaction must not be closed between two messages.
    monkeypatch.setattr("channels.db.close_old_connections", lambda: None)
    make_deployment(make_online_endpoint(cast.workspace, "churn"))


def test_without_a_good_token_nobody_gets_in(alice: Api) -> None:
    assert closed_with(Api(alice.workspace))[0] == UNAUTHORIZED
    assert closed_with(Api(alice.workspace, "ptc_nobody"))[0] == UNAUTHORIZED


def test_readers_and_strangers_do_not_get_in(bob: Api, charlie: Api) -> None:
    assert closed_with(bob)[0] == FORBIDDEN
    assert closed_with(charlie)[0] == FORBIDDEN


def test_an_owner_is_told_that_nothing_waits(alice: Api) -> None:
    assert closed_with(alice) == (NOT_THERE, "Deployment 'blue' has no debug session.")
    alice.put(TUNNEL.removesuffix("/tunnel"), {})
    code, reason = closed_with(alice)
    assert (code, reason.startswith("The debug session is Starting.")) == (NOT_THERE, True)
