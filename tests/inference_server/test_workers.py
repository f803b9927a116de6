"""Worker processes: their deaths, their replacements, their ends, and the Pythons they run in."""

import functools
import glob
import importlib
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.inference_server import scripts
from tests.inference_server.serving import (
    OTHER_SERVER,
    REPOSITORY,
    Serve,
    Served,
    read_reply,
    until,
    wait_until_healthy,
)
from tests.inference_server.test_queue import GATED, Gate

pytestmark = pytest.mark.skipif(bool(OTHER_SERVER), reason="beyond the contract")

# Fails in one particular way at a chosen moment.
DOOMED = """
import json, os, signal, time

def init():
    if os.path.exists("die-in-init"):
        raise FileNotFoundError("model.pkl")

def run(data):
    what = json.loads(data)
    if what == "exit":
        os._exit(7)
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "sys-exit":
        raise SystemExit(1)
    if what == "fork":
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
    return os.getpid()
"""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("how", ["exit", "kill"])
def test_a_worker_that_ends_under_a_request_costs_that_request_only(
    start: Serve, how: str
) -> None:
    served = start(DOOMED)
    wait_until_healthy(served)
    before = served.post_json("pid").json()
    lost = served.post_json(how, x_request_id="A")
    assert (lost.status, lost.header("x-request-id")) == (502, "A")
    assert lost.message == "The worker process ended while it handled the request."
    assert served.post_json("pid").json() != before


def test_a_killed_worker_is_told_as_out_of_memory(start: Serve) -> None:
    served = start(DOOMED)
    wait_until_healthy(served)
    served.post_json("kill")
    status = served.wait_for_status(restarts=1, ready_workers=1)
    assert (status["state"], status["code"]) == ("ready", "OutOfMemory")


def test_requests_behind_a_dying_one_are_answered_by_the_next_worker(
    start: Serve, tmp_path: Path
) -> None:
    served = start(GATED, "--depth", "8")
    wait_until_healthy(served)
    gated = Gate(served, tmp_path)
    first = gated.send_and_wait_until_it_runs()
    others = [gated.threads.submit(served.post_json, {}) for _ in range(5)]
    os.kill(served.worker_pids()[0], signal.SIGKILL)
    assert first.result().status == 502
    assert {future.result().status for future in others} == {200}


def test_sys_exit_in_run_is_a_failure_of_the_script(start: Serve) -> None:
    served = start(DOOMED)
    wait_until_healthy(served)
    pid = served.post_json("pid").json()
    assert served.post_json("sys-exit").status == 500
    assert served.post_json("pid").json() == pid


def test_the_end_of_a_worker_is_seen_through_its_living_children(start: Serve) -> None:
    served = start(DOOMED)
    wait_until_healthy(served)
    served.post_json("fork")
    before = served.worker_pids()
    assert served.post_json("exit").status == 502
    assert served.post_json("pid").json() not in before


def test_no_worker_outlives_a_killed_server(start: Serve) -> None:
    served = start(scripts.ECHO, "--worker_count", "2")
    wait_until_healthy(served)
    served.wait_for_status(ready_workers=2)
    pids = served.worker_pids()
    assert len(pids) == 2
    served.stop(signal.SIGKILL)
    until(lambda: not any(is_alive(pid) for pid in pids), 5, "end of the workers")


def test_workers_do_not_hold_each_others_sockets(start: Serve) -> None:
    served = start(scripts.ECHO, "--worker_count", "3")
    wait_until_healthy(served)
    served.wait_for_status(ready_workers=3)
    held = [
        {
            os.readlink(link)
            for link in glob.glob(f"/proc/{pid}/fd/*")
            if "socket:" in os.readlink(link)
        }
        for pid in served.worker_pids()
    ]
    assert all(len(sockets) == 2 for sockets in held)
    assert len(set.union(*held)) == 6


