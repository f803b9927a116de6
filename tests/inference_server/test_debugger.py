"""A worker that is debugged: it waits for the debugger, and no clock ends it at a breakpoint."""

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

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


def test_no_debugpy_is_told(start: Serve) -> None:
    served = start(scripts.ECHO, environment={"AZUREML_DEBUG_PORT": "5678"})
    assert served.process.wait(20) == 3
    assert "debugpy is not in the environment" in served.status["message"]


def test_no_listening_debugger_is_told(start: Serve, packages: str) -> None:
    port = free_port()
    served = start(
        scripts.ECHO, environment={"AZUREML_DEBUG_PORT": str(port), "PYTHONPATH": packages}
    )
    assert served.process.wait(20) == 3
    assert f"AZUREML_DEBUG_PORT is {port}, and no debugger listens" in served.status["message"]
