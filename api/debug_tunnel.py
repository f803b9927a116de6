"""The way to a debug session through the portal: a WebSocket whose bytes go to the debugger's port and back.

For whoever has no account on the portal's machine: the same token and the same right as for the session itself.
"""

from __future__ import annotations

import asyncio
import contextlib

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from rest_framework.exceptions import AuthenticationFailed

from api.arm import Scope, open_workspace
from api.audiences import Audience
from api.identity import bearer_of
from api.online_deployments import WRITE, find_deployment
from deployments import debugging
from deployments.debugging import Place
from workspaces.errors import Forbidden, UserError

CHUNK_BYTES = 64 * 1024
CONNECT_SECONDS = 5.0
CHECK_SECONDS = 60.0
LONGEST_REASON_BYTES = 120
"""What a closing frame has room for."""

UNAUTHORIZED, FORBIDDEN, NOT_THERE, GONE = 4401, 4403, 4404, 4410


class DebugTunnel(AsyncWebsocketConsumer):  # type: ignore[misc]
    """One connection of a debugger, in binary frames.

    Closes with 4401 without a good token, 4403 without the right to write the deployment (asked again each minute),
    4404 when no session waits for a debugger, 4410 once the debugger's port has closed.
    """

    _writer: asyncio.StreamWriter | None = None
    _tasks: tuple[asyncio.Task[None], ...] = ()

    async def connect(self) -> None:
        # Why it is closed is told only on a connection that was accepted.
        await self.accept()
        place = await self._admitted()
        if place is None:
            return
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, self._writer = await asyncio.open_connection(place.host, place.port)
        except OSError as error:
            await self._end(NOT_THERE, f"The debugger's port does not answer: {error}")
            return
        self._tasks = (
            asyncio.create_task(self._bring_back(reader)),
            asyncio.create_task(self._ask_again(place)),
        )

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if self._writer is None or not bytes_data:
            return
        with contextlib.suppress(OSError):
            self._writer.write(bytes_data)
            await self._writer.drain()

    async def disconnect(self, code: int) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._writer is not None:
            self._writer.close()

    async def _bring_back(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while content := await reader.read(CHUNK_BYTES):
                await self.send(bytes_data=content)
        await self._end(GONE, "The debugger has closed the connection.")

    async def _ask_again(self, place: Place) -> None:
        """The right, and the place: a session that begins anew may be somewhere else."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            found = await self._admitted()
            if found is None:
                return
            if found != place:
                await self._end(GONE, "The debug session has been replaced.")
                return

    async def _admitted(self) -> Place | None:
        """Where the debugger's port is, if this caller may know it now; else the connection is ended."""
        try:
            place: Place = await self._find()
        except AuthenticationFailed as error:
            await self._end(UNAUTHORIZED, str(error.detail))
            return None
        except Forbidden as error:
            await self._end(FORBIDDEN, error.message)
            return None
        except UserError as error:
            await self._end(NOT_THERE, error.message)
            return None
        return place

    @database_sync_to_async  # type: ignore[untyped-decorator]
    def _find(self) -> Place:
        """Raises `AuthenticationFailed` and `UserError`."""
        headers = dict(self.scope["headers"])
        word, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if word.lower() != "bearer":
            raise AuthenticationFailed("Send 'Authorization: Bearer <access token>'.")
        caller = bearer_of(token.strip(), (Audience.MANAGEMENT,))
        names = self.scope["url_route"]["kwargs"]
        scope = Scope(names["subscription"], names["resource_group"], names["workspace"])
        workspace, _ = open_workspace(caller, scope, WRITE)
        return debugging.place_of(
            find_deployment(workspace, names["endpoint"], names["deployment"])
        )

    async def _end(self, code: int, reason: str) -> None:
        with contextlib.suppress(RuntimeError):  # it is closed already
            text = reason.encode()[:LONGEST_REASON_BYTES].decode(errors="ignore")
            await self.close(code=code, reason=text)
