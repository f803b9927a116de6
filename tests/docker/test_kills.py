"""Somebody dies half-way: a worker, an engine, a disk. What is left is in order again, and explained."""

from __future__ import annotations

import gc
import http.client
import multiprocessing
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.synchronize import Event
from pathlib import Path

import docker
import psutil
import pytest

from deployments.environments import EnvironmentSettings
from deployments.environments.failures import BuildFailed
from deployments.environments.interpreters import Interpreters
from deployments.images.settings import ImageSettings
from deployments.images.specification import ImageSpec
from deployments.images.store import ImageStore
from deployments.runtimes import InstanceSpec, Phase
from deployments.runtimes.docker.runtime import DockerRuntime
from tests.deployments.runtimes.conftest import container_server
from tests.deployments.runtimes.stands import DockerStand, ask, wait_for
from tests.docker.test_engines import SecondEngine

__all__ = ["container_server"]

pytestmark = [
    pytest.mark.real,
    pytest.mark.docker,
    # docker's SDK leaves sockets behind whose engine died.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]
PATIENCE_SECONDS = 60
DISK_BYTES = 768 * 1024**2
SILENT_SECONDS = 86_417


class MortalEngine(SecondEngine):
    """One that may be killed."""

    def kill(self) -> None:
        """As the kernel would for want of memory; the containers live on for now."""
        assert self._process is not None
        helpers = psutil.Process(self._process.pid).children()
        self._process.kill()
        self._process.wait(PATIENCE_SECONDS)
        # They end with it, some a moment later.
        psutil.wait_procs(helpers, PATIENCE_SECONDS)
        self._process = None


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="portico-test-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def stand(folder: Path, container_server: Path, base_image: str) -> Iterator[DockerStand]:
    stand = DockerStand(folder, bundle=container_server, image=base_image)
    yield stand
    stand.close()


@pytest.fixture(scope="module")
def small_engine(engine: docker.DockerClient, base_image: str) -> Iterator[MortalEngine]:
    """An engine of our own, that may be killed, on a disk that is soon full."""
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        pytest.skip("an engine of our own needs root and dockerd")
    folder = Path(tempfile.mkdtemp(prefix="portico-engine-", dir="/tmp"))
    disk = folder / "data"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)]
    subprocess.run(mount, check=True)
    small = MortalEngine(folder)
    small.start()
    with docker.APIClient(small.address.url, version="auto", timeout=120) as client:
        client.load_image(engine.api.get_image(base_image))
    yield small
    small.end()
    # What a killed engine mounted below it goes along.
    subprocess.run(["umount", "--lazy", str(disk)], check=True)
    shutil.rmtree(folder, ignore_errors=True)


def _build(root: Path, settings: ImageSettings, spec: ImageSpec) -> None:
    ImageStore(root, settings, Interpreters(root / "interpreters")).build(spec)


def test_a_silent_build_whose_worker_was_killed_is_ended(
    engine: docker.DockerClient, base_image: str, folder: Path
) -> None:
    command = ["sleep", str(SILENT_SECONDS + os.getpid())]
    settings = ImageSettings(
        installation=f"kill{os.getpid()}",
        packages=EnvironmentSettings(offline=True, min_free_bytes=0),
    )
    spec = dockerfile(folder, f"FROM {base_image}\nRUN {' '.join(command)}\n")
    worker = multiprocessing.get_context("spawn").Process(
        target=_build, args=(folder / "images", settings, spec)
    )
    worker.start()
    wait_until(lambda: processes(command), "the step to run")
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    assert processes(command)
    secrets = folder / "images" / "builds"
    assert list(secrets.glob("*/secret-*"))

    store = ImageStore(folder / "images", settings, Interpreters(folder / "interpreters"))
    store.prune(set())
    wait_until(lambda: not processes(command), "the step to end")
    store.prune(set())
    assert list(secrets.iterdir()) == []
    assert not engine.images.list(filters={"label": f"portico.builder={settings.installation}"})
    store.client.close()


def _start(runtime: DockerRuntime, spec: InstanceSpec, begins: Event) -> None:
    begins.set()
    runtime.ensure(spec)


