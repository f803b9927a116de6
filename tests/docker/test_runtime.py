"""What the docker runtime promises beyond the contract: walls, networks, custom containers, and nothing left behind."""

from __future__ import annotations

import contextlib
import gc
import ipaddress
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import docker
import pytest

from deployments.runtimes import InstanceSpec, Phase, RuntimeAway
from deployments.runtimes.docker import consoles
from deployments.runtimes.docker.addresses import EngineAddress
from inference_server.status import CONSOLE_MARK
from tests.deployments.runtimes.conftest import container_server
from tests.deployments.runtimes.stands import DockerStand, ask, make_spec, wait_for

__all__ = ["container_server"]

pytestmark = [pytest.mark.real, pytest.mark.docker]
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
MIB = 1024**2


@pytest.fixture(scope="module")
def stand(container_server: Path, base_image: str) -> Iterator[DockerStand]:
    folder = Path(tempfile.mkdtemp(prefix="portico-test-", dir="/tmp"))
    folder.chmod(0o711)
    stand = DockerStand(folder, bundle=container_server, image=base_image)
    yield stand
    stand.close()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def running(stand: DockerStand) -> InstanceSpec:
    """One healthy instance for all who only look."""
    model = stand.folder / "azureml-models" / "iris" / "3"
    model.mkdir(parents=True)
    (model / "model.txt").write_text("weights")
    stand.runtime.grant(model, 1)
    spec = stand.spec("ep.seen.1.0", model_dir=model, memory_bytes=256 * MIB)
    stand.runtime.ensure(spec)
    wait_for(stand.runtime, spec.name, Phase.HEALTHY)
    return spec


def test_an_instance_has_no_rights(stand: DockerStand, running: InstanceSpec) -> None:
    _, output = stand.inside(
        running.name, "id -u; grep -E 'CapEff|CapBnd|NoNewPrivs|Seccomp:' /proc/self/status"
    )
    uid, *lines = output.split("\n")
    facts = dict(line.split(":\t") for line in lines if line)
    assert int(uid) == stand.runtime.users.ids(running.owner)[0] != 0
    assert int(facts["CapEff"], 16) == int(facts["CapBnd"], 16) == 0
    assert facts["NoNewPrivs"] == "1"
    assert facts["Seccomp"] == "2"


def test_an_instance_can_write_to_its_temporary_folder_alone(
    stand: DockerStand, running: InstanceSpec
) -> None:
    model = "/var/azureml-app/azureml-models/iris/3"
    for place in ("/", "/usr/bin", "/opt/portico/server", "$AML_APP_ROOT", model):
        code, output = stand.inside(running.name, f"touch {place}/mine")
        assert code != 0, f"{place} is writable"
        assert "Read-only file system" in output or "Permission denied" in output
    assert stand.inside(running.name, "touch /tmp/mine") == (0, "")
    code, output = stand.inside(running.name, "head -c 200M /dev/zero > /tmp/huge")
    assert (code != 0, "No space left" in output) == (True, True)


def test_code_and_model_lie_where_azure_has_them(
    stand: DockerStand, running: InstanceSpec
) -> None:
    _, output = stand.inside(
        running.name,
        "echo $AZUREML_MODEL_DIR; cat $AZUREML_MODEL_DIR/model.txt; echo $AML_APP_ROOT",
    )
    assert output == (
        "/var/azureml-app/azureml-models/iris/3\n"
        f"weights/var/azureml-app/{running.code_dir.name if running.code_dir else ''}\n"
    )


def test_processes_memory_and_cores_are_limited(
    stand: DockerStand, running: InstanceSpec, engine: docker.DockerClient
) -> None:
    container = engine.containers.get(f"portico-{stand.installation}-{running.name}")
    limits = container.attrs["HostConfig"]
    _, most = stand.inside(
        running.name, "cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max"
    )
    assert int(most) == 2048
    assert limits["Memory"] == limits["MemorySwap"] == 256 * MIB
    assert limits["NanoCpus"] == 10**9
    assert limits["LogConfig"]["Config"] == {"max-size": "16m", "max-file": "2"}


def test_the_server_speaks_of_its_state_to_us_alone(
    stand: DockerStand, running: InstanceSpec
) -> None:
    assert consoles.STATUS_MARK == CONSOLE_MARK
    texts = [line.text for line in stand.runtime.logs(running.name, since=LONG_AGO)]
    assert any("ready for serving traffic" in text for text in texts)
    assert not any(CONSOLE_MARK.strip() in text for text in texts)