def test_a_script_that_stops_starting_is_tried_again_and_again(start: Serve) -> None:
    served = start(DOOMED)
    wait_until_healthy(served)
    (served.folder / "die-in-init").touch()
    served.post_json("exit")
    until(lambda: served.status["restarts"] >= 3, 10, "three tries")
    status = served.status
    assert status["ready_workers"] == 0
    assert status["message"] == "init() raised FileNotFoundError: model.pkl"
    assert served.call("GET", "/").status == 503
    (served.folder / "die-in-init").unlink()
    wait_until_healthy(served)
    assert served.post_json("pid").status == 200


def test_before_the_first_worker_is_ready_the_answer_is_503(start: Serve, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    served = start(
        f"import os, time\ndef init():\n  while not os.path.exists({str(gate)!r}): time.sleep(0.01)\n"
        "def run(data): return 1"
    )
    until(lambda: (served.folder / "status.json").exists(), 10, "a status")

    def answers() -> bool:
        try:
            return served.call("GET", "/").status == 503
        except OSError:
            return False

    until(answers, 10, "an answer")
    assert served.status["state"] == "starting"
    assert served.call(body="x").status == 503
    gate.touch()
    wait_until_healthy(served)
    assert served.status["state"] == "ready"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import xgboost_", "score.py imports xgboost_, which is not in the environment"),
        ("def init(): pass", "score.py has no run() function"),
        (
            "def init(): import nope\ndef run(x): pass",
            "init() needs nope, which is not in the environment",
        ),
        ("import json.nope", "score.py imports json.nope, which is not in the environment"),
        (
            "def init(): raise ValueError('two\\nlines')\ndef run(x): pass",
            "init() raised ValueError: two lines",
        ),
    ],
)
def test_a_failure_is_told_in_one_sentence(start: Serve, text: str, message: str) -> None:
    served = start(text)
    assert served.process.wait(20) == 3
    assert served.status["message"] == message


@pytest.mark.parametrize(
    ("content", "raised", "way_out"),
    [
        (
            "cjson\\nnope\\n.",
            "AttributeError: Can't get attribute 'nope' on <module 'json'",
            f"saved with other versions than are here (Python {platform.python_version()}): name the",
        ),
        (
            "\\x80\\x63.",
            "ValueError: unsupported pickle protocol: 99.",
            "saved with other versions",
        ),
        ("version https://git-lfs", "UnpicklingError: ", "register the model's files again"),
        ("", "EOFError: Ran out of input.", "The file is cut off or is no pickle"),
    ],
)
def test_a_pickle_that_cannot_be_read_says_what_to_do(
    start: Serve, content: str, raised: str, way_out: str
) -> None:
    served = start(
        f"import pickle\ndef init():\n    pickle.loads(b'{content}')\ndef run(data): pass"
    )
    assert served.process.wait(20) == 3
    status = served.status
    assert status["code"] == "ModelLoadFailed"
    assert status["message"].startswith(f"init() could not read a saved object: {raised}")
    assert way_out in status["message"]


def test_half_a_character_in_a_failure_does_not_silence_the_log(start: Serve) -> None:
    served = start("def init(): raise ValueError('\\ud800')\ndef run(data): pass")
    assert served.process.wait(20) == 3
    assert "init() raised ValueError: \\ud800" in served.log


def test_evidence_shows_the_script_and_not_the_server(start: Serve) -> None:
    served = start("def init():\n    open('model.pkl')\ndef run(data): pass")
    served.process.wait(20)
    evidence = "\n".join(served.status["evidence"])
    assert "open('model.pkl')" in evidence
    assert "inference_server/" not in evidence


def test_a_crash_at_start_is_told(start: Serve) -> None:
    served = start("import os\nos.kill(os.getpid(), 11)")
    assert served.process.wait(20) == 3
    assert "SIGSEGV" in served.status["message"]


def test_an_interpreter_that_is_not_there_is_told(start: Serve) -> None:
    served = start(scripts.ECHO, "--python", "/nowhere/python")
    assert served.process.wait(20) == 3
    assert "/nowhere/python" in served.status["message"]


