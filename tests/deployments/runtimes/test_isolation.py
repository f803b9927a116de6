"""What an instance may reach: its own folders; nothing of the portal's or of another deployment's."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deployments.runtimes import Phase
from deployments.runtimes.isolation import unreachable_folder
from tests.deployments.runtimes.stands import ProcessStand, ask, wait_for

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="separate users need root"),
]

PROWLER = """
    import json, os, socket

    def init():
        pass

    def attempt(what):
        try:
            what()
            return "open"
        except OSError as error:
            return type(error).__name__

    def run(data):
        targets = json.load(open(os.path.join(os.environ["AML_APP_ROOT"], "targets.json")))
        found = {path: attempt(lambda: os.listdir(path) if os.path.isdir(path) else open(path).close())
                 for path in targets["read"]}
        for path in targets["write"]:
            found["write " + path] = attempt(lambda: open(os.path.join(path, "mine"), "w").close())
        for path in targets["connect"]:
            found["connect " + path] = attempt(lambda: socket.socket(socket.AF_UNIX).connect(path))
        for pid in targets["processes"]:
            found[f"environment {pid}"] = attempt(lambda: open(f"/proc/{pid}/environ").read())
            found[f"signal {pid}"] = attempt(lambda: os.kill(pid, 0))
        status = open("/proc/self/status").read()
        found["groups"] = os.getgroups()
        found["ids"] = [os.getuid(), os.geteuid(), os.getgid(), os.getegid()]
        found["no new rights"] = "NoNewPrivs:\\t1" in status
        found["rights"] = [line for line in status.splitlines() if line.startswith("CapEff")]
        return found