def test_a_new_runtime_adopts_what_runs(stand: DockerStand, running: InstanceSpec) -> None:
    before = stand.runtime.inspect(running.name)
    fresh = stand.another_runtime()
    shutil.rmtree(fresh.root)
    fresh = stand.another_runtime()
    assert running.name in set(fresh.owned()) & fresh.running()
    assert fresh.inspect(running.name) == before
    assert fresh.ensure(running) == before


def test_deployments_do_not_reach_each_other(stand: DockerStand, running: InstanceSpec) -> None:
    other = stand.spec("ep.other.2.0", owner=2)
    stand.runtime.ensure(other)
    here = wait_for(stand.runtime, running.name, Phase.HEALTHY).address
    there = wait_for(stand.runtime, other.name, Phase.HEALTHY).address
    assert reaches(stand, running.name, here)
    assert not reaches(stand, running.name, there)
    assert ask(there, "/score", method="POST", body="[1]") == (200, '"[1]"')

    networks = stand_networks(stand)
    stand.runtime.remove(other.name)
    assert networks - stand_networks(stand) == {f"portico-{stand.installation}-2"}


def test_what_this_machine_keeps_to_itself_is_out_of_reach(
    stand: DockerStand, running: InstanceSpec, engine: docker.DockerClient
) -> None:
    """Ports on loopback, such as a database's, by any of this machine's addresses; and the engine itself."""
    bridge = engine.networks.get("bridge").attrs["IPAM"]["Config"][0]["Subnet"]
    ours = str(ipaddress.ip_network(bridge)[1])
    with listening("127.0.0.1") as port:
        assert not reaches(stand, running.name, f"{ours}:{port}")
        assert not reaches(stand, running.name, f"127.0.0.1:{port}")
    for call in ("unshare --user true", "unshare --mount true", "mount -t tmpfs x /tmp"):
        code, said = stand.inside(running.name, call)
        assert code != 0, (call, said)
    assert stand.inside(running.name, "ls /run/docker.sock /var/run/docker.sock")[0] != 0


def test_cut_off_means_no_way_out_and_only_the_gateways_way_in(
    stand: DockerStand, running: InstanceSpec, engine: docker.DockerClient
) -> None:
    bridge = engine.networks.get("bridge").attrs["IPAM"]["Config"][0]["Subnet"]
    outside = str(ipaddress.ip_network(bridge)[1])
    cut_off = stand.spec("ep.cut.3.0", owner=3, is_cut_off=True)
    stand.runtime.ensure(cut_off)
    address = wait_for(stand.runtime, cut_off.name, Phase.HEALTHY).address
    with listening(outside) as port:
        assert reaches(stand, running.name, f"{outside}:{port}")
        assert not reaches(stand, cut_off.name, f"{outside}:{port}")
    own = address.rpartition(".")[0] + ".1"
    with listening(own) as port:
        assert not reaches(stand, cut_off.name, f"{own}:{port}")
    assert ask(address, "/score", method="POST", body="[1]") == (200, '"[1]"')
    stand.runtime.remove(cut_off.name)


def test_the_metadata_of_a_cloud_is_out_of_reach(
    stand: DockerStand, running: InstanceSpec
) -> None:
    """Whoever asks there gets the credentials of the machine."""
    if os.geteuid() != 0:
        pytest.skip("the firewall is root's")
    for metadata in (f"169.254.77.{os.getpid() % 250 + 1}", "100.100.100.200", "168.63.129.16"):
        subprocess.run(["ip", "address", "add", f"{metadata}/32", "dev", "lo"], check=True)
        try:
            with listening(metadata) as port:
                with socket.create_connection((metadata, port), 2):
                    pass
                assert not reaches(stand, running.name, f"{metadata}:{port}")
        finally:
            subprocess.run(["ip", "address", "delete", f"{metadata}/32", "dev", "lo"], check=True)


