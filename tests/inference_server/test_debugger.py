"""A worker that is debugged: it waits for the debugger, and no clock ends it at a breakpoint."""

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from inference_server.settings import SettingsError, read_settings
from tests.debugger_client import debugger
from tests.inference_server import scripts
from tests.inference_server.serving import (
    OTHER_SERVER,
    REPOSITORY,
    Serve,
    free_port,
    until,
    wait_until_healthy,
)

pytestmark = pytest.mark.skipif(bool(OTHER_SERVER), reason="beyond the contract")

# Has what the server uses of debugpy: connects, and waits for the word of who listens.
DEBUGPY = """
import socket

def connect(port):
    global client
    client = socket.create_connection(("127.0.0.1", port))

def wait_for_client():
    client.recv(1)
"""
PAUSED = """
import os, time

def init():
    pass

def run(data):
    open("began", "w").close()
    while not os.path.exists("gate"):
        time.sleep(0.005)
    return os.getpid()
"""

COUNTING = """
import json

def init():
    print("init")

def run(data):
    number = json.loads(data)
    return number + 1
"""


@pytest.fixture
def packages(tmp_path: Path) -> str:
    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / "debugpy.py").write_text(DEBUGPY)
    return f"{REPOSITORY}:{folder}"


def test_the_script_is_not_loaded_before_the_debugger_is_there(
    start: Serve, packages: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        script = "open('loaded', 'w').close()\n" + scripts.ECHO
        served = start(
            script,
            "--worker_count",
            "3",
            environment={"AZUREML_DEBUG_PORT": str(port), "PYTHONPATH": packages},
        )
        listener.settimeout(20)
        debugger, _ = listener.accept()
        with debugger:
            assert not (served.folder / "loaded").exists()
            assert served.status["state"] == "starting"
            debugger.sendall(b"x")
            wait_until_healthy(served)
        assert len(served.worker_pids()) == 1


def test_no_time_limit_ends_what_stands_at_a_breakpoint(start: Serve, packages: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        served = start(
            PAUSED,
            "--request_timeout_ms",
            "100",
            environment={
                "AZUREML_DEBUG_PORT": str(listener.getsockname()[1]),
                "PYTHONPATH": packages,
                "SCORING_TIMEOUT_MS": "100",
                "WORKER_TIMEOUT": "1",
            },
        )
        listener.settimeout(20)
        debugger, _ = listener.accept()
        with debugger, ThreadPoolExecutor(1) as threads:
            debugger.sendall(b"x")
            wait_until_healthy(served)
            (pid,) = served.worker_pids()
            future = threads.submit(served.call, body="x")
            until((served.folder / "began").exists, 10, "start of run()")
            with pytest.raises(TimeoutError):
                future.result(1.5)  # every one of these limits is over by now
            os.close(os.open(served.folder / "gate", os.O_CREAT))
            assert (future.result().status, future.result().json()) == (200, pid)


def test_no_debugpy_is_told(start: Serve, tmp_path: Path) -> None:
    folder = tmp_path / "without"
    folder.mkdir()
    (folder / "debugpy.py").write_text("raise ModuleNotFoundError(name='debugpy')\n")
    served = start(
        scripts.ECHO,
        environment={"AZUREML_DEBUG_PORT": "5678", "PYTHONPATH": f"{REPOSITORY}:{folder}"},
    )
    assert served.process.wait(20) == 3
    assert "debugpy is not in the environment" in served.status["message"]


def test_no_listening_debugger_is_told(start: Serve, packages: str) -> None:
    port = free_port()
    served = start(
        scripts.ECHO, environment={"AZUREML_DEBUG_PORT": str(port), "PYTHONPATH": packages}
    )
    assert served.process.wait(20) == 3
    assert f"AZUREML_DEBUG_PORT is {port}, and no debugger listens" in served.status["message"]


def test_a_debugger_attaches_and_stops_at_a_breakpoint(start: Serve) -> None:
    port = free_port()
    served = start(
        COUNTING,
        "--worker_count",
        "2",
        "--request_timeout_ms",
        "100",
        environment={
            "PORTICO_DEBUG_LISTEN": f"127.0.0.1:{port}",
        },
    )
    wait_until_healthy(served)
    assert served.post_json(1).json() == 2
    script = str(served.folder / "score.py")
    with debugger("127.0.0.1", port) as attached, ThreadPoolExecutor(1) as threads:
        attached.attach({script: 9})
        future = threads.submit(served.post_json, 41)
        path, line, variables = attached.wait_for_stop()
        assert (path, line, variables["number"]) == (script, 9, "41")
        assert not future.done()
        attached.go_on()
        assert future.result().json() == 42


def test_init_waits_for_a_debugger_that_is_to_see_it(start: Serve) -> None:
    port = free_port()
    served = start(
        COUNTING,
        environment={
            "PORTICO_DEBUG_LISTEN": f"127.0.0.1:{port}",
            "PORTICO_DEBUG_WAIT": "true",
        },
    )
    with debugger("127.0.0.1", port) as attached:
        attached.attach({str(served.folder / "score.py"): 4})
        assert attached.wait_for_stop()[1] == 4
        assert served.status["state"] == "starting"
        attached.go_on()
        wait_until_healthy(served)


@pytest.mark.parametrize("address", ["5678", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000"])
def test_an_address_to_listen_at_has_host_and_port(address: str) -> None:
    with pytest.raises(SettingsError, match="an address and a port"):
        read_settings(["--entry_script", "score.py"], {"PORTICO_DEBUG_LISTEN": address})


def test_one_debugger_at_a_time() -> None:
    both = {"PORTICO_DEBUG_LISTEN": "127.0.0.1:5678", "AZUREML_DEBUG_PORT": "5678"}
    with pytest.raises(SettingsError, match="one debugger"):
        read_settings(["--entry_script", "score.py"], both)
