"""What is limited, how it is found out, and that it holds."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from deployments.runtimes import Phase
from deployments.runtimes.limits import (
    GroupsV2,
    ProcessLimits,
    cgroup_mounts,
    detect,
    own_groups,
    v2_parents,
)
from tests.deployments.runtimes.stands import (
    MIB,
    NOBODY,
    ProcessStand,
    ask,
    usable_python,
    wait_for,
)

PROJECT = Path(__file__).parents[3]
UNIFIED = Path("/sys/fs/cgroup/unified")
HAS_GROUPS = not isinstance(detect(f"probe{os.getpid()}"), ProcessLimits)
needs_groups = pytest.mark.skipif(
    not HAS_GROUPS, reason="kernel: no control groups may be made here"
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

V1_AND_HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
35 31 0:32 / /sys/fs/cgroup/pids ro,relatime - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
V2_READ_ONLY = "30 23 0:26 / /sys/fs/cgroup ro,nosuid shared:4 - cgroup2 cgroup rw,nsdelegate\n"


def test_mounts_are_found_by_controller_and_read_only_ones_are_left_out() -> None:
    mounts = cgroup_mounts(V1_AND_HYBRID)

    assert mounts["memory"] == Path("/sys/fs/cgroup/memory")
    assert mounts["cpu"] == mounts["cpuacct"] == Path("/sys/fs/cgroup/cpu,cpuacct")
    assert mounts[""] == Path("/sys/fs/cgroup/unified")
    assert "pids" not in mounts
    assert cgroup_mounts(V2_READ_ONLY) == {}


def test_own_groups_are_read_for_both_versions() -> None:
    groups = own_groups("3:cpu,cpuacct:/a\n1:name=systemd:/\n0::/user.slice/x:y.service\n")

    assert groups["cpu"] == groups["cpuacct"] == "/a"
    assert groups[""] == "/user.slice/x:y.service"


def test_groups_are_tried_from_the_outside_in() -> None:
    mount = Path("/sys/fs/cgroup")

    assert v2_parents(mount, "/user.slice/portico.service") == [
        mount,
        mount / "user.slice",
        mount / "user.slice" / "portico.service",
    ]


@pytest.mark.real
@needs_groups
def test_memory_over_the_limit_is_killed_by_the_kernel_and_explained(
    process_stand: ProcessStand,
) -> None:
    spec = process_stand.greedy("ep.greedy.1.0")
    process_stand.runtime.ensure(spec)

    status = wait_for(process_stand.runtime, spec.name, Phase.EXITED)

    assert status.code == "OutOfMemory"
    assert re.fullmatch(r"Killed at 9\d MiB, limit 96 MiB\.", status.reason)


@pytest.mark.real
def test_without_control_groups_each_process_meets_its_own_limit(
    process_stand: ProcessStand,
) -> None:
    process_stand.runtime.limits = ProcessLimits()
    spec = process_stand.greedy("ep.greedy.1.0")
    process_stand.runtime.ensure(spec)

    status = wait_for(process_stand.runtime, spec.name, Phase.EXITED)

    assert status.code == "OutOfMemory"
    assert status.reason == "A process ran into its memory limit of 96 MiB."
    assert any("MemoryError" in line for line in status.evidence)


@pytest.mark.real
def test_without_control_groups_usage_is_summed_over_the_processes(
    process_stand: ProcessStand,
) -> None:
    process_stand.runtime.limits = ProcessLimits()
    spec = process_stand.spec(worker_count=2)
    process_stand.runtime.ensure(spec)
    wait_for(process_stand.runtime, spec.name, Phase.HEALTHY)

    usage = process_stand.runtime.usage(spec.name)

    assert usage is not None
    assert usage.memory_bytes > 5 * MIB


def test_processors_are_bound_by_affinity_without_control_groups() -> None:
    prepared = ProcessLimits().prepare("a", memory_bytes=MIB, cpu_cores=0.5, process_count=10)

    assert len(prepared.cpus) == 1
    assert prepared.resource_limits == {"RLIMIT_DATA": MIB}


@pytest.mark.real
@needs_groups
def test_the_whole_instance_is_in_its_groups_and_the_guardian_is_not(
    process_stand: ProcessStand,
) -> None:
    spec = process_stand.spec(worker_count=2, cpu_cores=0.5)
    process_stand.runtime.ensure(spec)
    status = wait_for(process_stand.runtime, spec.name, Phase.HEALTHY)
    main = int(ask(status.address, "/pid")[1])
    guardian = int((process_stand.runtime.root / spec.name / "guardian.lock").read_text())

    inside = process_stand.runtime.limits.processes(spec.name)
    own = own_groups(Path(f"/proc/{main}/cgroup").read_text())

    assert len(inside) == 3
    assert main in inside
    assert guardian not in inside
    assert spec.name in " ".join(own.values())


@pytest.mark.real
@needs_groups
def test_the_groups_are_gone_after_a_removal(process_stand: ProcessStand) -> None:
    spec = process_stand.spec()
    process_stand.runtime.ensure(spec)
    wait_for(process_stand.runtime, spec.name, Phase.HEALTHY)
    assert process_stand.runtime.limits.memory(spec.name) is not None

    process_stand.runtime.remove(spec.name)

    assert process_stand.runtime.limits.memory(spec.name) is None


FORK_BOMB = """
    import os, time

    def init():
        made = 0
        try:
            while made < 20000:
                if os.fork() == 0:
                    time.sleep(600)
                    os._exit(0)
                made += 1
        except BlockingIOError:
            print("no more forks")

    def run(data):
        return data
