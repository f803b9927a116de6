"""Wakes those who read a deployment's log live: a Redis stream that holds one entry, the cursor of the newest line.

Reading a stream from a cursor on returns at once when there is more already, so no ring is missed between a read of
the segments and the wait. Without Redis, readers look every now and then.
"""

from __future__ import annotations

import logging
import time

import redis
import redis.asyncio
from django.conf import settings

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 1.0
PAUSE_SECONDS = 5.0
KEPT_SECONDS = 24 * 3600


def key(deployment_id: int) -> str:
    return f"portico.{settings.INSTALLATION}.log.{deployment_id}"


class Ringer:
    """The follower's side. Never raises and never waits long: a log is kept whether Redis is there or not."""

    def __init__(self) -> None:
        self._client = redis.Redis.from_url(
            settings.REDIS_URL,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
        )
        self._not_before = 0.0

    def ring(self, deployment_id: int, cursor: int) -> None:
        """Say that the deployment's newest line has this cursor."""
        if time.monotonic() < self._not_before:
            return
        name = key(deployment_id)
        try:
            try:
                self._add(name, cursor)
            except redis.ResponseError:
                # The cursors began anew, because the segments were deleted.
                self._client.delete(name)
                self._add(name, cursor)
        except redis.RedisError as error:
            logger.warning("nobody is told of new log lines: %s", error)
            self._not_before = time.monotonic() + PAUSE_SECONDS

    def close(self) -> None:
        self._client.close()

    def _add(self, name: str, cursor: int) -> None:
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.xadd(name, {"": ""}, id=f"{cursor}-0", maxlen=1, approximate=False)
            pipeline.expire(name, KEPT_SECONDS)
            pipeline.execute()


class Listener:
    """A reader's side, for one deployment."""

    def __init__(self, deployment_id: int) -> None:
        self._key = key(deployment_id)
        self._client = redis.asyncio.Redis.from_url(settings.REDIS_URL)

    async def wait(self, cursor: int, *, seconds: float) -> bool:
        """Until there is a line behind `cursor`, or the time is over; False when Redis could not be asked."""
        try:
            await self._client.xread(
                {self._key: f"{cursor}-0"}, count=1, block=max(1, int(seconds * 1000))
            )
        except redis.RedisError:
            return False
        return True

    async def close(self) -> None:
        await self._client.aclose()
