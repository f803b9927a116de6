"""The process runtime under crashes: of the starter, of the guardian, of the server, in the middle of a start."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path

import pytest

from deployments.runtimes import InstanceSpec, Phase
from deployments.runtimes.marks import MARK, marked_processes, start_ticks_of
from tests.deployments.runtimes.stands import (
    ProcessStand,
    ask,
    wait_for,
    wait_until,
)

pytestmark = pytest.mark.real
PROJECT = Path(__file__).parents[3]

STARTER = """
    import json, os, signal, sys
    from pathlib import Path
    from deployments.runtimes import InstanceSpec
    from deployments.runtimes.process import ProcessRuntime

    given = json.load(sys.stdin)
    where = {key: Path(given["where"][key]) for key in ("root", "run_dir", "server_dir", "server_python")}
    runtime = ProcessRuntime(installation=given["where"]["installation"], **where)
    fields = given["spec"]
    for key in ("code_dir", "model_dir", "python"):
        fields[key] = Path(fields[key]) if fields[key] else None
    SABOTAGE
    runtime.ensure(InstanceSpec(**fields))
    print("started", flush=True)
    sys.stdin = open("/dev/null")
    signal.pause()
"""


def start_elsewhere(
    stand: ProcessStand, spec: InstanceSpec, *, sabotage: str = "pass"
) -> subprocess.Popen[str]:
    """Another process that ensures the instance and then waits to be killed."""
    where = {
        "root": stand.runtime.root,
        "run_dir": stand.runtime.run_dir,
        "server_dir": stand.server_dir,
        "server_python": stand.python,
        "installation": stand.installation,
    }
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(STARTER).replace("SABOTAGE", sabotage)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=PROJECT,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps({"where": where, "spec": asdict(spec)}, default=str))
    process.stdin.close()
    return process


def pids_of(stand: ProcessStand, name: str) -> set[int]:
    return {p.pid for p in marked_processes(stand.installation) if p.name == name}


def main_pid(stand: ProcessStand, name: str) -> int:
    return int(json.loads((stand.runtime.root / name / "process.json").read_text())["pid"])


def guardian_pid(stand: ProcessStand, name: str) -> int:
    return int((stand.runtime.root / name / "guardian.lock").read_text())


def test_an_instance_survives_the_death_of_its_starter_and_is_adopted(
    process_stand: ProcessStand,
) -> None:
    spec = process_stand.spec()
    with start_elsewhere(process_stand, spec) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "started\n"
        running = wait_for(process_stand.runtime, spec.name, Phase.HEALTHY)
        starter.kill()

    adopted = process_stand.another_runtime().ensure(spec)

    assert adopted == running
    assert ask(adopted.address) == (200, "Healthy")
    assert ask(adopted.address, "/pid") == (200, str(main_pid(process_stand, spec.name)))


@pytest.mark.parametrize(
    "sabotage",
    [
        "runtime.limits.__class__.prepare = lambda *a, **k: os.kill(os.getpid(), 9)",
        "runtime._prepare = lambda *a, **k: os.kill(os.getpid(), 9)",
        "runtime._launch = lambda *a, **k: os.kill(os.getpid(), 9)",
        "import subprocess; subprocess.Popen.communicate = "
        "lambda *a, **k: os.kill(os.getpid(), 9)",
        "import subprocess; old = subprocess.Popen.communicate; subprocess.Popen.communicate = "
        "lambda self, data, **k: (self.stdin.write(data), self.stdin.close(), "
        "os.kill(os.getpid(), 9))",
    ],
    ids=["before limits", "before the order", "before the launcher", "no order", "order given"],
)
def test_a_starter_killed_half_way_leaves_nothing_that_is_not_owned(
    process_stand: ProcessStand, sabotage: str
) -> None:
    spec = process_stand.spec()
    with start_elsewhere(process_stand, spec, sabotage=sabotage) as starter:
        assert starter.wait() == -signal.SIGKILL

    assert list(process_stand.runtime.owned()) == [spec.name]
    process_stand.runtime.ensure(spec)
    status = wait_for(process_stand.runtime, spec.name, Phase.HEALTHY)
    pid = int(ask(status.address, "/pid")[1])
    assert pid == main_pid(process_stand, spec.name)
    leaders = {p for p in pids_of(process_stand, spec.name) if os.getsid(p) == p}
    assert leaders == {pid, guardian_pid(process_stand, spec.name)}

    process_stand.runtime.remove(spec.name)
    assert list(process_stand.runtime.owned()) == []
    assert pids_of(process_stand, spec.name) == set()


def test_a_process_without_a_folder_is_still_owned_and_removed(
    process_stand: ProcessStand,
) -> None:
    stray = subprocess.Popen(
        ["/bin/sleep", "600"], env={MARK: f"{process_stand.installation}/ep.stray.1.0"}
    )
    wait_until(lambda: pids_of(process_stand, "ep.stray.1.0"), "the stray to carry its mark")

    assert list(process_stand.runtime.owned()) == ["ep.stray.1.0"]
    process_stand.runtime.remove("ep.stray.1.0")

    assert stray.wait() == -signal.SIGKILL
    assert list(process_stand.runtime.owned()) == []


def test_another_installation_is_left_alone(process_stand: ProcessStand) -> None:
    other = subprocess.Popen(
        ["/bin/sleep", "600"], env={MARK: f"{process_stand.installation}2/ep.blue.1.0"}
    )
    try:
        process_stand.runtime.remove("ep.blue.1.0")
        assert list(process_stand.runtime.owned()) == []
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_when_the_server_is_killed_the_instance_has_exited_and_no_worker_is_left(
    process_stand: ProcessStand,
) -> None:
    spec = process_stand.spec(worker_count=2)
    process_stand.runtime.ensure(spec)
    wait_for(process_stand.runtime, spec.name, Phase.HEALTHY)
    assert len(pids_of(process_stand, spec.name)) == 4

    os.kill(main_pid(process_stand, spec.name), signal.SIGKILL)
    status = wait_for(process_stand.runtime, spec.name, Phase.EXITED)

    assert status.exit_code == 137
    assert "SIGKILL" in status.reason
    wait_until(lambda: not pids_of(process_stand, spec.name), "all its processes to be gone")


def test_an_instance_outlives_its_guardian_and_is_cleared_up_without_it(
    process_stand: ProcessStand,
) -> None:
    spec = process_stand.spec(worker_count=2)
    process_stand.runtime.ensure(spec)
    wait_for(process_stand.runtime, spec.name, Phase.HEALTHY)
    os.kill(guardian_pid(process_stand, spec.name), signal.SIGKILL)

    assert process_stand.runtime.ensure(spec).phase == Phase.HEALTHY
    os.kill(main_pid(process_stand, spec.name), signal.SIGKILL)
    status = wait_for(process_stand.runtime, spec.name, Phase.EXITED)

    assert status.exit_code is None
    wait_until(lambda: not pids_of(process_stand, spec.name), "all its processes to be gone")


ESCAPING = """
    import os, subprocess, time

    def init():
        for _ in range(2):
            subprocess.Popen(["/bin/sleep", "600"], start_new_session=True, env={})
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.execve("/bin/sleep", ["sleep", "600"], {})
            os._exit(0)

    def run(data):
        return data