def test_a_container_ended_by_hand_is_told_and_starts_again(
    stand: DockerStand, engine: docker.DockerClient
) -> None:
    spec = stand.spec("ep.hand.1.0")
    stand.runtime.ensure(spec)
    wait_for(stand.runtime, spec.name, Phase.HEALTHY)
    container = engine.containers.get(f"portico-{stand.installation}-{spec.name}")

    container.kill()
    status = wait_for(stand.runtime, spec.name, Phase.EXITED)
    assert (status.code, status.exit_code) == ("ResourceNotReady", 137)
    assert "was ended by SIGKILL from outside; no want of memory" in status.reason
    assert not status.evidence
    assert spec.name not in stand.runtime.running()

    stand.runtime.ensure(spec)
    wait_for(stand.runtime, spec.name, Phase.HEALTHY)
    container.remove(force=True)
    assert stand.runtime.inspect(spec.name).phase == Phase.ABSENT
    stand.runtime.remove(spec.name)


def test_a_half_made_container_is_made_anew(
    stand: DockerStand, engine: docker.DockerClient
) -> None:
    spec = stand.spec("ep.half.1.0")
    stand.runtime.ensure(spec)
    container = engine.containers.get(f"portico-{stand.installation}-{spec.name}")
    labels = container.labels
    container.remove(force=True)
    engine.containers.create(spec.image, ["true"], name=container.name, labels=labels)

    assert stand.runtime.inspect(spec.name).phase == Phase.ABSENT
    assert spec.name in set(stand.runtime.owned())
    stand.runtime.ensure(spec)
    wait_for(stand.runtime, spec.name, Phase.HEALTHY)
    stand.runtime.remove(spec.name)


def test_networks_that_a_crash_left_are_taken_away(
    stand: DockerStand, running: InstanceSpec, engine: docker.DockerClient
) -> None:
    labels = {"portico.installation": stand.installation, "portico.owner": "77"}
    engine.networks.create(f"portico-{stand.installation}-77", labels=labels)

    stand.another_runtime().remove("ep.never.77.0")
    assert stand_networks(stand) == {f"portico-{stand.installation}-1"}


def test_what_cannot_be_started_says_why_until_it_can(stand: DockerStand) -> None:
    gone = stand.spec("ep.gone.1.0", image="portico-test/never-built:1")
    no_gpu = stand.spec("ep.gpu.1.0", gpu_count=1)
    for spec, code, words in (
        (gone, "ImageMissing", "The image portico-test/never-built:1 is not on the engine docker"),
        (no_gpu, "OutOfCapacity", "It asks for 1 GPU, and no engine offers any (docker)."),
    ):
        first = stand.runtime.ensure(spec)
        assert first == stand.runtime.inspect(spec.name)
        assert (first.phase, first.code) == (Phase.EXITED, code)
        assert words in first.reason
        assert spec.name in set(stand.runtime.owned())
        stand.runtime.remove(spec.name)
        assert stand.runtime.inspect(spec.name).phase == Phase.ABSENT


def test_a_custom_container_runs_its_own_command(
    stand: DockerStand, engine: docker.DockerClient, base_image: str
) -> None:
    builder = engine.containers.create(base_image, ["true"])
    image = builder.commit(
        "portico-test/custom",
        stand.installation,
        changes=[
            'CMD ["python3", "-m", "http.server", "8080", "--directory", "/models"]',
            "ENV COLOUR=red",
            "VOLUME /data",
        ],
    )
    builder.remove()
    model = stand.folder / "custom-model"
    model.mkdir()
    (model / "answer").write_text("42")
    stand.runtime.grant(model, 4)
    spec = make_spec(
        "ep.custom.4.0",
        owner=4,
        image=image.tags[0],
        is_custom=True,
        port=8080,
        readiness_path="/iris/1/answer",
        model_dir=model,
        model_mount="/models/iris/1",
        environment_variables={"SIZE": "large"},
    )
    try:
        stand.runtime.ensure(spec)
        status = wait_for(stand.runtime, spec.name, Phase.HEALTHY)
        assert status.address.endswith(":8080")
        assert ask(status.address, "/iris/1/answer") == (200, "42")
        _, output = stand.inside(
            spec.name, "ls /opt/portico 2>&1; echo $COLOUR $SIZE $AZUREML_MODEL_DIR; id -u"
        )
        assert "No such file" in output
        assert "red large /models/iris/1" in output
        assert not output.endswith("\n0\n")
        # What the image wants kept on the engine's disk would be a place without a limit.
        _, output = stand.inside(
            spec.name, "grep ' /data ' /proc/mounts; touch /data/x && echo ok"
        )
        assert (output.startswith("tmpfs "), output.endswith("ok\n")) == (True, True)
    finally:
        stand.runtime.remove(spec.name)
        engine.images.remove(image.id, force=True)