class TestDrain:
    def test_requests_under_way_are_finished(self, start: Serve, tmp_path: Path) -> None:
        served = start(GATED)
        wait_until_healthy(served)
        gated = Gate(served, tmp_path)
        under_way = gated.send_and_wait_until_it_runs()
        waiting = gated.threads.submit(served.post_json, {})
        until(lambda: len(served_connections(served)) >= 2, 5, "two connections")
        served.process.send_signal(signal.SIGTERM)
        served.wait_for_status(state="stopping")
        with pytest.raises(OSError):
            served.connect()
        gated.open()
        assert under_way.result().status == 200
        assert waiting.result().status == 200
        assert served.process.wait(10) == 0

    def test_idle_connections_are_closed(self, start: Serve) -> None:
        served = start(scripts.ECHO)
        wait_until_healthy(served)
        with served.connect() as connection, connection.makefile("rb") as file:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            assert read_reply(file).status == 200
            served.process.send_signal(signal.SIGTERM)
            assert connection.recv(1) == b""
        assert served.process.wait(10) == 0

    def test_the_grace_period_ends_what_does_not_end(self, start: Serve, tmp_path: Path) -> None:
        served = start(GATED, "--grace_seconds", "0.2")
        wait_until_healthy(served)
        gated = Gate(served, tmp_path)
        gated.send_and_wait_until_it_runs()
        assert served.stop() == 0


def served_connections(served: Served) -> list[str]:
    place = f":{served.port:04X} "
    lines = Path("/proc/net/tcp").read_text().splitlines()
    return [line for line in lines if place in line.split(maxsplit=2)[1] + " " and " 01 " in line]


@functools.cache
def interpreters() -> dict[str, str]:
    """Every Python that this machine has, by its minor version."""
    found = {}
    managed = (
        subprocess.run(
            ["uv", "python", "list", "--only-installed", "--output-format", "json"],
            capture_output=True,
            check=False,
        )
        if shutil.which("uv")
        else None
    )
    listed = json.loads(managed.stdout) if managed and managed.stdout else []
    paths = [entry["path"] for entry in listed]
    root = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    paths += glob.glob(f"{root}/versions/3.*/bin/python3.*[0-9]")
    for minor in range(8, 15):
        named = [path for path in paths if path.endswith(f"/python3.{minor}")]
        path = named[0] if named else shutil.which(f"python3.{minor}")
        if (
            path
            and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0
        ):
            found[f"3.{minor}"] = path
    return found


# Those of this machine: none can be installed where only a distribution's packages are to be had.
@pytest.mark.parametrize("minor", sorted(set(interpreters()) & {f"3.{n}" for n in range(8, 14)}))
def test_workers_run_in_every_supported_python(start: Serve, minor: str) -> None:
    path = interpreters()[minor]
    served = start(
        "import sys\ndef init(): print('ready')\n"
        "def run(data, request_headers):\n  return [sys.version_info[:2], data, len(request_headers)]",
        "--python",
        path,
        environment={"SCORING_TIMEOUT_MS": "60000"},
    )
    wait_until_healthy(served)
    version, data, headers = served.call(body="x" * 50_000).json()
    assert version == [3, int(minor[2:])]
    assert len(data) == 50_000
    assert headers >= 2
    assert "paths" in served.call("GET", "/swagger.json").json()