"""


def sleepers_of(uid: int, since_ticks: int) -> set[int]:
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_sleep = (folder / "cmdline").read_bytes() == b"/bin/sleep\x00600\x00" or (
                folder / "cmdline"
            ).read_bytes() == b"sleep\x00600\x00"
            ticks = start_ticks_of(int(folder.name))
            if is_sleep and folder.stat().st_uid == uid and ticks and ticks >= since_ticks:
                found.add(int(folder.name))
        except OSError:
            continue
    return found


def test_processes_that_left_session_and_environment_are_removed_too(
    process_stand: ProcessStand,
) -> None:
    spec = process_stand.spec(script=ESCAPING, owner=31)
    process_stand.runtime.ensure(spec)
    wait_for(process_stand.runtime, spec.name, Phase.HEALTHY)
    uid = process_stand.runtime.owner_ids(31)[0]
    ticks = start_ticks_of(main_pid(process_stand, spec.name))
    assert ticks is not None
    wait_until(lambda: len(sleepers_of(uid, ticks)) == 3, "three processes on their own")

    process_stand.runtime.remove(spec.name)

    assert sleepers_of(uid, ticks) == set()


def test_a_removal_with_grace_lets_the_server_stop_by_itself(process_stand: ProcessStand) -> None:
    spec = process_stand.spec()
    process_stand.runtime.ensure(spec)
    wait_for(process_stand.runtime, spec.name, Phase.HEALTHY)
    (process_stand.runtime.root / "kept").mkdir()
    kept = process_stand.runtime.root / "kept" / "console.log"
    os.link(process_stand.runtime.root / spec.name / "console.log", kept)

    process_stand.runtime.remove(spec.name, grace_seconds=10)

    assert "stand-in: stopping" in kept.read_text()


def test_the_instance_sees_only_what_it_was_given(
    process_stand: ProcessStand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTAL_SECRET_KEY", "do not tell")
    show = """
        import json, os

        def init():
            pass

        def run(data):
            return dict(os.environ)
    """
    wanted = {"LEVEL": "debug", "OMP_NUM_THREADS": "7", MARK: "other/forged"}
    spec = process_stand.spec(script=show, environment_variables=wanted, cpu_cores=2)
    process_stand.runtime.ensure(spec)
    status = wait_for(process_stand.runtime, spec.name, Phase.HEALTHY)

    seen = json.loads(ask(status.address, "/score", method="POST")[1])

    home = str(process_stand.runtime.root / spec.name / "state" / "tmp")
    assert (seen["HOME"], seen["TMPDIR"], seen["LANG"]) == (home, home, "C.UTF-8")
    assert seen["AML_APP_ROOT"] == str(spec.code_dir)
    assert seen["AZUREML_ENTRY_SCRIPT"] == "score.py"
    assert (seen["LEVEL"], seen["OMP_NUM_THREADS"], seen["MKL_NUM_THREADS"]) == ("debug", "7", "2")
    assert seen[MARK] == f"{process_stand.installation}/{spec.name}"
    assert not any("SECRET" in key for key in seen)


def test_a_missing_interpreter_is_named(process_stand: ProcessStand) -> None:
    spec = process_stand.spec(python=Path("/no/such/python"))

    status = process_stand.runtime.ensure(spec)

    assert status.phase == Phase.EXITED
    assert "/no/such/python does not exist" in status.reason


def test_a_name_that_leads_out_of_the_root_is_refused(process_stand: ProcessStand) -> None:
    for name in ("../other", "", ".locks", "a/b"):
        with pytest.raises(ValueError, match="no instance name"):
            process_stand.runtime.inspect(name)
