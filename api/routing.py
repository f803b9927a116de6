"""The WebSockets of the API; `portal.asgi` includes them."""

from __future__ import annotations

from api.debug_tunnel import DebugTunnel
from api.urls import DEPLOYMENT, arm

websocket_urlpatterns = [
    arm(f"{DEPLOYMENT}/debugSession/tunnel", DebugTunnel.as_asgi(), "arm-debug-tunnel"),
]
