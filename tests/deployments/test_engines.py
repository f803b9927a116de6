"""What deployments run on when nothing was said."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from deployments import engines


@pytest.fixture(autouse=True)
def looked_at_anew(settings: Settings) -> Iterator[None]:
    settings.DEPLOYMENT_RUNTIME = "auto"
    engines.automatic_runtime.cache_clear()
    yield
    engines.automatic_runtime.cache_clear()


def test_without_an_engine_deployments_run_as_processes(
    settings: Settings, tmp_path: Path
) -> None:
    settings.DOCKER_HOST = f"unix://{tmp_path}/none.sock"
    assert engines.runtime_name() == "process"
    assert engines.runtime_sentence().startswith(
        "processes of this machine: no Docker engine answers at unix:"
    )


def test_an_engine_that_answers_is_used_until_the_next_start(
    settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "engine.sock"
    settings.DOCKER_HOST = f"unix://{path}"
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(path))
        door.listen()

        def answer() -> None:
            caller, _ = door.accept()
            with caller:
                assert caller.recv(100).startswith(b"GET /_ping ")
                caller.sendall(b"HTTP/1.0 200 OK\r\n\r\nOK")

        once = threading.Thread(target=answer)
        once.start()
        assert engines.runtime_name() == "docker"
        once.join()
    assert engines.runtime_name() == "docker"
    assert engines.runtime_sentence() == f"containers on unix://{path}"


def test_what_was_chosen_is_not_asked_for(settings: Settings, tmp_path: Path) -> None:
    settings.DOCKER_HOST = f"unix://{tmp_path}/none.sock"
    settings.DEPLOYMENT_RUNTIME = "docker"
    assert engines.runtime_name() == "docker"
    assert engines.silent_engines()
