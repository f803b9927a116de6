"""The Python interpreters of this machine: found, chosen by minor, made reachable for others."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from uv import find_uv_bin

from deployments.environments import process, runpath
from deployments.environments.conda import PREFERRED_PYTHONS
from workspaces.errors import UserError
from workspaces.trees import is_reachable_by_others, stage_tree

logger = logging.getLogger(__name__)

Policy = Literal["nearest", "refuse"]

NOBODY = 65534
LOOK_AGAIN_SECONDS = 300.0
DOWNLOAD_AGAIN_SECONDS = 600.0
PROBE_SECONDS = 10.0
PASSED_ON = (
    *("PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
)

_PROBE = """
import json, os, sys, sysconfig
print(json.dumps([
    sys.implementation.name, "%d.%d.%d" % sys.version_info[:3], sys.version_info[3],
    os.path.realpath(getattr(sys, "_base_executable", sys.executable)), sys.base_prefix,
    bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
]))
"""
_NAME = re.compile(r"^python3\.\d+$")
_SKIPPED_FOLDERS = {"test", "tests", "idlelib", "turtledemo", "site-packages", "lib2to3"}


@dataclass(frozen=True)
class Interpreter:
    """One CPython: `executable` is the real file, `prefix` the folder it lives in."""

    version: str
    executable: Path
    prefix: Path

    @property
    def minor(self) -> str:
        return ".".join(self.version.split(".")[:2])


@dataclass(frozen=True)
class Choice:
    """The interpreter to build with, and what the user should know about it."""

    interpreter: Interpreter
    warnings: tuple[str, ...] = ()


class Interpreters:
    """What this machine offers; `folder` keeps downloads and copies. Safe to share by threads."""

    def __init__(
        self,
        folder: Path,
        *,
        policy: Policy = "nearest",
        downloads: bool = False,
        mirror: str = "",
        download_seconds: float = 120.0,
        search: Iterable[Path] | None = None,
        for_others: bool = True,
    ) -> None:
        self.folder = folder
        self.policy = policy
        self.downloads = downloads
        self.mirror = mirror
        self.download_seconds = download_seconds
        self.for_others = for_others
        self._search = None if search is None else tuple(search)
        self._found: tuple[Interpreter, ...] = ()
        self._looked_at = float("-inf")
        self._failed_downloads: dict[str, float] = {}
        self._lock = threading.Lock()

    def found(self, *, again: bool = False) -> tuple[Interpreter, ...]:
        """The best interpreter of each minor, newest first; looked up every five minutes."""
        with self._lock:
            if again or time.monotonic() - self._looked_at > LOOK_AGAIN_SECONDS:
                self._found = _best_of_each_minor(self._candidates())
                self._looked_at = time.monotonic()
            return self._found

    def choose(
        self,
        minor: str,
        *,
        log: Callable[[str], None] = lambda line: None,
        cancel: Callable[[], bool] = lambda: False,
    ) -> Choice:
        """The interpreter for `minor` ("" for any), reachable by other users when we are root.

        Raises `UserError` with code PythonMismatch when there is none and the policy is "refuse".
        """
        found = {interpreter.minor: interpreter for interpreter in self.found()}
        if not minor:
            minor = next((each for each in PREFERRED_PYTHONS if each in found), "")
        if minor not in found and minor and self._download(minor, log, cancel):
            found = {interpreter.minor: interpreter for interpreter in self.found(again=True)}
        if minor in found:
            return Choice(self.staged(found[minor]))
        if not found:
            raise UserError(
                "There is no Python 3 on this machine that environments can be built with. "
                "Install one (for example python3.12), or allow downloads of interpreters in "
                "the settings.",
                code="PythonMismatch",
                target="python",
            )
        there = ", ".join(sorted(found, key=_number))
        if self.policy == "refuse":
            raise UserError(
                f"The environment asks for Python {minor}, which is not on this machine "
                f"(there are {there}). Write 'python={closest(minor, found)}', or have an "
                f"operator install Python {minor}.",
                code="PythonMismatch",
                target="python",
            )
        chosen = found[closest(minor, found)]
        warning = (
            f"The environment asks for Python {minor}, which is not on this machine; "
            f"Python {chosen.minor} is used instead (there are {there})."
        )
        return Choice(self.staged(chosen), (warning,))

    def of(
        self,
        minor: str,
        *,
        log: Callable[[str], None] = lambda line: None,
        cancel: Callable[[], bool] = lambda: False,
    ) -> Interpreter | None:
        """The interpreter of exactly this minor, downloaded where that is allowed; None when there is none."""
        found = {interpreter.minor: interpreter for interpreter in self.found()}
        if minor not in found and self._download(minor, log, cancel):
            found = {interpreter.minor: interpreter for interpreter in self.found(again=True)}
        return self.staged(found[minor]) if minor in found else None

    def staged(self, interpreter: Interpreter) -> Interpreter:
        """The interpreter where other users can run it, else a copy in `folder` that they can."""
        if not self.for_others or os.geteuid() != 0 or _is_open(interpreter):
            return interpreter
        target = self.folder.resolve() / f"cpython-{interpreter.version}"
        source = interpreter.prefix.resolve()
        stage_tree(
            source, target, skip=_is_dispensable, prepare=lambda copy: _settle(copy, source)
        )
        copy = Interpreter(
            interpreter.version,
            target / interpreter.executable.relative_to(source),
            target,
        )
        # Not only "does it run": without its own library it may silently run on the system's.
        if probe(copy.executable, user_id=NOBODY) != copy:
            raise UserError(
                f"Python {interpreter.version} at {interpreter.prefix} lies in a folder that other "
                f"users cannot enter, and its copy at {target} does not run for them. Install "
                f"Python {interpreter.minor} below /usr or /opt, or open the folders above it "
                "(chmod o+x).",
                code="PythonMismatch",
                target="python",
            )
        return copy

    def _candidates(self) -> Iterator[Interpreter]:
        seen: set[Path] = set()
        for executable in self._executables():
            real = executable.resolve()
            if real in seen:
                continue
            seen.add(real)
            interpreter = probe(executable)
            if interpreter is not None:
                yield interpreter

    def _executables(self) -> Iterator[Path]:
        for place in self._search if self._search is not None else _usual_places():
            yield from _pythons_in(place)
        for copy in sorted(self.folder.glob("*/bin")) + sorted(
            self.folder.glob("downloads/*/bin")
        ):
            yield from _pythons_in(copy)

    def _download(
        self, minor: str, log: Callable[[str], None], cancel: Callable[[], bool]
    ) -> bool:
        """Let uv fetch the interpreter; a failure is remembered for ten minutes."""
        failed_at = self._failed_downloads.get(minor, float("-inf"))
        if not self.downloads or time.monotonic() - failed_at < DOWNLOAD_AGAIN_SECONDS:
            return False
        log(f"Downloading Python {minor}")
        target = self.folder / "downloads"
        target.mkdir(parents=True, exist_ok=True)
        arguments: list[str | Path] = [
            find_uv_bin(),
            "python",
            "install",
            minor,
            "--install-dir",
            target,
            "--no-bin",
        ]
        environment = inherited() | {
            "UV_NO_CONFIG": "1",
            "UV_NO_PROGRESS": "1",
            "UV_HTTP_RETRIES": "1",
            "UV_CACHE_DIR": str(self.folder / ".cache"),
            "HOME": str(self.folder),
        }
        if self.mirror:
            environment["UV_PYTHON_INSTALL_MIRROR"] = self.mirror
        deadline = time.monotonic() + self.download_seconds
        try:
            done = process.run(
                arguments, environment=environment, deadline=deadline, log=log, cancel=cancel
            )
        except process.DeadlinePassed:
            done = process.Finished(-1, ())
        if done.code != 0:
            log(f"Python {minor} could not be downloaded")
            self._failed_downloads[minor] = time.monotonic()
        return done.code == 0


def probe(executable: Path, *, user_id: int | None = None) -> Interpreter | None:
    """What `executable` is; `None` for anything but a supported, released CPython that runs."""
    output = _run_as([str(executable), "-I", "-S", "-c", _PROBE], user_id)
    try:
        name, version, level, real, prefix, is_free_threaded = json.loads(output or "")
    except (ValueError, TypeError):
        return None
    interpreter = Interpreter(version, Path(real), Path(prefix))
    is_usual = name == "cpython" and level == "final" and not is_free_threaded
    return interpreter if is_usual and interpreter.minor in PREFERRED_PYTHONS else None


def inherited(*more: str) -> dict[str, str]:
    """The variables that builds may see, and `more`: no secrets of the portal, no settings of tools."""
    return {name: os.environ[name] for name in (*PASSED_ON, *more) if name in os.environ}


def _usual_places() -> Iterator[Path]:
    """Folders where interpreters live: our own, the PATH, pyenv's, uv's and /opt's."""
    yield Path(sys.base_prefix) / "bin"
    for place in os.environ.get("PATH", "").split(os.pathsep):
        if place and Path(place).name != "shims":
            yield Path(place)
    yield from (Path("/usr/local/bin"), Path("/usr/bin"))
    home = Path(os.environ.get("HOME") or "/nonexistent")
    pyenv = Path(os.environ.get("PYENV_ROOT") or home / ".pyenv")
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
    managed = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv/python")
    for parent in (pyenv / "versions", managed, Path("/opt/python"), Path("/opt")):
        yield from sorted(parent.glob("*/bin"))


