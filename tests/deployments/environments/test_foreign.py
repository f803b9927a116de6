"""Packages that attack while they are built: as a user of their own, who leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deployments.environments import EnvironmentSettings, EnvironmentSpec, EnvironmentStore
from deployments.environments.foreign import foreign_user_id, hand_over, read_made
from deployments.environments.specification import content_hash
from tests.deployments.environments.test_store import BUILDER, OWN_MINOR, needs_root, says
from tests.deployments.environments.wheels import make_source, make_wheel

pytestmark = [needs_root, pytest.mark.thorough]


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="foreign-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def store(place: Path) -> EnvironmentStore:
    wheels = make_wheel(place / "wheels", "alpha").parent
    settings = EnvironmentSettings(
        find_links=(str(wheels),), offline=True, build_user_id=BUILDER, min_free_bytes=0
    )
    return EnvironmentStore(place / "store", settings)


def wish(*packages: str, folder: Path | None = None) -> EnvironmentSpec:
    lines = "".join(f"  - {package}\n" for package in packages)
    text = f"dependencies:\n- python={OWN_MINOR}\n- pip:\n{lines}"
    return EnvironmentSpec(conda_text=text, folder=folder)


def test_what_a_build_tries_to_change_stays_as_it_was(
    store: EnvironmentStore, place: Path
) -> None:
    other = store.build(wish("alpha"))
    seen = looks(other.path)
    attack = f"""
import glob, os
content = []
for path in glob.glob({str(store.root)!r} + "/**", recursive=True):
    try:
        with open(path, "a"):
            content.append(path)
    except OSError:
        pass
# What it builds, and where, is its own.
content = [path for path in content if not any(part in path for part in ("/foreign/", "/own/"))]
content = [path for path in content if "/environments/" not in path or {other.key!r} in path]
"""
    make_source(place / "code", "own", at_build=attack)
    built = store.build(wish("./own", folder=place / "code"))
    assert says(built, "import own; print(own.CONTENT)") == "[]"
    assert looks(other.path) == seen


def test_a_build_leaves_no_process_and_nothing_of_its_own(
    store: EnvironmentStore, place: Path
) -> None:
    attack = """
import subprocess
subprocess.Popen(["/bin/sleep", "300"], start_new_session=True, env={},
                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
os.umask(0)
os.chmod(".", 0o777)
"""
    make_source(place / "code", "own", at_build=attack)
    built = store.build(wish("./own", folder=place / "code"))
    foreign = foreign_user_id(BUILDER, store.root)
    assert not [pid for pid in psutil.pids() if is_running_as(pid, foreign)]
    for path in (built.path, *store.root.rglob("*")):
        assert path.lstat().st_uid != foreign, path
    for path in built.path.rglob("*"):
        assert path.is_symlink() or not path.stat().st_mode & 0o022, path


def test_root_is_not_led_astray_by_links(store: EnvironmentStore, place: Path) -> None:
    secret = place / "secret"
    secret.write_text("untouched")
    secret.chmod(0o600)
    spec = wish("./own", folder=place / "code")
    make_source(place / "code", "own", at_build=f"""
import glob
for spot in glob.glob({str(store.root)!r} + "/*/*") + [os.path.dirname(os.getcwd())]:
    for name in ("script.py", "requirements.in", "lock.txt", "lock.json", "compile.txt", "portico.json"):
        try:
            os.symlink({str(secret)!r}, os.path.join(spot, name))
        except OSError:
            pass
""")  # fmt: skip
    built = store.build(spec)
    script = place / "score.py"
    script.write_text("import own\n")
    store.precompile(built, script)
    store.build(spec)
    assert (secret.read_text(), secret.stat().st_uid) == ("untouched", 0)


def test_no_code_of_a_wheel_runs_as_the_installing_user(
    store: EnvironmentStore, place: Path
) -> None:
    marks = place / "marks"
    marks.mkdir()
    marks.chmod(0o777)
    note = f"import os; open(os.path.join({str(marks)!r}, str(os.getuid())), 'w')\n"
    make_wheel(place / "wheels", "beta", code=note)
    built = store.build(wish("beta"))
    site = next(built.path.glob("lib/*/site-packages"))
    (site / "evil.pth").write_text(note)
    script = place / "score.py"
    script.write_text("import beta, os\n")
    store.precompile(built, script)
    assert "65534" in os.listdir(marks)
    assert str(BUILDER) not in os.listdir(marks)
    assert "0" not in os.listdir(marks)


def test_what_an_environment_is_made_of_is_not_listed(
    store: EnvironmentStore, place: Path
) -> None:
    spec = wish("alpha")
    built = store.build(spec)
    script = place / "score.py"
    script.write_text("import alpha\nSECRET = 'the way we score'\n")
    assert store.precompile(built, script) == 1
    listing = ["/bin/ls", str(store.root / "locks")]
    done = subprocess.run(listing, user=65534, group=65534, extra_groups=[], capture_output=True)
    assert done.returncode != 0
    kept = [path for path in store.root.rglob("*") if path.is_file()]
    assert not any(b"the way we score" in path.read_bytes() for path in kept)
    assert (store.root / "locks" / content_hash(spec)).stat().st_mode & 0o077 == 0o011


def test_handing_over_follows_no_link_and_closes_to_others(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("x")
    outside.chmod(0o666)
    tree = tmp_path / "tree"
    (tree / "inner").mkdir(parents=True)
    (tree / "inner" / "link").symlink_to(outside)
    (tree / "up").symlink_to(tmp_path)
    open_file = tree / "inner" / "open"
    open_file.write_text("x")
    open_file.chmod(0o4777)
    hand_over(tree, BUILDER)
    assert (outside.stat().st_uid, outside.stat().st_mode & 0o777) == (0, 0o666)
    assert (open_file.stat().st_uid, open_file.stat().st_mode & 0o7777) == (BUILDER, 0o755)
    hand_over(tree / "up", BUILDER)
    assert tmp_path.stat().st_uid == 0


def test_only_a_file_that_was_made_is_read(tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.write_text("numpy==2\n")
    assert read_made(made) == "numpy==2\n"
    (tmp_path / "link").symlink_to(made)
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "missing"):
        with pytest.raises(OSError, match=name):
            read_made(tmp_path / name)


def looks(folder: Path) -> dict[Path, tuple[float, ...]]:
    facts = {path: path.lstat() for path in folder.rglob("*")}
    return {
        path: (f.st_ino, f.st_mtime, f.st_mode, f.st_uid, f.st_size) for path, f in facts.items()
    }


def is_running_as(pid: int, user_id: int) -> bool:
    try:
        process = psutil.Process(pid)
        return user_id in process.uids() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