def test_the_server_needs_nothing_of_the_image(
    stand: DockerStand, engine: docker.DockerClient
) -> None:
    """An image without files: no loader, no library, no Python; then only the worker is missing."""
    image = engine.api.import_image_from_data(
        b"\0" * 10240, repository="portico-test/empty", tag=stand.installation
    )
    assert image
    name = f"portico-test/empty:{stand.installation}"
    spec = stand.spec("ep.empty.1.0", image=name, python=Path("/usr/bin/python3"))
    try:
        stand.runtime.ensure(spec)
        status = wait_for(stand.runtime, spec.name, Phase.EXITED)
        assert "The interpreter /usr/bin/python3 cannot be started" in status.reason
    finally:
        stand.runtime.remove(spec.name)
        engine.images.remove(name, force=True)


# docker's SDK leaves a socket behind that could not connect.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_an_engine_that_is_away_is_no_reason_to_start_twice(
    stand: DockerStand, running: InstanceSpec
) -> None:
    before = stand.runtime.inspect(running.name)
    nowhere = EngineAddress("docker", f"unix://{stand.folder}/nobody.sock")
    away = DockerStand(stand.folder, bundle=stand.bundle, image=stand.image, engines=(nowhere,))
    away.installation = stand.installation
    runtime = away.another_runtime()

    during = runtime.inspect(running.name)
    assert (during.phase, during.address) == (Phase.HEALTHY, before.address)
    assert "does not answer" in during.reason
    assert running.name in runtime.running() & set(runtime.owned())
    assert runtime.usage(running.name) is None
    assert list(runtime.logs(running.name, since=LONG_AGO)) == []
    with pytest.raises(RuntimeAway):
        list(runtime.follow(running.name, since=LONG_AGO))
    new = runtime.ensure(replace(running, name="ep.new.1.0"))
    assert (new.phase, "does not answer" in new.reason) == (Phase.EXITED, True)
    assert runtime.inspect("ep.new.1.0").phase == Phase.EXITED
    gc.collect()


def test_a_following_that_hears_nothing_ends_so_that_another_can_begin(
    stand: DockerStand, running: InstanceSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consoles, "SILENCE_SECONDS", 0.5)
    now = datetime.now(UTC)
    assert list(stand.runtime.follow(running.name, since=now)) == []
    stand.say(running.name, "heard by the next")
    heard = [line.text for line in stand.runtime.follow(running.name, since=now)]
    assert heard == ["heard by the next"]


def test_ten_thousand_lines_and_a_long_one_are_followed_in_order(stand: DockerStand) -> None:
    script = """
        import sys
        for number in range(10_000):
            sys.stdout.write(f"line {number}\\n")
        sys.stdout.write("x" * 40_000 + "\\n")
        sys.stdout.flush()
        raise ValueError("done")
    """
    spec = stand.spec("ep.loud.1.0", script=script)
    stand.runtime.ensure(spec)
    texts = [line.text for line in stand.runtime.follow(spec.name, since=LONG_AGO)]
    numbers = [int(text.split()[1]) for text in texts if text.startswith("line ")]
    assert numbers == list(range(10_000))
    assert "x" * 40_000 in texts
    stand.runtime.remove(spec.name)


def reaches(stand: DockerStand, name: str, address: str) -> bool:
    """Whether a connection from inside gets through."""
    host, _, port = address.rpartition(":")
    attempt = f"import socket; socket.create_connection(('{host}', {port}), 2)"
    code, output = stand.inside(name, f'/usr/bin/python3 -c "{attempt}"')
    known = ("timed out", "unreachable", "refused")
    assert code == 0 or any(word in output for word in known), output
    return code == 0


def stand_networks(stand: DockerStand) -> set[str]:
    engine = next(iter(stand.runtime.engines.values()))
    with engine.asking() as api:
        found = api.networks(filters={"label": f"portico.installation={stand.installation}"})
    return {network["Name"] for network in found}


@contextlib.contextmanager
def listening(host: str) -> Iterator[int]:
    """A port of this machine that takes connections."""
    with socket.create_server((host, 0)) as server:

        def take() -> None:
            with contextlib.suppress(OSError):
                while True:
                    server.accept()[0].close()

        threading.Thread(target=take, daemon=True).start()
        yield server.getsockname()[1]
