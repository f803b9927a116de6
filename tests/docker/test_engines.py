"""Several engines as one pool: a second one of our own, reached over TCP as if it were another machine's."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.errors import DockerException

from deployments.runtimes import Phase
from deployments.runtimes.docker.addresses import EngineAddress
from tests.deployments.runtimes.conftest import container_server
from tests.deployments.runtimes.stands import DockerStand, ask, wait_for

__all__ = ["container_server"]

pytestmark = [pytest.mark.real, pytest.mark.docker]
PATIENCE_SECONDS = 60


class SecondEngine:
    """A dockerd with nothing in common with the first one but the kernel."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.address = EngineAddress("there", f"tcp://127.0.0.1:{self.port}")
        # With none of its own, it would take the first engine's away from the machine.
        self._bridge = f"pe{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        name = self._folder.name
        if not Path("/sys/class/net", self._bridge).exists():
            _ip("link", "add", self._bridge, "type", "bridge")
            _ip("address", "add", "10.222.0.1/24", "dev", self._bridge)
        command = [
            *("dockerd", "--host", f"tcp://127.0.0.1:{self.port}", "--tls=false"),
            *("--data-root", f"{self._folder}/data", "--exec-root", f"{self._folder}/exec"),
            *("--pidfile", f"{self._folder}/pid", "--bridge", self._bridge),
            # The first engine's rules are not ours to change.
            *("--iptables=false", "--ip6tables=false", "--ip-masq=false"),
            *("--containerd-namespace", name, "--containerd-plugins-namespace", f"{name}-p"),
        ]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            try:
                with docker.APIClient(self.address.url, version="auto", timeout=5) as client:
                    client.ping()
                    return
            except DockerException:
                if self._process.poll() is not None:
                    break
                time.sleep(0.2)
        raise AssertionError((self._folder / "log").read_text()[-2000:])

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(PATIENCE_SECONDS)
            self._process = None

    def remove_bridge(self) -> None:
        _ip("link", "delete", self._bridge)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@pytest.fixture
def second_engine(base_image: str) -> Iterator[SecondEngine]:
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        pytest.skip("a second engine needs root and dockerd")
    folder = Path(tempfile.mkdtemp(prefix="portico-engine-", dir="/tmp"))
    engine = SecondEngine(folder)
    engine.start()
    yield engine
    engine.stop()
    engine.remove_bridge()
    shutil.rmtree(folder)


# docker's SDK leaves a socket behind that could not connect.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_two_engines_are_one_pool(
    second_engine: SecondEngine, container_server: Path, base_image: str
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="portico-test-", dir="/tmp"))
    folder.chmod(0o711)
    stand = DockerStand(
        folder,
        bundle=container_server,
        image=base_image,
        engines=(EngineAddress("here"), second_engine.address),
        is_pool=True,
    )
    runtime = stand.runtime
    cores = float(runtime.engines["here"].info()["NCPU"])
    first = stand.spec("ep.blue.1.0", cpu_cores=cores)
    second = stand.spec("ep.blue.1.1", cpu_cores=cores - 0.5)
    third = stand.spec("ep.blue.1.2", cpu_cores=cores)
    try:
        runtime.ensure(first)
        assert wait_for(runtime, first.name, Phase.HEALTHY).node == "here"

        # The image is not there yet, nor is the code: both are brought.
        runtime.ensure(second)
        status = wait_for(runtime, second.name, Phase.HEALTHY)
        assert (status.node, status.address.startswith("127.0.0.1:")) == ("there", True)
        assert ask(status.address, "/score", method="POST", body="[1]") == (200, '"[1]"')
        usage = runtime.usage(second.name)
        assert usage is not None and usage.memory_bytes > 0

        refused = runtime.ensure(third)
        assert (refused.phase, refused.code) == (Phase.EXITED, "OutOfCapacity")
        assert f"No engine has room for {cores:g} cores and 512 MiB" in refused.reason
        assert f"here has 0 of {cores:g} cores" in refused.reason
        assert f"there has 0.5 of {cores:g} cores" in refused.reason
        runtime.remove(third.name)

        # Containers end with this engine; nothing is started elsewhere meanwhile.
        second_engine.stop()
        away = runtime.inspect(second.name)
        assert (away.phase, "does not answer" in away.reason) == (Phase.STARTING, True)
        assert runtime.ensure(second).phase != Phase.HEALTHY
        assert runtime.inspect(first.name).phase == Phase.HEALTHY
        second_engine.start()
        wait_for_end(stand, second.name)
        runtime.ensure(second)
        wait_for(runtime, second.name, Phase.HEALTHY)

        runtime.remove(second.name, grace_seconds=1)
        with docker.APIClient(second_engine.address.url, version="auto") as client:
            label = {"label": f"portico.installation={stand.installation}"}
            assert client.containers(all=True, filters=label) == []
            assert client.networks(filters=label) == []
            left = client.volumes(filters=label)["Volumes"]
        assert [volume["Labels"]["portico.owner"] for volume in left or []] == ["0"]
    finally:
        stand.close()
        shutil.rmtree(folder)
        gc.collect()


def wait_for_end(stand: DockerStand, name: str) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while stand.runtime.inspect(name).phase != Phase.EXITED:
        assert time.monotonic() < until, stand.runtime.inspect(name)
        time.sleep(0.1)
