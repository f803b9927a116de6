"""The WebSockets of the portal; `portal.asgi` includes them."""

from __future__ import annotations

from django.urls import path

from monitoring.consumers import LogConsumer

websocket_urlpatterns = [
    path(
        "ws/w/<str:workspace>/endpoints/<str:endpoint>/deployments/<str:deployment>/logs",
        LogConsumer.as_asgi(),
        name="deployment_log",
    ),
]
