"""An engine behind a real sshd, reached with a key and a name that only the set-up of ssh knows."""

from __future__ import annotations

import gc
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import docker
import pytest

from deployments.environments import EnvironmentSettings, Interpreters
from deployments.images.settings import ImageSettings
from deployments.images.specification import ImageSpec
from deployments.images.store import ImageStore
from deployments.runtimes import Phase, RuntimeAway
from deployments.runtimes.docker.addresses import EngineAddress, addresses
from deployments.runtimes.docker.networks import INSTALLATION
from tests.deployments.runtimes.conftest import container_server
from tests.deployments.runtimes.stands import DockerStand, ask, wait_for, wait_until

__all__ = ["container_server"]

pytestmark = [pytest.mark.real, pytest.mark.docker]
PATIENCE_SECONDS = 20
SERVER = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/me.pub
PasswordAuthentication no
StrictModes no
PidFile none
"""
CLIENT = """
Host far
  HostName 127.0.0.1
  Port {port}
  IdentityFile {folder}/me
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known
"""


@pytest.fixture
def far(engine: docker.DockerClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineAddress]:
    """This machine's engine as `ssh://far`; as if the folder were the `~/.ssh` of whoever runs the portal."""
    server = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    if os.geteuid() != 0 or server is None:
        pytest.skip("an sshd of our own needs root and openssh-server")
    folder = Path(tempfile.mkdtemp(prefix="portico-ssh-"))
    folder.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for name in ("host", "me"):
        key = folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    identity = (folder / "host.pub").read_text()
    (folder / "known").write_text(f"[127.0.0.1]:{port} {identity}")
    (folder / "server").write_text(SERVER.format(port=port, folder=folder))
    (folder / "client").write_text(CLIENT.format(port=port, folder=folder))
    program = folder / "ssh"
    program.write_text(
        f'#!/bin/sh\nexec {shutil.which("ssh")} -F {shlex.quote(str(folder / "client"))} "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    Path("/run/sshd").mkdir(exist_ok=True)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [server, "-D", "-e", "-f", str(folder / "server")], stdout=log, stderr=log
        )
    try:
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 2):
                break
            assert time.monotonic() < until, (folder / "log").read_text()
            time.sleep(0.05)
        yield addresses({"far": "ssh://root@far"})[0]
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)
        shutil.rmtree(folder)


# docker's SDK does not close the connections that it keeps.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_an_engine_behind_ssh_builds_starts_serves_and_ends(
    far: EngineAddress, container_server: Path, base_image: str, engine: docker.DockerClient
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="portico-test-", dir="/tmp"))
    folder.chmod(0o711)
    settings = ImageSettings(
        f"far{os.getpid()}", address=far, packages=EnvironmentSettings(offline=True)
    )
    store = ImageStore(folder / "images", settings, Interpreters(folder / "interpreters"))
    context = folder / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(f"FROM {base_image}\nRUN touch /built-there\n")
    built = store.build(ImageSpec(context=context, context_hash=str(folder)))
    stand = DockerStand(folder, bundle=container_server, image=built.reference, engines=(far,))
    label = f"portico.installation={stand.installation}"
    try:
        spec = stand.spec("ep.blue.1.0", python=Path(built.python))
        stand.runtime.ensure(spec)
        status = wait_for(stand.runtime, spec.name, Phase.HEALTHY)
        assert status.address.startswith("127.0.0.1:")
        assert ask(status.address, "/score", method="POST", body="[1]") == (200, '"[1]"')
        assert stand.inside(spec.name, "ls /built-there") == (0, "/built-there\n")
        stand.say(spec.name, "said far away")
        assert stand.runtime.usage(spec.name) is not None

        # Every connection is lost: new ones are made.
        for child in children():
            os.kill(child, signal.SIGKILL)
        wait_until(lambda: answers_again(stand), "the engine to answer again")
        assert stand.runtime.inspect(spec.name).phase == Phase.HEALTHY

        stand.runtime.remove(spec.name, grace_seconds=1)
        assert engine.containers.list(all=True, filters={"label": label}) == []
    finally:
        stand.close()
        for volume in engine.volumes.list(filters={"label": label}):
            volume.remove(force=True)
        engine.images.remove(built.reference, force=True)
        store.client.close()
        shutil.rmtree(folder)
        gc.collect()


def answers_again(stand: DockerStand) -> bool:
    with suppress(RuntimeAway):
        return bool(stand.runtime.engines["far"].containers({INSTALLATION: stand.installation}))
    return False


def children() -> list[int]:
    """Of this process: the programs `ssh` that hold its connections."""
    texts = [path.read_text() for path in Path("/proc/self/task").glob("*/children")]
    found = [pid for text in texts for pid in text.split()]
    return [int(pid) for pid in found if Path(f"/proc/{pid}/comm").read_text() == "ssh\n"]
