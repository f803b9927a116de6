"""PostgreSQL and Redis for one run of the tests, as `portico up` starts them, but without care for the data."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from portal.embedded import Postgres, Redis
from portal.processes import Run

START_SECONDS = 60
ROOM = "PORTICO_TEST_ROOM"
"""Environment variable: the folder of this run; set by the first process, inherited by xdist's workers."""


class Servers:
    """What this process started; empty for a worker of xdist, which finds everything running."""

    def __init__(self) -> None:
        self.room: Path | None = None
        self.runs: list[Run] = []

    def start(self) -> None:
        """Set the environment that Portico's settings read; start what it does not bring."""
        if ROOM not in os.environ:
            self.room = Path(tempfile.mkdtemp(prefix="portico-tests-"))
            self.room.chmod(0o711)
            os.environ[ROOM] = str(self.room)
            self._start_postgres(self.room)
            self._start_redis(self.room)
        worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        home = Path(os.environ[ROOM]) / worker
        home.mkdir(mode=0o711, exist_ok=True)
        # Whatever the developer's own installation uses must not be touched by tests.
        for name in [name for name in os.environ if name.startswith("PORTICO_") and name != ROOM]:
            del os.environ[name]
        os.environ["PORTICO_HOME"] = str(home)
        # Tests on an engine say so; what one machine has must not change the others.
        os.environ["PORTICO_RUNTIME"] = "process"
        os.environ["DJANGO_SETTINGS_MODULE"] = "portal.settings"

    def _start_postgres(self, room: Path) -> None:
        if os.environ.get("DATABASE_URL"):
            return
        postgres = Postgres(room, room / "pg", is_durable=False)
        program = postgres.prepare()
        run = Run.start(program, room / "postgres.log")
        self.runs.append(run)
        _wait(postgres.is_ready, run, lambda: postgres.why_not(room / "postgres.log"))
        postgres.create_database()
        os.environ["DATABASE_URL"] = postgres.url()

    def _start_redis(self, room: Path) -> None:
        if os.environ.get("REDIS_URL"):
            return
        redis = Redis(room, room / "redis.sock", is_durable=False)
        program = redis.prepare()
        run = Run.start(program, room / "redis.log")
        self.runs.append(run)
        _wait(redis.is_ready, run, lambda: redis.why_not(room / "redis.log"))
        os.environ["REDIS_URL"] = f"unix://{redis.socket_path}"

    def stop(self) -> None:
        for run in self.runs:
            # Nothing in them is worth a clean end.
            run.kill_group()
        if self.room is not None:
            shutil.rmtree(self.room, ignore_errors=True)


def _wait(is_ready: Callable[[], bool], run: Run, why_not: Callable[[], str]) -> None:
    until = time.monotonic() + START_SECONDS
    while not is_ready():
        if not run.is_alive or time.monotonic() > until:
            raise RuntimeError(why_not())
        time.sleep(0.02)
