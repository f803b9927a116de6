"""A real engine for the tests here. Without one they are skipped, which CI does not allow."""

from __future__ import annotations

from collections.abc import Iterator

import docker
import pytest
from docker.errors import DockerException, ImageNotFound

BASE_IMAGE = "debian:12-python"
"""Debian 12 with Python 3.11; `tools/base_image.sh` makes it where there is no registry."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(__file__.rpartition("/")[0]):
            item.add_marker(pytest.mark.docker)


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """The engine that DOCKER_HOST or this machine's socket names."""
    try:
        client = docker.from_env(timeout=120)
        client.ping()
    except DockerException as error:
        pytest.skip(f"no Docker engine answers: {error}")
    yield client
    client.close()


@pytest.fixture(scope="session")
def base_image(engine: docker.DockerClient) -> str:
    """An image with Python 3.11 that is on the engine."""
    try:
        engine.images.get(BASE_IMAGE)
    except ImageNotFound:
        pytest.skip(f"{BASE_IMAGE} is not on the engine: tools/base_image.sh makes it")
    return BASE_IMAGE
