"""The process that looks: asks probes, tells Envoy about endpoints, counts requests, keeps logs, samples usage.

Each job has a thread and with it a database connection of its own. One that fails pauses and tries again; the others
go on, and so does scoring, which needs none of this.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import resource
import signal
import time
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import psycopg
import redis
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import close_old_connections, connections
from django.utils import timezone

from deployments.installation import runtimes_with_own_consoles
from deployments.probing import LOOK_SECONDS, Prober
from endpoints.gateway.store import ResourceStore
from endpoints.gateway.xds import Rejection, serving
from monitoring import heartbeat, retention, usage
from monitoring.accesslog import AccessLog, GatewaySilent, reopen_logs
from monitoring.doorbells import Ringer
from monitoring.follow import LogFollower
from monitoring.gateway import (
    Gateway,
    GatewayRows,
    load_snapshot,
    note_rejection,
    rings,
    snapshot_path,
)

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0
HEARTBEAT_SECONDS = 5.0
ACCESS_LOG_SECONDS = 0.25
ROTATION_SECONDS = 5.0
CONSOLE_SECONDS = 0.1
PRUNE_SECONDS = 3600.0
OPEN_FILES = 65_536

# What is known to go away and come back: worth a sentence in the log, no traceback.
OUTAGES = (DatabaseError, psycopg.Error, redis.RedisError, GatewaySilent, OSError)

Result = TypeVar("Result")


class Lane:
    """One thread, in which calls follow one another."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def run(self, action: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, _fresh, action)

    async def end(self, *last: Callable[[], object]) -> None:
        """Run what is to be done last, and give the thread's connection back."""
        for action in (*last, connections.close_all):
            with contextlib.suppress(*OUTAGES):
                await self.run(action)
        self._pool.shutdown(wait=False)