class TestPreload:
    def test_init_runs_once_for_all_workers(self, start: Serve) -> None:
        served = start(
            "import os\ndef init():\n  global made_in\n  made_in = os.getpid()\n"
            "def run(data): return [made_in, os.getpid()]",
            "--worker_count",
            "2",
            environment={"WORKER_PRELOAD": "true"},
        )
        wait_until_healthy(served)
        served.wait_for_status(ready_workers=2)
        with ThreadPoolExecutor(8) as threads:
            replies = [threads.submit(served.post_json, 1) for _ in range(50)]
            answers = [future.result().json() for future in replies]
        assert len({made for made, _ in answers}) == 1
        assert all(made != own for made, own in answers)

    def test_a_dead_worker_is_forked_anew(self, start: Serve) -> None:
        served = start(DOOMED, environment={"WORKER_PRELOAD": "true"})
        wait_until_healthy(served)
        before = served.post_json("pid").json()
        assert served.post_json("kill").status == 502
        assert served.post_json("pid").json() != before

    def test_a_failing_init_ends_with_code_3(self, start: Serve) -> None:
        served = start(
            "def init(): 1 / 0\ndef run(x): pass", environment={"WORKER_PRELOAD": "true"}
        )
        assert served.process.wait(20) == 3
        assert served.status["message"] == "init() raised ZeroDivisionError: division by zero"

    def test_the_loss_of_the_parent_is_survived(self, start: Serve) -> None:
        served = start(DOOMED, environment={"WORKER_PRELOAD": "true"})
        wait_until_healthy(served)
        (parent,) = served.worker_pids()
        os.kill(parent, signal.SIGKILL)
        until(lambda: served.worker_pids() not in ([], [parent]), 10, "a new parent")
        wait_until_healthy(served)
        assert served.post_json("pid").status == 200
        assert served.stop() == 0


class TestStandAlone:
    def test_listens_on_a_unix_socket_for_its_group(self, start: Serve, tmp_path: Path) -> None:
        path = tmp_path / "s"
        served = start(scripts.ECHO, "--socket", str(path))
        served.wait_for_status(state="ready")
        assert oct(path.stat().st_mode & 0o777) == "0o660"
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            connection.sendall(b"POST /score HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx")
            with connection.makefile("rb") as file:
                assert read_reply(file).json() == "x"
        served.stop()
        assert not path.exists()

    def test_takes_the_place_of_a_dead_servers_socket(self, start: Serve, tmp_path: Path) -> None:
        path = tmp_path / "s"
        first = start(scripts.ECHO, "--socket", str(path))
        first.wait_for_status(state="ready")
        first.stop(signal.SIGKILL)
        start(scripts.ECHO, "--socket", str(path)).wait_for_status(state="ready")

    def test_does_not_push_a_living_server_aside(self, start: Serve, tmp_path: Path) -> None:
        path = tmp_path / "s"
        start(scripts.ECHO, "--socket", str(path)).wait_for_status(state="ready")
        assert start(scripts.ECHO, "--socket", str(path)).process.wait(10) == 3

    def test_runs_from_a_flat_folder_without_metadata_home_or_rights(
        self, start: Serve, tmp_path: Path
    ) -> None:
        flat = tmp_path / "flat"
        shutil.copytree(REPOSITORY / "inference_server", flat / "inference_server")
        for name in ("httptools", "uvloop", "orjson"):
            package = Path(str(importlib.import_module(name).__file__)).parent
            shutil.copytree(package, flat / name)
        (flat / "__main__.py").write_text(
            "import sys\nfrom inference_server.__main__ import main\nsys.exit(main())\n"
        )
        command = [sys.executable, "-I", str(flat)]
        served = start(
            scripts.ECHO, command=command, environment={"HOME": "/nonexistent", "PYTHONPATH": ""}
        )
        wait_until_healthy(served)
        assert served.call(body="x").json() == "x"

    def test_requests_are_logged_only_if_asked_on_a_socket(
        self, start: Serve, tmp_path: Path
    ) -> None:
        path = tmp_path / "s"
        served = start(scripts.ECHO, "--socket", str(path))
        served.wait_for_status(state="ready")
        for target in (b"/score", b"/score?bad"):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(path))
                body = b"\xff" if b"bad" in target else b"x"
                connection.sendall(
                    b"POST %b HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n" % target + body
                )
                with connection.makefile("rb") as file:
                    read_reply(file)
        served.wait_for_log("POST /score?bad 400")
        assert "POST /score 200" not in served.log
