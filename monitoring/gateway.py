"""Keeps Envoy's configuration in step with the rows, and serves it from a snapshot while there are none to be had.

PostgreSQL rings when an endpoint changes; the versions in its table are what counts, and are looked at anyway.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.db import connection
from django.utils import timezone

from endpoints.gateway import publish
from endpoints.gateway.resources import EndpointRoute, Resources, endpoint_resources
from endpoints.gateway.store import ResourceStore
from endpoints.gateway.xds import Rejection
from monitoring.models import GatewayRejection
from workspaces.errors import PlatformError

logger = logging.getLogger(__name__)

POLL_SECONDS = 2.0


@dataclass
class Changes:
    """What the rows say that Envoy is not told yet."""

    versions: dict[int, int]
    resources: dict[str, Resources] = field(default_factory=dict)
    """By endpoint name."""
    names: dict[int, str] = field(default_factory=dict)
    gone: list[int] = field(default_factory=list)


class GatewayRows:
    """Reads what changed since the last time. Blocks on the database: for a thread of its own."""

    def __init__(self) -> None:
        self.known: dict[int, int] | None = None
        """Endpoint id → version that Envoy was told; None until all was read once."""

    def look(self, rung: Collection[int]) -> Changes:
        """What is new, and in any case the endpoints that were `rung` for."""
        # Versions before rows: a change in between is then seen again, not missed.
        versions = publish.versions()
        known = self.known or {}
        changed = [
            pk for pk, version in versions.items() if known.get(pk) != version or pk in rung
        ]
        changes = Changes(versions, gone=[pk for pk in known if pk not in versions])
        if not changed:
            return changes
        region = settings.FIRST_WORKSPACE["location"] if settings.PORTICO_DOMAIN else ""
        for pk, route in _routes(changed if self.known is not None else None, changed):
            changes.names[pk] = route.name
            changes.resources[route.name] = endpoint_resources(route, region=region)
        # What was refused is replaced now; if the new one is refused too, that is noted again.
        GatewayRejection.objects.filter(endpoint_name__in=changes.resources).delete()
        return changes


class Gateway:
    """Brings `store` up to date. Belongs to the event loop that serves it."""

    def __init__(
        self, store: ResourceStore, look: Callable[[Collection[int]], Awaitable[Changes]]
    ) -> None:
        self._store = store
        self._look = look
        self._rows_known = False
        self._names: dict[int, str] = {}

    async def update(self, rung: Collection[int] = ()) -> dict[int, int]:
        """One look at the rows, told to Envoy at once; the versions it now has."""
        changes = await self._look(rung)
        self._names |= changes.names
        if self._rows_known:
            for name, resources in changes.resources.items():
                self._store.set_endpoint(name, resources)
            for pk in changes.gone:
                name = self._names.pop(pk, "")
                # A new endpoint may have taken the name in the same breath.
                if name and name not in self._names.values():
                    self._store.remove_endpoint(name)
        else:
            self._store.replace_all(changes.resources)
            self._rows_known = True
        return changes.versions


def load_snapshot(store: ResourceStore) -> int:
    """What Envoy was told last, so that it can be told before the database answers; 0 when that is of no use."""
    try:
        return store.load()
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("the gateway's snapshot cannot be used: %s", error)
        return 0


def snapshot_path() -> Path:
    """There are keys in it, hence among the secrets."""
    return Path(settings.SECRETS_DIR) / "gateway.jsonl"


async def rings(update: Callable[[Collection[int]], Awaitable[None]]) -> None:
    """Call `update` with the endpoints that were rung for, and every two seconds anyway. Raises `psycopg.Error`."""
    options: dict[str, Any] = {"dbname": connection.settings_dict["NAME"], "connect_timeout": 5}
    listening = await psycopg.AsyncConnection.connect(
        settings.DATABASE_URL, autocommit=True, **options
    )
    async with listening:
        await listening.execute(f"LISTEN {publish.CHANNEL}")
        rung: set[int] = set()
        while True:
            await update(rung)
            rung = {
                int(ring.payload)
                async for ring in listening.notifies(timeout=POLL_SECONDS, stop_after=1)
                if ring.payload.isdecimal()
            }
            if not rung:
                # A connection that died without a word would never ring again.
                await listening.execute("SELECT 1")


def note_rejection(rejection: Rejection) -> None:
    """Keep it for the studio; the endpoint goes on under what it had before."""
    GatewayRejection.objects.update_or_create(
        endpoint_name=rejection.endpoint[:32],
        kind=rejection.kind[:200],
        resource=rejection.name[:200],
        defaults={"message": rejection.message, "at": timezone.now()},
    )


def _routes(wanted: list[int] | None, changed: list[int]) -> Iterable[tuple[int, EndpointRoute]]:
    """The routes; when one endpoint's row cannot be read, those of all others."""
    try:
        return list(publish.routes(wanted))
    except PlatformError:
        logger.warning("not every endpoint can be published; trying one by one")
    found: list[tuple[int, EndpointRoute]] = []
    for pk in changed:
        try:
            found += publish.routes([pk])
        except PlatformError as error:
            logger.error("endpoint %s cannot be published: %s", pk, error)
    return found