@dataclass
class Supervisor:
    """Keeps jobs going, and knows which of them fail at the moment."""

    faults: dict[str, str] = field(default_factory=dict)

    async def keep(self, name: str, job: Callable[[], Awaitable[None]]) -> None:
        """Run `job`, which goes on for ever, and begin it again whenever it fails."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            begun = time.monotonic()
            try:
                await job()
            except OUTAGES as error:
                sentence = " ".join(str(error).split()) or type(error).__name__
                logger.warning("%s: %s", name, sentence)
                self.faults[name] = sentence[:500]
            except Exception as error:
                logger.exception("%s failed", name)
                self.faults[name] = f"{type(error).__name__}: {error}"[:500]
            if time.monotonic() - begun > LONGEST_PAUSE_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def well(self, name: str) -> None:
        """The job has just done what it is for."""
        self.faults.pop(name, None)

    async def repeat(
        self, name: str, lane: Lane, step: Callable[[], object], *, seconds: float
    ) -> None:
        """Call `step` for ever, with a pause whenever it says that there was nothing to do."""

        async def job() -> None:
            while True:
                is_busy = await lane.run(step)
                self.well(name)
                if not is_busy:
                    await asyncio.sleep(seconds)

        await self.keep(name, job)


class Watch:
    """All jobs of one installation."""

    def __init__(self) -> None:
        self.supervisor = Supervisor()
        self._ringer = Ringer()
        self._consoles = LogFollower(
            settings.SEGMENTS_ROOT,
            settings.INSTANCES_ROOT,
            ring=self._ringer.ring,
            runtimes=runtimes_with_own_consoles,
        )
        self._access_log = AccessLog(
            settings.ACCESS_LOG, reopen=lambda: reopen_logs(settings.ENVOY_ADMIN_SOCKET)
        )
        self._rotate_at = 0.0
        self._prune_at = 0.0

    async def run(self) -> None:
        """Until cancelled."""
        supervisor = self.supervisor
        names = ("gateway", "requests", "logs", "usage", "probes", "clock")
        lanes = {name: Lane(name) for name in names}
        try:
            await asyncio.gather(
                supervisor.keep("gateway", lambda: self._gateway(lanes["gateway"])),
                supervisor.repeat(
                    "requests", lanes["requests"], self._count, seconds=ACCESS_LOG_SECONDS
                ),
                supervisor.repeat("logs", lanes["logs"], self._follow, seconds=CONSOLE_SECONDS),
                supervisor.repeat(
                    "usage", lanes["usage"], self._sample, seconds=usage.EVERY_SECONDS
                ),
                supervisor.keep("probes", lambda: self._probe(lanes["probes"])),
                supervisor.repeat(
                    "retention", lanes["clock"], retention.prune, seconds=PRUNE_SECONDS
                ),
                supervisor.repeat(
                    "heartbeat", lanes["clock"], self._beat, seconds=HEARTBEAT_SECONDS
                ),
            )
        finally:
            await lanes.pop("logs").end(self._consoles.close, self._ringer.close)
            await lanes.pop("requests").end(self._access_log.close)
            for lane in lanes.values():
                await lane.end()

    async def _gateway(self, lane: Lane) -> None:
        store = ResourceStore(snapshot_path())
        count = load_snapshot(store)
        logger.info("serving %d endpoints from the snapshot until the database answers", count)
        notes: set[asyncio.Task[None]] = set()

        def refused(rejection: Rejection) -> None:
            logger.error(
                "Envoy refused %s of endpoint %s: %s",
                rejection.name,
                rejection.endpoint,
                rejection.message,
            )
            note = asyncio.create_task(_note(lane, rejection))
            notes.add(note)
            note.add_done_callback(notes.discard)

        rows = GatewayRows()
        gateway = Gateway(store, lambda rung: lane.run(lambda: rows.look(rung)))

        async def update(rung: Collection[int]) -> None:
            rows.known = await gateway.update(rung)
            self.supervisor.well("gateway rows")

        async with serving(store, settings.XDS_SOCKET, on_rejection=refused):
            self.supervisor.well("gateway")
            await self.supervisor.keep("gateway rows", lambda: rings(update))

    async def _probe(self, lane: Lane) -> None:
        prober = Prober()
        try:
            while True:
                await prober.step(lane.run)
                self.supervisor.well("probes")
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            await prober.close()

    def _count(self) -> bool:
        if time.monotonic() >= self._rotate_at:
            self._rotate_at = time.monotonic() + ROTATION_SECONDS
            try:
                self._access_log.rotate()
            except GatewaySilent as error:
                # It opens a new log when it starts; what was put aside is counted all the same.
                logger.info("%s", error)
        return self._access_log.step()

    def _follow(self) -> bool:
        if time.monotonic() >= self._prune_at:
            self._prune_at = time.monotonic() + PRUNE_SECONDS
            retention.prune_segments(
                settings.SEGMENTS_ROOT,
                before=timezone.now() - retention.SEGMENTS_KEPT,
                in_use=self._consoles.folders(),
            )
        return self._consoles.step()

    def _sample(self) -> None:
        usage.collect()

    def _beat(self) -> None:
        heartbeat.beat(heartbeat.WATCH, self.supervisor.faults)


def main() -> None:
    """Watch until SIGTERM or SIGINT. A second process waits here until the first one is gone."""
    settings.RUN_DIR.mkdir(mode=0o711, parents=True, exist_ok=True)
    with (settings.RUN_DIR / "watch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _allow_open_files()
        asyncio.run(_until_told())


async def _until_told() -> None:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await Watch().run()


async def _note(lane: Lane, rejection: Rejection) -> None:
    try:
        await lane.run(lambda: note_rejection(rejection))
    except OUTAGES as error:
        logger.warning("a refusal could not be noted: %s", error)


def _fresh(action: Callable[[], Result]) -> Result:
    close_old_connections()
    return action()


def _allow_open_files() -> None:
    """Every instance's console and every deployment's segment is open: the usual 1,024 would end too soon."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