"""


def test_an_instance_reaches_its_own_files_and_nobody_elses(process_stand: ProcessStand) -> None:
    runtime = process_stand.runtime
    secrets = process_stand.folder / "secrets"
    secrets.mkdir(mode=0o700)
    (secrets / "key").write_text("s3cret")
    other_model = process_stand.folder / "other-model"
    other_model.mkdir()
    (other_model / "model.bin").write_text("weights")
    runtime.grant(other_model, 2)
    other = process_stand.spec("ep.other.1.0", owner=2)
    runtime.ensure(other)
    other_status = wait_for(runtime, other.name, Phase.HEALTHY)
    spec = process_stand.spec("ep.prowler.1.0", script=PROWLER, owner=1)
    assert spec.code_dir is not None and other.code_dir is not None
    closed = [
        secrets / "key",
        other_model / "model.bin",
        other.code_dir / "score.py",
        runtime.root / other.name,
        runtime.root / other.name / "console.log",
        runtime.root / other.name / "instance.json",
        runtime.root / spec.name / "instance.json",
        runtime.root / spec.name / "guardian.lock",
        runtime.root,
        runtime.run_dir,
    ]
    own = [spec.code_dir / "score.py", runtime.root / spec.name]
    foreign = [pid for pid in (os.getpid(), other_pid(process_stand, other.name))]
    targets: dict[str, Any] = {
        "read": [str(path) for path in (*closed, *own)],
        "write": [str(spec.code_dir), str(runtime.root / spec.name), str(runtime.run_dir)],
        "connect": [other_status.address.removeprefix("unix:")],
        "processes": foreign,
    }
    (spec.code_dir / "targets.json").write_text(json.dumps(targets))
    runtime.grant(spec.code_dir, 1)
    runtime.ensure(spec)
    status = wait_for(runtime, spec.name, Phase.HEALTHY)

    found = json.loads(ask(status.address, "/score", method="POST")[1])

    assert {path: found[str(path)] for path in closed} == dict.fromkeys(closed, "PermissionError")
    assert {path: found[str(path)] for path in own} == dict.fromkeys(own, "open")
    for path in targets["write"]:
        assert found[f"write {path}"] == "PermissionError"
    assert found[f"connect {targets['connect'][0]}"] == "PermissionError"
    for pid in foreign:
        assert found[f"environment {pid}"] == found[f"signal {pid}"] == "PermissionError"
    uid, gid = runtime.owner_ids(1)
    assert found["ids"] == [uid, uid, gid, gid]
    assert found["groups"] == []
    assert found["no new rights"] is True
    assert found["rights"] == ["CapEff:\t0000000000000000"]


def other_pid(stand: ProcessStand, name: str) -> int:
    return int(json.loads((stand.runtime.root / name / "process.json").read_text())["pid"])


def test_a_socket_swapped_for_a_link_is_not_given_to_the_gateway(
    process_stand: ProcessStand,
) -> None:
    runtime = process_stand.runtime
    victim = process_stand.spec("ep.victim.1.0", owner=2)
    runtime.ensure(victim)
    address = wait_for(runtime, victim.name, Phase.HEALTHY).address.removeprefix("unix:")
    swap = f"""
        import os, threading

        def init():
            pass

        def run(data):
            folder = "SOCKETS"
            os.unlink(folder + "/http.sock")
            os.symlink("{address}", folder + "/http.sock")
            return "swapped"
    """
    name = "ep.swapper.1.0"
    folder = runtime._place(name).socket_folder
    spec = process_stand.spec(name, script=swap.replace("SOCKETS", str(folder)), owner=1)
    runtime.ensure(spec)
    before = wait_for(runtime, name, Phase.HEALTHY)
    assert ask(before.address, "/score", method="POST") == (200, '"swapped"')

    status = runtime.inspect(name)

    assert (status.phase, status.address) == (Phase.STARTING, "")
    given = Path(before.address.removeprefix("unix:")).lstat()
    assert stat.S_ISSOCK(given.st_mode)
    assert given.st_ino != os.stat(address).st_ino


LITTERING = """
    import os

    def init():
        pass

    def run(data):
        found = {}
        for place in ("/dev/shm", "/var/tmp"):
            found[place] = os.listdir(place)
            with open(os.path.join(place, "NAME"), "w") as file:
                file.write("mine")
        try:
            with open("/dev/shm/NAME-huge", "wb") as file:
                for _ in range(100):
                    file.write(bytes(1 << 20))
        except OSError as error:
            found["huge"] = error.strerror
        return found
"""


def test_what_is_left_in_shared_folders_is_seen_by_nobody_and_ends_with_the_instance(
    process_stand: ProcessStand,
) -> None:
    if subprocess.run(["unshare", "--mount", "--ipc", "true"], capture_output=True).returncode:
        pytest.skip("kernel: no mounts of our own in this container")
    name = f"portico-{process_stand.installation}"
    places = [Path("/dev/shm"), Path("/var/tmp")]
    for place in places:
        (place / f"{name}-ours").touch()
    try:
        spec = process_stand.spec(
            script=LITTERING.replace("NAME", name), memory_bytes=128 * 1024**2
        )
        process_stand.runtime.ensure(spec)
        status = wait_for(process_stand.runtime, spec.name, Phase.HEALTHY)
        code, answer = ask(status.address, "/score", method="POST")
        assert code == 200, answer
        assert json.loads(answer) == {
            "/dev/shm": [],
            "/var/tmp": [],
            "huge": "No space left on device",
        }
        temporary = process_stand.runtime.root / spec.name / "state" / "tmp"
        assert [path.name for path in temporary.iterdir()] == [name]
        assert not [path for path in places if (path / name).exists()]
        process_stand.runtime.remove(spec.name)
        assert not temporary.exists()
    finally:
        for place in places:
            (place / f"{name}-ours").unlink()


REACHING = """
    import ctypes, errno, os, subprocess, threading

    libc = ctypes.CDLL(None, use_errno=True)

    def init():
        pass

    def refused(call, *values):
        if getattr(libc, call)(*values) >= 0:
            return "done"
        return errno.errorcode[ctypes.get_errno()]

    def run(data):
        seen = []
        thread = threading.Thread(target=lambda: seen.append("thread"))
        thread.start()
        thread.join()
        return {
            "namespace": refused("unshare", 0x10000000),
            "its own mounts": refused("unshare", 0x00020000),
            "key rings": refused("syscall", {"x86_64": 250, "aarch64": 219}[os.uname().machine], 0, -3, 1),
            "io_uring": refused("syscall", 425, 1, 0),
            "thread": seen,
            "process": subprocess.run(["true"]).returncode,
        }