"""


@pytest.mark.real
@needs_groups
def test_a_fork_bomb_is_stopped_and_removed(
    process_stand: ProcessStand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.runtimes.process.PROCESSES_EACH", 40)
    spec = process_stand.spec(script=FORK_BOMB)
    process_stand.runtime.ensure(spec)
    wait_for(process_stand.runtime, spec.name, Phase.HEALTHY)
    assert len(process_stand.runtime.limits.processes(spec.name)) == 40

    process_stand.runtime.remove(spec.name)

    assert list(process_stand.runtime.owned()) == []


@needs_root
@pytest.mark.skipif(not UNIFIED.is_dir(), reason="kernel: no unified hierarchy beside the old one")
def test_a_version_2_group_is_ended_as_a_whole() -> None:
    root = UNIFIED / f"portico-test-{secrets.token_hex(4)}"
    (root / "ep.blue.1.0").mkdir(parents=True)
    (root / "guardians").mkdir()
    groups = GroupsV2(root)
    sleeper = subprocess.Popen(["/bin/sleep", "600"])
    (root / "ep.blue.1.0" / "cgroup.procs").write_text(str(sleeper.pid))

    assert groups.processes("ep.blue.1.0") == {sleeper.pid}
    groups.stop_forks("ep.blue.1.0")
    assert sleeper.wait() == -9
    groups.remove("ep.blue.1.0")

    assert not root.exists()


LIFE = """
    import json, sys
    from pathlib import Path
    from deployments.runtimes import Phase
    from tests.deployments.runtimes.stands import ProcessStand, ask, wait_for

    folder = Path(sys.argv[1])
    stand = ProcessStand(folder)
    try:
        spec = stand.spec(worker_count=2)
        stand.runtime.ensure(spec)
        status = wait_for(stand.runtime, spec.name, Phase.HEALTHY)
        answer = ask(status.address)
        usage = stand.runtime.usage(spec.name)
        greedy = stand.greedy("ep.greedy.1.0")
        stand.runtime.ensure(greedy)
        killed = wait_for(stand.runtime, greedy.name, Phase.EXITED)
        owned = list(stand.runtime.owned())
    finally:
        stand.close()
    print(json.dumps({
        "answer": answer, "memory": usage.memory_bytes, "code": killed.code, "owned": owned,
        "left": list(stand.runtime.owned()), "description": stand.runtime.describe(),
    }))
"""


def live_through(folder: Path, *, before: list[str], uid: int | None) -> dict[str, object]:
    """A whole life of two instances in another process, as another user or behind a command."""
    python = usable_python()
    installed = [path for path in sys.path if path.endswith("site-packages")]
    environment = {"PYTHONPATH": ":".join([str(PROJECT), *installed]), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [*before, str(python), "-B", "-c", textwrap.dedent(LIFE), str(folder)],
        env=environment,
        cwd="/",
        user=uid,
        group=uid,
        extra_groups=None if uid is None else [],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, object] = json.loads(done.stdout)
    return result


@pytest.mark.real
@needs_root
def test_an_ordinary_user_can_run_it_too(open_folder: Path) -> None:
    mine = open_folder / "mine"
    mine.mkdir()
    os.chown(mine, NOBODY - 1, NOBODY - 1)

    result = live_through(mine, before=[], uid=NOBODY - 1)

    assert result["answer"] == [200, "Healthy"]
    assert result["code"] == "OutOfMemory"
    assert result["owned"] == ["ep.blue.1.0", "ep.greedy.1.0"]
    assert result["left"] == []
    assert "portal's own user" in str(result["description"])
    assert "No control groups" in str(result["description"])


READ_ONLY = (
    'for m in $(grep -E " cgroup2? " /proc/mounts | cut -d" " -f2); do '
    'mount -o remount,bind,ro "$m" || exit 9; done; exec "$@"'
)


@pytest.mark.real
@needs_root
@pytest.mark.skipif(
    subprocess.run(["unshare", "--mount", "true"], check=False).returncode != 0,
    reason="kernel: may not make mount namespaces",
)
def test_it_works_where_control_groups_are_read_only(open_folder: Path) -> None:
    before = ["unshare", "--mount", "sh", "-c", READ_ONLY, "sh"]

    result = live_through(open_folder, before=before, uid=None)

    assert result["answer"] == [200, "Healthy"]
    assert result["code"] == "OutOfMemory"
    assert result["left"] == []
    assert "No control groups" in str(result["description"])
    assert "user of its own" in str(result["description"])
