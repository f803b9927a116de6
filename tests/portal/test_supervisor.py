"""The whole installation as an operator meets it: real processes, real signals."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.house import ROOT, House
from workspaces.trees import is_reachable_by_others, stage_tree

pytestmark = [pytest.mark.real, pytest.mark.alone]

RECOVERY_SECONDS = 15
PYTHON_VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
CHILDREN = ("web", "worker", "beat", "watch", "postgres", "redis", "envoy")


@pytest.mark.parametrize("name", CHILDREN)
def test_everything_recovers_from_kill_9_of_any_part(house: House, name: str) -> None:
    dead = house.kill(name)
    house.wait_for(
        lambda: _has_other_pid(house, name, dead) and house.is_well(),
        RECOVERY_SECONDS,
        f"recover from the death of {name}",
    )


@pytest.mark.parametrize("name", ["redis", "postgres"])
def test_the_worker_works_on_after_its_servers_died(house: House, name: str) -> None:
    dead = house.kill(name)
    house.wait_for(lambda: _has_other_pid(house, name, dead), RECOVERY_SECONDS, "start again")
    house.wait_for(lambda: _worker_answers(house), RECOVERY_SECONDS, "hear the worker")


def _worker_answers(house: House) -> bool:
    ask = [house.python, "-m", "celery", "-A", "portal", "inspect", "ping", "--timeout", "1"]
    done = subprocess.run(ask, cwd=house.checkout, env=house.environment, capture_output=True)
    return b"pong" in done.stdout


def _has_other_pid(house: House, name: str, dead: int) -> bool:
    try:
        return house.pid(name) != dead
    except KeyError:
        return False


def test_restart_replaces_the_control_plane_and_nothing_else(house: House) -> None:
    before = {name: house.pid(name) for name in CHILDREN}
    answers: list[int] = []
    with _asking(house, "/sign-in", answers):
        done = house.run("restart")
    after = {name: house.pid(name) for name in CHILDREN}
    assert done.returncode == 0, done.stderr
    assert {name for name in CHILDREN if before[name] == after[name]} == {
        "postgres",
        "redis",
        "envoy",
    }
    assert set(answers) == {200}


@contextmanager
def _asking(house: House, path: str, answers: list[int]) -> Iterator[None]:
    """Ask for a page without a pause while the block runs; the status codes go to `answers`."""
    over = threading.Event()

    def ask() -> None:
        while not over.wait(0.02):
            try:
                with house.get(path) as answer:
                    answers.append(answer.status)
            except urllib.error.HTTPError as error:
                answers.append(error.code)

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        yield
    finally:
        over.set()
        asker.join()


def test_doctor_finds_a_running_installation_well(house: House) -> None:
    done = house.run("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "BAD" not in done.stdout


def test_a_second_supervisor_on_one_home_is_refused(house: House) -> None:
    done = house.run("up")
    assert done.returncode == 1
    assert f"already runs on {house.home} (process {house.state['pid']})" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert house.is_well()


def test_two_installations_run_side_by_side(house: House) -> None:
    with House() as other:
        assert other.is_well()
        assert house.is_well()
        assert other.stop() == 0
    assert house.is_well()


def test_sigterm_leaves_no_process_and_exit_code_0() -> None:
    with House() as house:
        assert house.stop() == 0
        assert house.processes() == []
        assert "Stopped." in house.said


def test_ctrl_c_while_it_starts_leaves_no_process() -> None:
    house = House().launch()
    try:
        house.wait_for(lambda: "postgres" in house.state.get("programs", {}), 60, "begin")
        assert house.process is not None
        house.process.send_signal(signal.SIGINT)
        assert house.process.wait(60) == 0
        assert house.processes() == []
    finally:
        house.close()


def test_after_kill_9_of_the_supervisor_the_next_one_adopts_envoy_and_loses_no_data() -> None:
    with House() as house:
        envoy = house.pid("envoy")
        children = {name: house.pid(name) for name in CHILDREN if name != "envoy"}
        with psycopg.connect(_database(house), autocommit=True) as connection:
            connection.execute("CREATE TABLE kept (number int)")
            connection.execute("INSERT INTO kept VALUES (7)")
        house.crash()
        assert psutil.pid_exists(envoy)
        house.launch().start()
        assert house.pid("envoy") == envoy
        assert not any(
            psutil.pid_exists(pid) and house.pid(name) == pid for name, pid in children.items()
        )
        with psycopg.connect(_database(house)) as connection:
            assert connection.execute("SELECT number FROM kept").fetchall() == [(7,)]
        assert house.stop() == 0
        assert house.processes() == []


def _database(house: House) -> str:
    return f"postgresql://portico@/portico?host={house.home}/run/pg"


def test_children_die_with_a_killed_supervisor() -> None:
    with House() as house:
        pids = [house.pid(name) for name in CHILDREN if name != "envoy"]
        house.crash()
        house.wait_for(
            lambda: not any(_is_alive(pid) for pid in pids), 30, "lose all children but Envoy"
        )
        envoy = house.pid("envoy")
        assert _is_alive(envoy)
        done = house.run("doctor")
        assert done.returncode == 1
        assert f"crashed or was killed. Still running: Envoy (process {envoy})" in done.stdout
        assert f"are held by Envoy (process {envoy}), which 'portico up' adopts" in done.stdout
        assert "ok   supervisor" not in done.stdout


def _is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_a_busy_port_is_named_with_its_holder_and_the_variable() -> None:
    house = House()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", house.ports["PORTICO_TLS_PORT"]))
        taken.listen()
        done = house.run("up")
    assert done.returncode == 1
    assert done.stderr.strip() == (
        f"portico up: Port {house.ports['PORTICO_TLS_PORT']} is in use by process {os.getpid()} "
        f"({psutil.Process().name()}). Stop that program, or set PORTICO_TLS_PORT to a free port."
    )
    assert house.processes() == []
    house.close()


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"PORTICO_PORT": "abc"}, "PORTICO_PORT is 'abc'. Set it to a whole number."),
        ({"PORTICO_PORT": "70000"}, "PORTICO_PORT is 70000. Set it to a number from 1 to 65535."),
        ({"PORTICO_BIND": "elsewhere"}, "PORTICO_BIND"),
        ({"DATABASE_URL": "mysql://x/y"}, "DATABASE_URL must begin with postgresql://"),
        ({"DATABASE_URL": "postgresql://a:b@127.0.0.1:1/c"}, "Check DATABASE_URL."),
        ({"REDIS_URL": "redis://127.0.0.1:1/0"}, "Check REDIS_URL."),
        ({"PORTICO_TLS_CERTIFICATE": "/nowhere.pem"}, "PORTICO_TLS_CERTIFICATE"),
    ],
)
def test_a_wrong_setting_is_one_sentence(variables: dict[str, str], words: str) -> None:
    house = House(variables=variables)
    done = house.run("up")
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert house.processes() == []
    house.close()


def test_a_wrong_database_password_is_one_sentence(house: House) -> None:
    other = House(
        variables={"DATABASE_URL": f"postgresql://nobody@/portico?host={house.home}/run/pg"}
    )
    done = other.run("up")
    assert done.returncode == 1
    assert 'role "nobody" does not exist' in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert other.processes() == []
    other.close()


def test_a_damaged_data_folder_is_one_sentence() -> None:
    with House() as house:
        assert house.stop() == 0
        assert house.home is not None
        (house.home / "postgres" / "global" / "pg_control").write_bytes(b"damaged")
        done = house.run("up")
        assert done.returncode == 1
        assert done.stderr.startswith("portico up: PostgreSQL does not start: ")
        assert len(done.stderr.strip().splitlines()) == 1
        assert house.processes() == []


def test_data_of_another_postgresql_is_refused() -> None:
    house = House()
    assert house.home is not None
    (house.home / "postgres").mkdir()
    (house.home / "postgres" / "PG_VERSION").write_text("15\n")
    done = house.run("up")
    assert done.returncode == 1
    assert "was made by PostgreSQL 15" in done.stderr
    house.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_can_run_it() -> None:
    nobody = pwd.getpwnam("nobody")
    with _open_to_all() as (checkout, python, packages):
        house = House(
            uid=nobody.pw_uid,
            checkout=checkout,
            python=str(python),
            variables={
                "PYTHONPATH": f"{checkout}:{packages}",
                # An interpreter with a shared library must find its own beside it, not the system's.
                "LD_LIBRARY_PATH": str(python.parent.parent / "lib"),
            },
        )
        with house:
            assert house.is_well()
            owners = {psutil.Process(house.pid(name)).uids().real for name in CHILDREN}
            assert owners == {nobody.pw_uid}
            assert house.stop() == 0
            assert house.processes() == []


@contextmanager
def _open_to_all() -> Iterator[tuple[Path, Path, Path]]:
    """Checkout, interpreter and packages where every user of the machine may enter."""
    room = Path(tempfile.mkdtemp(prefix="open-"))
    room.chmod(0o755)
    try:
        interpreter = Path(sys.base_prefix)
        if not is_reachable_by_others(interpreter / "bin" / f"python{PYTHON_VERSION}"):
            stage_tree(interpreter, room / "python")
            interpreter = room / "python"
        stage_tree(ROOT, room / "checkout", skip=lambda path: path.parts[0] in {".venv", ".git"})
        stage_tree(Path(psutil.__file__).parent.parent, room / "packages")
        python = interpreter / "bin" / f"python{PYTHON_VERSION}"
        yield room / "checkout", python, room / "packages"
    finally:
        shutil.rmtree(room, ignore_errors=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="PostgreSQL has a user of its own only under root")
def test_a_home_that_postgresql_cannot_enter_is_one_sentence() -> None:
    house = House()
    assert house.home is not None
    house.home.chmod(0o700)
    inner = House(home=house.home / "inner")
    done = inner.run("up")
    assert done.returncode == 1
    assert f"cannot enter {house.home}" in done.stderr
    assert inner.processes() == []
    house.close()


def test_a_home_that_cannot_be_written_is_one_sentence() -> None:
    done = House(home=ROOT / "pyproject.toml" / "home").run("up")
    assert done.returncode == 1
    assert "Set PORTICO_HOME to a folder that" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_restart_without_a_supervisor_says_how_to_start_one() -> None:
    house = House()
    done = house.run("restart")
    assert done.returncode == 1
    assert "Portico does not run here. Start it with 'portico up'." in done.stderr
    house.close()
