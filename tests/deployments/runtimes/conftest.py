"""Runtimes to test and instances to run on them, each with one stand for every runtime."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.runtimes.docker import bundle
from deployments.runtimes.server_bundle import lay_out, prepare_server
from tests.deployments.runtimes.stands import DockerStand, FakeStand, ProcessStand, Stand
from tests.docker.conftest import base_image, engine

__all__ = ["base_image", "engine"]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may pass through; pytest's own are closed to them."""
    folder = Path(tempfile.mkdtemp(prefix="portico-test-", dir="/tmp"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def real_server() -> Iterator[tuple[Path, Path]]:
    """The inference server as instances run it: its folder and its interpreter."""
    folder = Path(tempfile.mkdtemp(prefix="portico-test-", dir="/tmp"))
    folder.chmod(0o711)
    yield prepare_server(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def container_server() -> Iterator[Path]:
    """The inference server as containers bring it."""
    folder = Path(tempfile.mkdtemp(prefix="portico-test-", dir="/tmp"))
    folder.chmod(0o711)
    yield bundle.lay_out(folder / "container-server", lay_out(folder / "server"))
    shutil.rmtree(folder)


@pytest.fixture(
    params=[
        "fake",
        pytest.param("process", marks=pytest.mark.real),
        pytest.param("process with the real server", marks=pytest.mark.real),
        pytest.param("docker", marks=[pytest.mark.real, pytest.mark.docker]),
    ]
)
def stand(request: pytest.FixtureRequest, open_folder: Path) -> Iterator[Stand]:
    """Every runtime; a new one needs a stand in `stands.py` and a line here."""
    stand: Stand
    if request.param == "fake":
        stand = FakeStand(open_folder)
    elif request.param == "process":
        stand = ProcessStand(open_folder)
    elif request.param == "docker":
        stand = request.getfixturevalue("docker_stand")
    else:
        server_dir, python = request.getfixturevalue("real_server")
        stand = ProcessStand(open_folder, server_dir=server_dir, python=python)
    yield stand
    stand.close()


@pytest.fixture
def docker_stand(
    open_folder: Path, container_server: Path, base_image: str
) -> Iterator[DockerStand]:
    stand = DockerStand(open_folder, bundle=container_server, image=base_image)
    yield stand
    stand.close()


@pytest.fixture
def process_stand(open_folder: Path) -> Iterator[ProcessStand]:
    stand = ProcessStand(open_folder)
    yield stand
    stand.close()
