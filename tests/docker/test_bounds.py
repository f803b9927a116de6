"""What a faulty or malicious build may take of the machine: no more than it is given."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import docker
import pytest
from docker.errors import APIError

from deployments.environments import BuildFailed, EnvironmentSettings, Interpreters
from deployments.environments.specification import EnvironmentSpec
from deployments.images.bounds import DiskWatch, bound_steps, bounds_of
from deployments.images.settings import BuildLimits, ImageSettings
from deployments.images.specification import ImageSpec
from deployments.images.store import ImageStore
from tests.deployments.environments.wheels import make_source, make_wheel

MIB = 1024**2
LIMITS = BuildLimits(memory_bytes=400 * MIB, processes=200)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="portico-bounds-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def store(engine: docker.DockerClient, place: Path) -> Iterator[ImageStore]:
    """A store whose builds may take little."""
    make_wheel(place / "wheels", "alpha")
    packages = EnvironmentSettings(
        offline=True, find_links=(str(place / "wheels"),), min_free_bytes=0
    )
    mark = f"bounds{os.getpid()}"
    settings = ImageSettings(installation=mark, packages=packages, limits=LIMITS)
    store = ImageStore(place / "images", settings, Interpreters(place / "interpreters"))
    yield store
    store.prune(set(), grace_seconds=0)
    # What other builds on this engine are bound by.
    usual = ImageSettings(installation=mark)
    bound_steps(usual, bounds_of(store.client, usual))
    for image in engine.images.list(filters={"label": f"portico.builder={mark}"}):
        with suppress(APIError):
            engine.images.remove(image.id, force=True)
    for volume in engine.volumes.list(filters={"name": mark}):
        volume.remove(force=True)
    store.client.close()


def failed(store: ImageStore, place: Path, *lines: str) -> BuildFailed:
    """The build of a Dockerfile with these lines, which must not take long to fail."""
    folder = Path(tempfile.mkdtemp(dir=place))
    text = "\n".join(("FROM debian:12-python", *lines))
    (folder / "Dockerfile").write_text(text)
    began = time.monotonic()
    with pytest.raises(BuildFailed) as caught:
        store.build(ImageSpec(context=folder, context_hash=f"{text} {os.getpid()}"))
    assert time.monotonic() - began < 60
    return caught.value


def test_a_step_that_would_fill_the_disk_is_stopped_and_leaves_nothing(
    store: ImageStore, place: Path, base_image: str
) -> None:
    root = store.client.info()["DockerRootDir"]
    before = shutil.disk_usage(root).free
    limits = replace(LIMITS, disk_bytes=1024 * MIB)
    narrow = replace(store, settings=replace(store.settings, limits=limits))
    error = failed(narrow, place, f"RUN : {os.getpid()}; head -c 100G /dev/zero > /big")
    assert error.failure.code == "DiskFull"
    assert "more than 1.0 GiB" in error.message
    until = time.monotonic() + 30
    while time.monotonic() < until and shutil.disk_usage(root).free < before - 512 * MIB:
        time.sleep(0.2)
    assert shutil.disk_usage(root).free > before - 512 * MIB


@pytest.mark.skipif(os.geteuid() != 0, reason="control groups are written by root alone")
def test_a_step_gets_no_more_memory_and_processes_than_builds_may_have(
    store: ImageStore, place: Path, base_image: str
) -> None:
    error = failed(
        store, place, f"RUN : {os.getpid()}; python3 -c \"print(len(b'x' * (1 << 30)))\""
    )
    assert "it was killed, most likely because it needed more memory" in error.message
    bomb = f"RUN : {os.getpid()}; for i in $(seq 2000); do sleep 60 & done"
    said = " ".join(failed(store, place, bomb).failure.evidence)
    assert "Cannot fork" in said


def test_a_package_that_wants_too_much_memory_is_told_so(
    store: ImageStore, place: Path, base_image: str
) -> None:
    source = make_source(place, "greedy", at_build="x = bytes(range(256)) * (1 << 22)")
    text = f"dependencies:\n- python=3.11\n- pip:\n  - ./{source.name}\n"
    wanted = EnvironmentSpec(conda_text=text, folder=source.parent)
    with pytest.raises(BuildFailed) as caught:
        store.build(ImageSpec(base_image, wanted))
    assert "0.4 GiB of memory that builds may have" in caught.value.message


def test_the_watch_stops_a_build_before_the_disk_is_full() -> None:
    left = iter([1000, 900, 500, 90])
    watch = DiskWatch(Path("/"), 100, 10_000, lambda: False, free=lambda folder: next(left))
    with pytest.raises(BuildFailed, match="before it had filled the disk"):
        while not watch():
            pass