@pytest.mark.parametrize("after_seconds", [0.02, 0.15])
def test_a_start_whose_worker_was_killed_is_finished_by_the_next(
    stand: DockerStand, engine: docker.DockerClient, after_seconds: float
) -> None:
    spec = stand.spec("ep.killed.1.0")
    context = multiprocessing.get_context("fork")
    begins = context.Event()
    worker = context.Process(target=_start, args=(stand.another_runtime(), spec, begins))
    worker.start()
    assert begins.wait(PATIENCE_SECONDS)
    time.sleep(after_seconds)  # any moment is as good as another
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()

    runtime = stand.another_runtime()
    runtime.ensure(spec)
    assert ask(wait_for(runtime, spec.name, Phase.HEALTHY).address)[0] == 200
    runtime.remove(spec.name)
    label = {"label": f"portico.installation={stand.installation}"}

    def is_clean() -> bool:
        # What a slow engine still makes for the worker that was killed is found by the next look.
        for name in runtime.owned():
            runtime.remove(name)
        left = engine.api.containers(all=True, filters=label), engine.networks.list(filters=label)
        return left == ([], [])

    wait_until(is_clean, "nothing to be left")


def test_a_paused_container_says_so_and_can_be_removed(
    stand: DockerStand, engine: docker.DockerClient
) -> None:
    spec = stand.spec("ep.paused.1.0")
    stand.runtime.ensure(spec)
    wait_for(stand.runtime, spec.name, Phase.HEALTHY)
    container = engine.containers.get(f"portico-{stand.installation}-{spec.name}")
    container.pause()
    status = stand.runtime.inspect(spec.name)
    assert (status.phase, "docker unpause" in status.reason) == (Phase.STARTING, True)
    assert stand.runtime.ensure(spec) == status
    stand.runtime.remove(spec.name, grace_seconds=1)
    assert stand.runtime.inspect(spec.name).phase == Phase.ABSENT


def test_an_engine_killed_under_load_comes_back_with_its_instances(
    small_engine: MortalEngine, container_server: Path, base_image: str, folder: Path
) -> None:
    stand = DockerStand(
        folder, bundle=container_server, image=base_image, engines=(small_engine.address,)
    )
    runtime = stand.runtime
    spec = stand.spec("ep.load.1.0")
    runtime.ensure(spec)
    address = wait_for(runtime, spec.name, Phase.HEALTHY).address
    is_over = threading.Event()
    caller = threading.Thread(target=_load, args=(address, is_over))
    caller.start()
    try:
        small_engine.kill()
        away = runtime.inspect(spec.name)
        assert away.phase in (Phase.STARTING, Phase.HEALTHY)
        assert "does not answer" in away.reason
        assert runtime.ensure(spec).phase != Phase.ABSENT
        small_engine.start()

        def serves() -> bool:
            runtime.ensure(spec)
            return runtime.inspect(spec.name).phase == Phase.HEALTHY

        wait_until(serves, "it to serve again")
        assert ask(runtime.inspect(spec.name).address)[0] == 200
    finally:
        is_over.set()
        caller.join()
    runtime.remove(spec.name)
    with docker.APIClient(small_engine.address.url, version="auto") as client:
        assert client.containers(all=True) == []
        label = {"label": f"portico.installation={stand.installation}"}
        assert client.networks(filters=label) == []
    with runtime.engines[small_engine.address.name].asking() as api:
        api.close()
    gc.collect()


def test_a_disk_that_fills_up_is_told_and_freed_again(
    small_engine: MortalEngine, base_image: str, folder: Path
) -> None:
    settings = ImageSettings(
        installation="full",
        address=small_engine.address,
        packages=EnvironmentSettings(offline=True, min_free_bytes=0),
    )
    store = ImageStore(folder / "images", settings, Interpreters(folder / "interpreters"))
    greedy = f"FROM {base_image}\nRUN head -c 2G /dev/zero > /filler\n"
    with pytest.raises(BuildFailed) as caught:
        store.build(dockerfile(folder, greedy))
    assert caught.value.failure.code == "DiskFull"
    assert caught.value.failure.fixes

    built = store.build(dockerfile(folder, f"FROM {base_image}\nENV ROOM=1\n"))
    assert store.sizes()[built.key] > 0
    store.prune(set(), grace_seconds=0)
    store.client.close()
    gc.collect()


def dockerfile(folder: Path, text: str) -> ImageSpec:
    context = Path(tempfile.mkdtemp(dir=folder))
    (context / "Dockerfile").write_text(text)
    return ImageSpec(context=context, context_hash=text)


def processes(command: list[str]) -> list[psutil.Process]:
    """Those of this machine that run exactly this, in containers as well."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cmdline() == command:
                found.append(process)
    return found


def wait_until(look: Callable[[], object], what: str) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not look():
        assert time.monotonic() < until, f"waited {PATIENCE_SECONDS} s for {what}"
        time.sleep(0.05)


def _load(address: str, is_over: threading.Event) -> None:
    while not is_over.is_set():
        with suppress(OSError, http.client.HTTPException):
            ask(address, "/score", method="POST", body="[1]")
