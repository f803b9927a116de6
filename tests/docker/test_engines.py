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
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import docker
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from docker.errors import DockerException

from deployments.environments import Interpreters
from deployments.images.base import house_base
from deployments.images.settings import ImageSettings
from deployments.images.specification import ImageSpec
from deployments.images.store import ImageStore
from deployments.runtimes import Phase, RuntimeAway
from deployments.runtimes.docker.addresses import EngineAddress, addresses
from deployments.runtimes.docker.engines import Engine, connect
from tests.deployments.runtimes.conftest import container_server
from tests.deployments.runtimes.stands import DockerStand, ask, wait_for

__all__ = ["container_server"]

pytestmark = [pytest.mark.real, pytest.mark.docker]
PATIENCE_SECONDS = 60


class SecondEngine:
    """A dockerd with nothing in common with the first one but the kernel."""

    def __init__(self, folder: Path, *, is_secured: bool = False) -> None:
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"tcp://127.0.0.1:{self.port}"
        self.certificates = folder / "certificates"
        self._security = ["--tls=false"]
        if is_secured:
            make_certificates(self.certificates)
            self._security = [
                "--tlsverify",
                f"--tlscacert={self.certificates}/ca.pem",
                f"--tlscert={self.certificates}/server.pem",
                f"--tlskey={self.certificates}/server-key.pem",
            ]
        (self.address,) = addresses(
            {"there": self.url},
            cert_path=str(self.certificates) if is_secured else "",
            tls_verify=is_secured,
        )
        # With none of its own, it would take the first engine's away from the machine.
        self._bridge = f"pe{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        name = f"portico-{self._bridge}"
        if not Path("/sys/class/net", self._bridge).exists():
            _ip("link", "add", self._bridge, "type", "bridge")
            _ip("address", "add", f"10.222.{self.port % 256}.1/24", "dev", self._bridge)
        command = [
            *("dockerd", "--host", self.url, *self._security),
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
                with connect(self.address, timeout_seconds=5):
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

    def end(self) -> None:
        """Stop it for good, with all that a test that failed may have left: its networks would outlive it."""
        if self._process is not None:
            with connect(self.address) as api:
                for container in api.containers(all=True):
                    api.remove_container(container["Id"], force=True)
                api.prune_networks()
        self.stop()
        _ip("link", "delete", self._bridge)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def make_certificates(folder: Path) -> None:
    """`ca.pem`; `server.pem` for 127.0.0.1; `cert.pem` for a client; each with its key."""
    folder.mkdir()
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    for name, common, usage in (
        ("ca", "test authority", None),
        ("server", "there", ExtendedKeyUsageOID.SERVER_AUTH),
        ("client", "portico", ExtendedKeyUsageOID.CLIENT_AUTH),
    ):
        key = ec.generate_private_key(ec.SECP256R1()) if usage else authority_key
        now = datetime.now(UTC)
        wanted = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)]))
            .issuer_name(authority)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(
                x509.BasicConstraints(ca=usage is None, path_length=None), critical=True
            )
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]),
                critical=False,
            )
        )
        if usage:
            wanted = wanted.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        signed = wanted.sign(authority_key, hashes.SHA256())
        stem = {"client": ("cert.pem", "key.pem")}.get(name, (f"{name}.pem", f"{name}-key.pem"))
        (folder / stem[0]).write_bytes(signed.public_bytes(Encoding.PEM))
        (folder / stem[1]).write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )


@pytest.fixture
def second_engine(base_image: str) -> Iterator[SecondEngine]:
    yield from running_engine()


@pytest.fixture
def secured_engine(base_image: str) -> Iterator[SecondEngine]:
    yield from running_engine(is_secured=True)


def running_engine(*, is_secured: bool = False) -> Iterator[SecondEngine]:
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        pytest.skip("a second engine needs root and dockerd")
    folder = Path(tempfile.mkdtemp(prefix="portico-engine-", dir="/tmp"))
    engine = SecondEngine(folder, is_secured=is_secured)
    try:
        engine.start()
        yield engine
    finally:
        engine.end()
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


# Nor does it close the connections that it keeps.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_an_engine_elsewhere_behind_tls_builds_and_serves(
    secured_engine: SecondEngine, container_server: Path
) -> None:
    there = Engine(secured_engine.address)
    folder = Path(tempfile.mkdtemp(prefix="portico-test-", dir="/tmp"))
    folder.chmod(0o711)
    settings = ImageSettings("elsewhere", address=there.address)
    store = ImageStore(folder / "images", settings, Interpreters(folder / "interpreters"))
    try:
        # A stranger to the authority is not let in, and is told so.
        plain = Engine(EngineAddress("plain", there.address.url))
        with pytest.raises(RuntimeAway, match=r"engine plain at tcp://\S+ does not answer: "):
            plain.containers({})

        # The house's base image is the only one there.
        with there.asking() as api:
            interpreter = store.interpreters.choose("").interpreter
            base = api.inspect_image(house_base(api, settings, interpreter, print))["RepoTags"][0]
        context = folder / "context"
        context.mkdir()
        (context / "Dockerfile").write_text(f"FROM {base}\nRUN touch /built-there\n")
        built = store.build(ImageSpec(context=context, context_hash="greeting"))

        stand = DockerStand(
            folder,
            bundle=container_server,
            image=built.reference,
            engines=(there.address,),
        )
        spec = stand.spec("ep.blue.1.0", python=Path(built.python))
        stand.runtime.ensure(spec)
        status = wait_for(stand.runtime, spec.name, Phase.HEALTHY)
        assert status.address.startswith("127.0.0.1:")
        assert ask(status.address, "/score", method="POST", body="[1]") == (200, '"[1]"')
        stand.close()
    finally:
        shutil.rmtree(folder)
        gc.collect()


def test_an_engine_behind_ssh_is_reached_by_the_ssh_of_this_machine(
    engine: docker.DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    (address,) = addresses({"far": f"ssh://nobody@127.0.0.1:{port}"})
    program = tmp_path / "ssh"
    program.write_text('#!/bin/sh\necho "connect to host: Connection refused" >&2; exit 255\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(RuntimeAway) as away:
        Engine(address).containers({})
    assert str(away.value) == (
        f"The Docker engine far at {address.url} does not answer: connect to host: Connection refused"
    )

    program.write_text('#!/bin/sh\nwhile [ "$1" != docker ]; do shift; done\nexec "$@"\n')
    reached = Engine(address)
    assert reached.info()["ID"] == engine.info()["ID"]
    with reached.asking() as api:
        api.close()


def wait_for_end(stand: DockerStand, name: str) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while stand.runtime.inspect(name).phase != Phase.EXITED:
        assert time.monotonic() < until, stand.runtime.inspect(name)
        time.sleep(0.1)
