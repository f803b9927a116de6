"""The one ASGI application: pages and API by Django, WebSockets by Channels."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.conf import settings
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
http_application = get_asgi_application()

# Models may be imported only once the line above has set Django up.
from api.routing import websocket_urlpatterns as of_the_api  # noqa: E402
from monitoring.routing import websocket_urlpatterns as of_the_studio  # noqa: E402
from portal import prepared  # noqa: E402
from portal.bodies import BoundedBodies  # noqa: E402

Message = MutableMapping[str, Any]


async def lifespan(
    scope: Message,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """Tell the server that the application is up once Django and the database are, and let it end in peace."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await prepared.wait()
            # Static files are listed when their middleware is made: at a first start there were none yet.
            http_application.load_middleware(is_async=True)
            # Django spools bodies where Python's temporary files go, which may be in memory.
            tempfile.tempdir = settings.FILE_UPLOAD_TEMP_DIR
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


application = ProtocolTypeRouter(
    {
        "http": BoundedBodies(http_application),
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(URLRouter([*of_the_studio, *of_the_api]))
        ),
        "lifespan": lifespan,
    }
)