def _pythons_in(place: Path) -> list[Path]:
    try:
        names = sorted(name for name in os.listdir(place) if _NAME.match(name))
    except OSError:
        return []
    return [place / name for name in names if os.access(place / name, os.X_OK)]


def _best_of_each_minor(candidates: Iterable[Interpreter]) -> tuple[Interpreter, ...]:
    """One per minor version: what others can reach first, then the highest patch."""
    best: dict[str, Interpreter] = {}
    for candidate in candidates:
        rival = best.get(candidate.minor)
        if rival is None or _rank(candidate) > _rank(rival):
            best[candidate.minor] = candidate
    return tuple(sorted(best.values(), key=lambda each: _number(each.version), reverse=True))


def _rank(interpreter: Interpreter) -> tuple[bool, tuple[int, ...]]:
    return (os.geteuid() != 0 or _is_open(interpreter), _number(interpreter.version))


def _is_open(interpreter: Interpreter) -> bool:
    library = interpreter.prefix / "lib" / f"python{interpreter.minor}" / "os.py"
    return is_reachable_by_others(interpreter.executable) and is_reachable_by_others(library)


def _is_dispensable(relative: Path) -> bool:
    """Parts of an installation that a virtual environment never looks at."""
    parts = relative.parts
    if parts[0] == "share":
        return True
    return len(parts) == 3 and parts[0] == "lib" and parts[2] in _SKIPPED_FOLDERS


def _settle(copy: Path, source: Path) -> None:
    """Point the binaries of a copy at the libraries beside them, not at the old place."""
    binaries = [*copy.glob("bin/python3*"), *copy.glob("lib/libpython*.so*")]
    binaries += copy.glob("lib/python3.*/lib-dynload/*.so")
    for binary in binaries:
        if binary.is_file() and not binary.is_symlink():
            runpath.make_relative(binary, old_root=source, new_root=copy)


def _run_as(arguments: list[str], user_id: int | None) -> str | None:
    """The output of a short command, `None` when it fails or takes too long."""
    try:
        done = subprocess.run(
            arguments,
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
            stdin=subprocess.DEVNULL,
            env=inherited(),
            cwd="/",
            user=user_id,
            group=user_id,
            extra_groups=[] if user_id is not None else None,
            check=False,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout if done.returncode == 0 else None


def closest(minor: str, found: Iterable[str]) -> str:
    """The closest minor version; of two, the older, for which old pins more often have wheels."""
    wanted = _number(minor)[1]
    return min(found, key=lambda each: (abs(_number(each)[1] - wanted), _number(each)))


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
