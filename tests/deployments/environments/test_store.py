"""Environments built by the real uv, most from wheels made on the spot."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.context import SpawnProcess
from pathlib import Path

import psutil
import pytest

from deployments.environments import (
    BuildFailed,
    BuiltEnvironment,
    Cancelled,
    EnvironmentSettings,
    EnvironmentSpec,
    EnvironmentStore,
    Interpreters,
)
from deployments.environments.foreign import foreign_user_id
from deployments.environments.process import run
from deployments.environments.uv_command import redacted
from tests.deployments.environments.wheels import make_source, make_wheel

pytestmark = pytest.mark.thorough

NOBODY = 65534
BUILDER = 64900
OWN_MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changes users, which needs root")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that other users can enter, which pytest's own is not."""
    folder = Path(tempfile.mkdtemp(prefix="portico-environments-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def interpreters() -> Iterator[Interpreters]:
    """What the machine offers, looked up once for all tests here."""
    folder = Path(tempfile.mkdtemp(prefix="portico-interpreters-"))
    folder.chmod(0o755)
    yield Interpreters(folder)
    shutil.rmtree(folder)


@pytest.fixture
def store(place: Path, interpreters: Interpreters) -> EnvironmentStore:
    """A store that knows three packages and no network."""
    wheels = place / "wheels"
    make_wheel(wheels, "alpha", requires=["shared<2"])
    make_wheel(wheels, "beta", requires=["shared>=2"])
    make_wheel(wheels, "shared", "1.0", code="VERSION = 1\n")
    make_wheel(wheels, "shared", "2.0", code="VERSION = 2\n")
    settings = EnvironmentSettings(
        offline=True, find_links=(str(wheels),), min_free_bytes=0, build_seconds=60
    )
    return EnvironmentStore(place / "store", settings, interpreters)


def wish(*packages: str, folder: Path | None = None) -> EnvironmentSpec:
    lines = "".join(f"  - {package}\n" for package in packages)
    text = f"dependencies:\n- python={OWN_MINOR}\n- pip:\n{lines}" if lines else "name: empty\n"
    return EnvironmentSpec(conda_text=text, folder=folder)


def says(environment: BuiltEnvironment, code: str, *, user_id: int | None = None) -> str:
    """What `code` prints in the environment."""
    return subprocess.run(
        [environment.python, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        user=user_id,
        group=user_id,
        extra_groups=[] if user_id else None,
        cwd="/",
        env={},
    ).stdout.strip()


def test_a_wish_becomes_a_folder_to_start_from(store: EnvironmentStore) -> None:
    lines: list[str] = []
    built = store.build(wish("alpha"), lines.append)
    assert says(built, "import alpha, shared; print(alpha.VALUE, shared.VERSION)") == "1 1"
    assert built.lock_text.splitlines() == ["alpha==1.0", "shared==1.0"]
    assert not built.was_cached
    assert any(line.startswith("Installing 2 packages") for line in lines)


def test_the_same_wish_again_is_the_same_folder(store: EnvironmentStore) -> None:
    first = store.build(wish("alpha"))
    lines: list[str] = []
    again = store.build(wish("alpha"), lines.append)
    assert again == replace(first, was_cached=True)
    assert lines == []


def test_an_empty_environment_is_one_too(store: EnvironmentStore) -> None:
    assert says(store.build(wish()), "print('here')") == "here"


def test_a_lock_outlives_the_environment_and_newer_packages(
    store: EnvironmentStore, place: Path
) -> None:
    lock = store.lock(wish("beta"))
    make_wheel(place / "wheels", "shared", "3.0")
    assert store.build(wish("beta")).lock_text == lock.text
    other = EnvironmentStore(place / "other", store.settings, store.interpreters)
    assert "shared==3.0" in other.lock(wish("beta")).text
    elsewhere = EnvironmentStore(place / "elsewhere", store.settings, store.interpreters)
    assert "shared==2.0" in elsewhere.build(wish("beta"), lock=lock).lock_text


def test_a_conflict_is_explained(store: EnvironmentStore) -> None:
    with pytest.raises(BuildFailed) as caught:
        store.build(wish("alpha", "beta"))
    failure = caught.value.failure
    assert failure.code == "ImageBuildFailure"
    assert failure.sentence == (
        "beta conflicts with alpha: the first needs shared >=2, the second shared <2."
    )
    assert failure.evidence


def test_all_that_is_wrong_with_the_packages_is_told_at_once(store: EnvironmentStore) -> None:
    with pytest.raises(BuildFailed) as caught:
        store.build(wish("unheard-of", "alpha", "also-unheard-of==2", "shared==99", "beta"))
    failure = caught.value.failure
    for name in ("unheard-of", "also-unheard-of"):
        assert f"{name} is not in its store." in failure.sentence
    assert "There is no version of shared that is ==99" in failure.sentence
    assert "beta conflicts with alpha" in failure.sentence
    assert len(failure.evidence) <= 12
    # A check without a build tells the same.
    with pytest.raises(BuildFailed) as checked:
        store.lock(wish("unheard-of", "alpha", "also-unheard-of==2", "shared==99", "beta"))
    assert checked.value.failure.sentence == failure.sentence


def test_an_offline_store_says_what_it_lacks(store: EnvironmentStore) -> None:
    with pytest.raises(BuildFailed, match="works offline"):
        store.build(wish("unheard-of"))


@pytest.mark.real
def test_an_unreachable_index_is_named_and_worth_a_retry(place: Path) -> None:
    settings = EnvironmentSettings(index_url="http://127.0.0.1:9/simple", min_free_bytes=0)
    with pytest.raises(BuildFailed) as caught:
        EnvironmentStore(place / "store", settings).build(wish("six"))
    assert "http://127.0.0.1:9 cannot be reached" in caught.value.message
    assert caught.value.failure.is_transient


def test_a_build_is_not_begun_on_a_full_disk(store: EnvironmentStore) -> None:
    store.settings = replace(store.settings, min_free_bytes=10**18)
    with pytest.raises(BuildFailed) as caught:
        store.build(wish("alpha"))
    assert caught.value.code == "DiskFull"


def test_an_environment_whose_interpreter_has_gone_is_built_again(store: EnvironmentStore) -> None:
    built = store.build(wish("alpha"))
    built.python.unlink()
    built.python.symlink_to("/nonexistent/python")
    assert store.find(built.key) is None
    assert says(store.build(wish("alpha")), "print(1)") == "1"


def test_a_source_folder_is_built_with_the_few_variables_it_may_see(
    store: EnvironmentStore, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTICO_SECRET_KEY", "hidden")
    make_source(place / "code", "own", at_build="content = sorted(os.environ)")
    built = store.build(wish("./own", folder=place / "code"))
    seen = says(built, "import own; print(own.CONTENT)")
    assert "'PATH'" in seen
    assert "PORTICO_SECRET_KEY" not in seen
    shutil.rmtree(place / "code")
    shutil.rmtree(built.path)
    make_source(place / "code", "own", at_build="content = sorted(os.environ)")
    assert store.build(wish("./own", folder=place / "code")).path == built.path


def test_source_builds_can_be_forbidden(store: EnvironmentStore, place: Path) -> None:
    store.settings = replace(store.settings, source_builds=False)
    make_source(place / "code", "own")
    with pytest.raises(BuildFailed) as caught:
        store.build(wish("./own", folder=place / "code"))
    assert "own" in caught.value.message


def test_a_failing_source_build_is_explained(store: EnvironmentStore, place: Path) -> None:
    make_source(place / "code", "own", at_build="raise RuntimeError('needs libfoo')")
    with pytest.raises(BuildFailed, match=r"own .* build from source failed: .*needs libfoo"):
        store.build(wish("./own", folder=place / "code"))


def slow_source(place: Path) -> tuple[EnvironmentSpec, Path]:
    """A package whose build writes its process id and then never ends."""
    noted = place / "pid"
    make_source(
        place / "code",
        "slow",
        at_build=f"open({str(noted)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)",
    )
    return wish("./slow", folder=place / "code"), noted


def wait_for(path: Path) -> int:
    until = time.monotonic() + 30
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < until, f"{path} did not appear"
        time.sleep(0.02)
    return int(path.read_text())


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until_gone(pid: int) -> None:
    until = time.monotonic() + 30
    while is_running(pid):
        assert time.monotonic() < until, f"process {pid} lives on"
        time.sleep(0.02)


def test_a_cancel_ends_the_build_and_its_children(store: EnvironmentStore, place: Path) -> None:
    spec, noted = slow_source(place)
    with pytest.raises(Cancelled):
        store.build(spec, cancel=noted.exists)
    wait_until_gone(wait_for(noted))


@pytest.mark.real
def test_a_deadline_ends_the_build_and_its_children(store: EnvironmentStore, place: Path) -> None:
    spec, noted = slow_source(place)
    store.settings = replace(store.settings, build_seconds=3)
    with pytest.raises(BuildFailed, match="longer than 3 s") as caught:
        store.build(spec)
    assert caught.value.failure.is_transient
    wait_until_gone(wait_for(noted))


def build_in_child(
    root: Path, settings: EnvironmentSettings, spec: EnvironmentSpec, kill_at: str
) -> None:
    """Build, noting the log beside the store, and die at the line that begins with `kill_at`."""

    def log(line: str) -> None:
        with (root.parent / "log").open("a") as stream:
            stream.write(line + "\n")
        if kill_at and line.startswith(kill_at):
            os.kill(os.getpid(), signal.SIGKILL)

    EnvironmentStore(root, settings).build(spec, log)


def start_child(store: EnvironmentStore, spec: EnvironmentSpec, kill_at: str = "") -> SpawnProcess:
    arguments = (store.root, store.settings, spec, kill_at)
    child = multiprocessing.get_context("spawn").Process(target=build_in_child, args=arguments)
    child.start()
    return child


@pytest.mark.real
@pytest.mark.parametrize("moment", ["Resolving", "Installing", "Resolved", "Environment"])
def test_a_build_survives_the_death_of_its_builder(store: EnvironmentStore, moment: str) -> None:
    victim = start_child(store, wish("alpha"), moment)
    victim.join(60)
    assert victim.exitcode == -signal.SIGKILL
    assert says(store.build(wish("alpha")), "import alpha; print(alpha.VALUE)") == "1"


@pytest.mark.real
def test_the_orphan_of_a_dead_builder_is_ended(store: EnvironmentStore, place: Path) -> None:
    spec, noted = slow_source(place)
    victim = start_child(store, spec)
    orphan = wait_for(noted)
    victim.kill()
    victim.join()
    noted.unlink()
    with pytest.raises(Cancelled):
        store.build(spec, cancel=noted.exists)  # the second build comes as far as the first did
    wait_until_gone(orphan)


@pytest.mark.real
def test_builders_at_once_build_once(store: EnvironmentStore) -> None:
    children = [start_child(store, wish("alpha")) for _ in range(3)]
    for process in children:
        process.join(60)
        assert process.exitcode == 0
    log = (store.root.parent / "log").read_text()
    assert log.count("Installing 2 packages") == 1


def test_threads_at_once_build_once(store: EnvironmentStore) -> None:
    lines: list[str] = []
    threads = [
        threading.Thread(target=store.build, args=(wish("alpha"), lines.append)) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([line for line in lines if line.startswith("Installing")]) == 1


def test_pruning_keeps_what_is_named_fresh_or_being_built(store: EnvironmentStore) -> None:
    kept, old, fresh = (store.build(wish(each)) for each in ("alpha", "beta", "shared"))
    for each in (kept, old):
        os.utime(each.path / "portico.json", (1, 1))
    half = store.root / "environments" / ("0" * 32)
    half.mkdir()
    assert set(store.prune({kept.key})) == {old.key, half.name}
    assert store.find(old.key) is None
    assert store.find(kept.key) is not None
    assert store.find(fresh.key) is not None
    assert store.prune(set(), grace_seconds=0) != ()
    assert list((store.root / "environments").iterdir()) == []


def test_the_size_counts_shared_files_once(store: EnvironmentStore) -> None:
    built = store.build(wish("alpha"))
    assert 0 < store.size(built.key) < store.size()
    assert store.size("unknown") == 0


def compiled(environment: BuiltEnvironment) -> set[str]:
    return {
        path.name.split(".")[0]
        for path in environment.path.glob("lib/*/site-packages/__pycache__/*.pyc")
    }


def test_what_a_script_imports_is_compiled_and_nothing_else(
    store: EnvironmentStore, place: Path
) -> None:
    built = store.build(wish("alpha", "shared"))
    script = place / "score.py"
    script.write_text(
        "import alpha, os, missing, neighbour\nfrom alpha import VALUE\nraise SystemExit(1)\n"
    )
    (place / "neighbour.py").write_text(f"open({str(place / 'ran')!r}, 'w')\n")
    script.chmod(0o600)
    assert store.precompile(built, script) >= 1
    assert "alpha" in compiled(built)
    assert "shared" not in compiled(built)
    assert not (place / "ran").exists()
    assert store.precompile(built, script) == 0


@pytest.mark.real
def test_an_import_that_hangs_costs_bounded_time_and_nothing_else(
    store: EnvironmentStore, place: Path
) -> None:
    make_wheel(place / "wheels", "hangs", code="import time\ntime.sleep(600)\n")
    store.settings = replace(store.settings, compile_seconds=2)
    built = store.build(wish("alpha", "hangs"))
    script = place / "score.py"
    script.write_text("import alpha\nimport hangs\n")
    assert store.precompile(built, script) >= 1
    assert "alpha" in compiled(built)


@pytest.mark.parametrize("text", ["def broken(:\n", "", "\x00"])
def test_a_script_that_cannot_be_read_is_harmless(
    store: EnvironmentStore, place: Path, text: str
) -> None:
    built = store.build(wish("alpha"))
    (place / "score.py").write_text(text)
    assert store.precompile(built, place / "score.py") == 0
    assert store.precompile(built, place / "missing.py") == 0


@needs_root
def test_other_users_may_run_but_not_change_an_environment(store: EnvironmentStore) -> None:
    built = store.build(wish("alpha"))
    assert says(built, "import alpha; print(alpha.VALUE)", user_id=NOBODY) == "1"
    for path in (built.path, *built.path.rglob("*")):
        if not path.is_symlink():
            assert path.stat().st_mode & 0o022 == 0, path


@needs_root
def test_source_builds_run_as_a_user_of_their_own(store: EnvironmentStore, place: Path) -> None:
    store.settings = replace(store.settings, build_user_id=BUILDER)
    make_source(
        place / "code", "own", at_build="content = [os.getuid(), os.getgid(), os.getgroups()]"
    )
    built = store.build(wish("./own", "alpha", folder=place / "code"))
    foreign = foreign_user_id(BUILDER, store.root)
    assert foreign != BUILDER
    assert says(built, "import own; print(own.CONTENT)") == f"[{foreign}, {foreign}, []]"
    assert store.build(wish("beta")).path.stat().st_uid == BUILDER


def test_credentials_do_not_reach_the_log() -> None:
    assert redacted("at https://user:pw@host/simple") == "at https://****@host/simple"


def test_output_arrives_line_by_line_and_the_last_one_too() -> None:
    lines: list[str] = []
    done = run(
        ["/bin/sh", "-c", "echo one; echo two >&2; printf three"],
        environment={"PATH": "/bin:/usr/bin"},
        deadline=time.monotonic() + 10,
        log=lines.append,
    )
    assert (done.code, lines) == (0, ["one", "two", "three"])


@pytest.mark.real
def test_an_online_example_is_built_from_the_package_index(place: Path) -> None:
    text = (
        "name: model-env\nchannels:\n  - conda-forge\ndependencies:\n  - python=3.12\n  - pip=25.1.1\n"
        "  - numpy=2.3.1\n  - scikit-learn=1.7.0\n  - scipy=1.16.0\n  - pip:\n"
        "    - azureml-inference-server-http==1.4.1\n    - inference-schema[numpy-support]\n    - joblib\n"
    )
    store = EnvironmentStore(place / "store", EnvironmentSettings())
    built = store.build(EnvironmentSpec(conda_text=text))
    seen = says(
        built, "import numpy, sklearn, azureml_inference_server_http; print(numpy.__version__)"
    )
    assert seen == "2.3.1"
    assert store.build(EnvironmentSpec(conda_text=text)).was_cached


@pytest.mark.real
def test_an_unknown_conda_package_is_named_by_the_real_index(place: Path) -> None:
    text = "dependencies: [portico-no-such-package-for-tests]\n"
    with pytest.raises(
        BuildFailed, match="conda package `portico-no-such-package-for-tests` does not"
    ):
        EnvironmentStore(place / "store").build(EnvironmentSpec(conda_text=text))