"""


def test_an_instance_gets_no_rights_in_a_namespace_of_its_own(
    process_stand: ProcessStand,
) -> None:
    spec = process_stand.spec(script=REACHING)
    process_stand.runtime.ensure(spec)
    status = wait_for(process_stand.runtime, spec.name, Phase.HEALTHY)
    assert json.loads(ask(status.address, "/score", method="POST")[1]) == {
        "namespace": "EPERM",
        "its own mounts": "EPERM",
        "key rings": "EPERM",
        "io_uring": "EPERM",
        "thread": ["thread"],
        "process": 0,
    }


def test_an_instance_that_fills_the_disk_is_ended_and_says_so(
    open_folder: Path,
) -> None:
    stand = ProcessStand(open_folder, disk_bytes=8 * 1024**2)
    filling = """
        import os

        def init():
            with open(os.path.join(os.environ["TMPDIR"], "huge"), "wb") as file:
                file.write(os.urandom(10 << 20))

        def run(data):
            return data
    """
    spec = stand.spec(script=filling)
    try:
        stand.runtime.ensure(spec)
        status = wait_for(stand.runtime, spec.name, Phase.EXITED)
        assert status.reason.startswith("Ended because its files took 10 MiB of the disk.")
    finally:
        stand.close()


def test_granting_opens_files_to_the_owner_alone(process_stand: ProcessStand) -> None:
    folder = process_stand.folder / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "weights").write_text("w")
    (folder / "run.sh").write_text("#!/bin/sh")
    (folder / "run.sh").chmod(0o777)
    (folder / "link").symlink_to("/etc/shadow")
    shadow = os.stat("/etc/shadow")

    process_stand.runtime.grant(folder, 5)
    process_stand.runtime.grant(folder, 5)

    gid = process_stand.runtime.owner_ids(5)[1]
    modes = {
        path.name: (stat.S_IMODE(path.stat().st_mode), path.stat().st_gid)
        for path in (folder, folder / "deep", folder / "deep" / "weights", folder / "run.sh")
    }
    assert modes == {
        "model": (0o750, gid),
        "deep": (0o750, gid),
        "weights": (0o640, gid),
        "run.sh": (0o750, gid),
    }
    assert os.stat("/etc/shadow").st_gid == shadow.st_gid


def test_a_model_the_instance_cannot_get_to_is_named_before_the_start(
    process_stand: ProcessStand,
) -> None:
    closed = process_stand.folder / "closed"
    (closed / "model").mkdir(parents=True)
    closed.chmod(0o700)

    status = process_stand.runtime.ensure(process_stand.spec(model_dir=closed / "model"))

    assert status.phase == Phase.EXITED
    assert f"{closed} is closed" in status.reason
    assert "chmod" in status.reason


def test_the_first_closed_folder_on_the_way_is_found(open_folder: Path) -> None:
    (open_folder / "a" / "b").mkdir(parents=True)
    (open_folder / "a" / "b" / "file").write_text("")
    (open_folder / "a" / "b" / "file").chmod(0o604)

    assert unreachable_folder(open_folder / "a" / "b" / "file", uid=4242, gid=4242) is None
    (open_folder / "a").chmod(0o700)
    closed = unreachable_folder(open_folder / "a" / "b" / "file", uid=4242, gid=4242)
    assert closed == open_folder / "a"
