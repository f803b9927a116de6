"""A deployment's log, live: history first, then every new line, each once, also over a reconnect."""

from __future__ import annotations

import asyncio
import contextlib
import time
from functools import partial
from typing import Any
from urllib.parse import parse_qs

import orjson
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer

from deployments.models import OnlineDeployment
from monitoring import logs
from monitoring.doorbells import Listener
from monitoring.filters import line_filter
from workspaces.access import may
from workspaces.errors import UserError

READ_LOG = "onlineEndpoints/deployments/getLogs/action"
HISTORY_LINES = 200
LINES_AT_ONCE = 500
WAIT_SECONDS = 2.0
CHECK_ROLE_SECONDS = 60.0

BAD_REQUEST = 4400
FORBIDDEN = 4403
NOT_FOUND = 4404


class LogConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """Sends `{"cursor": …, "lines": [{"cursor", "time", "instance", "level", "source", "text", "continues"}]}`.

    The query may hold `cursor` (go on behind it), `lines` (history without a cursor), and the filters `instance`,
    `level` and `text` of `monitoring.logs.tail`. Closes with 4403 for a role without the right to read logs, 4404
    for anyone who may not know of the deployment, and 4400, after a message `{"error": …}`, for a wrong query.
    """

    _sending: asyncio.Task[None] | None = None
    _is_over = False

    async def connect(self) -> None:
        # A browser learns the code of a close only once it was accepted.
        await self.accept()
        refusal, deployment = await self._admit()
        if deployment is None:
            await self.close(code=refusal)
            return
        self._sending = asyncio.create_task(self._send_lines(deployment))

    async def disconnect(self, code: int) -> None:
        # The flag too: the Redis client swallows a cancellation that comes while it connects.
        self._is_over = True
        if self._sending is not None:
            self._sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sending

    async def _send_lines(self, deployment: OnlineDeployment) -> None:
        listener = Listener(deployment.pk)
        try:
            await self._follow(deployment, listener)
        except UserError as error:
            await self._say({"error": {"message": error.message, "target": error.target}})
            await self.close(code=BAD_REQUEST)
        finally:
            await listener.close()

    async def _follow(self, deployment: OnlineDeployment, listener: Listener) -> None:
        """Pages are sent one by one, each when the one before has gone out: a slow reader slows only itself."""
        query = self._query()
        instance, level, text = (query.get(name) for name in ("instance", "level", "text"))
        wanted = line_filter(instance=instance, level=level, text=text)
        cursor = await self._begin(deployment, query)
        check_at = time.monotonic() + CHECK_ROLE_SECONDS
        folder = await database_sync_to_async(logs.folder_of_deployment)(deployment)
        while not self._is_over:
            page = await asyncio.to_thread(
                logs.read_after, folder, cursor, lines=LINES_AT_ONCE, wanted=wanted
            )
            if page.lines:
                await self._say(_message(page))
            cursor = page.cursor
            if time.monotonic() > check_at:
                refusal, found = await self._admit()
                if found is None:
                    await self.close(code=refusal)
                    return
                check_at = time.monotonic() + CHECK_ROLE_SECONDS
            if not page.has_more and not await listener.wait(cursor, seconds=WAIT_SECONDS):
                await asyncio.sleep(WAIT_SECONDS / 2)

    async def _begin(self, deployment: OnlineDeployment, query: dict[str, str]) -> int:
        """Send the history, unless the reader has it; the cursor to go on behind."""
        if "cursor" in query:
            return _number(query, "cursor")
        count = _number(query, "lines") if "lines" in query else HISTORY_LINES
        read = partial(
            logs.tail,
            deployment,
            lines=count,
            source=logs.CONSOLE,
            instance=query.get("instance"),
            level=query.get("level"),
            text=query.get("text"),
        )
        page: logs.Page = await database_sync_to_async(read)()
        await self._say(_message(page))
        return page.cursor

    async def _say(self, message: dict[str, Any]) -> None:
        await self.send(text_data=orjson.dumps(message).decode())

    def _query(self) -> dict[str, str]:
        parsed = parse_qs(self.scope.get("query_string", b"").decode())
        return {name: values[-1] for name, values in parsed.items()}

    @database_sync_to_async  # type: ignore[untyped-decorator]
    def _admit(self) -> tuple[int, OnlineDeployment | None]:
        """The deployment if this user may read its log now; else the code to close with."""
        user, names = self.scope["user"], self.scope["url_route"]["kwargs"]
        deployment = (
            OnlineDeployment.objects.visible_to(user)
            .filter(
                endpoint__workspace__name__iexact=names["workspace"],
                endpoint__name__iexact=names["endpoint"],
                name__iexact=names["deployment"],
            )
            .select_related("endpoint__workspace")
            .first()
        )
        if deployment is None:
            return NOT_FOUND, None
        # Memberships and the account may have changed since the connection was made.
        user.refresh_from_db(fields=["is_active", "is_superuser"])
        if not may(user, READ_LOG, deployment.endpoint.workspace):
            return FORBIDDEN, None
        return 0, deployment


def _message(page: logs.Page) -> dict[str, Any]:
    return {
        "cursor": page.cursor,
        "lines": [
            {
                "cursor": line.cursor,
                "time": line.time.isoformat(timespec="milliseconds"),
                "instance": line.instance,
                "level": line.level,
                "source": line.source,
                "text": line.text,
                "continues": line.continues,
            }
            for line in page.lines
        ],
    }


def _number(query: dict[str, str], name: str) -> int:
    value = query[name]
    if not value.isdecimal():
        raise UserError(f"{name} is '{value}'. Give a whole number.", target=name)
    return int(value)
