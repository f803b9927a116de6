"""Environments on disk, each built once from a stored lock and shared by all who ask for it."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from deployments.environments import guard
from deployments.environments.conda import Translation
from deployments.environments.explaining import explain
from deployments.environments.failures import BuildFailed, disk_full, out_of_time
from deployments.environments.foreign import foreign_builds
from deployments.environments.interpreters import Interpreters
from deployments.environments.precompile import precompile
from deployments.environments.process import DeadlinePassed, Finished
from deployments.environments.resolving import Lock, option_lines, resolve, staged_lines
from deployments.environments.specification import EnvironmentSpec, hash_of, translate
from deployments.environments.uv_command import Cancel, EnvironmentSettings, Log, Uv, redacted
from workspaces.errors import UserError

READY = "portico.json"
CACHE_PRUNE_SECONDS = 600
PRUNE_GRACE_SECONDS = 3600.0
EVIDENCE_LINES = 12


def _quiet(line: str) -> None:
    """The log of a caller who wants none."""


def _never() -> bool:
    """The cancel of a caller who never does."""
    return False


@dataclass(frozen=True)
class BuiltEnvironment:
    """A folder to start workers from: others may read it, nobody but the builder may write it."""

    key: str
    path: Path
    python: Path
    python_version: str
    lock_text: str
    warnings: tuple[str, ...] = ()
    was_cached: bool = False


@dataclass
class EnvironmentStore:
    """All environments below `root`: one filesystem that users of instances can reach."""

    root: Path
    settings: EnvironmentSettings = field(default_factory=EnvironmentSettings)
    interpreters: Interpreters = field(default=None)  # type: ignore[assignment]  # made from the settings

    def __post_init__(self) -> None:
        self.root = self.root.absolute()
        if self.interpreters is None:
            self.interpreters = Interpreters(
                self.root / "interpreters",
                policy=self.settings.python_policy,
                downloads=self.settings.python_downloads and not self.settings.offline,
                mirror=self.settings.download_mirror,
                download_seconds=self.settings.download_seconds,
                for_others=self.settings.for_others,
            )

    def lock(self, spec: EnvironmentSpec, log: Log = _quiet, cancel: Cancel = _never) -> Lock:
        """Resolve once, remember in a file. Raises `UserError`, `BuildFailed`, `Cancelled`."""
        translation = translate(spec)
        key = hash_of(translation)
        with self._building(key, log, cancel) as uv:
            return self._lock(translation, key, uv)

    def build(
        self,
        spec: EnvironmentSpec,
        log: Log = _quiet,
        cancel: Cancel = _never,
        *,
        lock: Lock | None = None,
    ) -> BuiltEnvironment:
        """The environment for `spec`, built if it is missing; a kept `lock` spares the resolving.

        May be called by many at once and be killed anywhere: one builds, the others wait, and the
        next call clears what a dead one left. Raises `UserError` for the file, `BuildFailed` for
        the build, `Cancelled`.
        """
        translation = translate(spec)
        key = hash_of(translation)
        ready = self.find(key)
        if ready is not None:
            return ready
        began = time.monotonic()
        with self._building(key, log, cancel) as uv:
            ready = self.find(key)
            if ready is not None:
                return ready
            self._require_space()
            kept = lock if lock is not None and lock.key == key else None
            built = self._install(translation, key, uv, kept)
            uv.log(f"Environment {key} is ready after {time.monotonic() - began:.1f} s")
            return built

    def find(self, key: str) -> BuiltEnvironment | None:
        """The finished environment with this hash, in a millisecond; notes that it is in use."""
        path = self._path(key)
        python = path / "bin" / "python"
        try:
            noted = json.loads((path / READY).read_text(encoding="utf-8"))
            os.utime(path / READY)
        except (OSError, ValueError):
            return None
        if not os.access(python, os.X_OK):
            return None  # its interpreter has left the machine
        return BuiltEnvironment(
            key=key,
            path=path,
            python=python,
            python_version=noted["python_version"],
            lock_text=noted["lock_text"],
            warnings=tuple(noted["warnings"]),
            was_cached=True,
        )

    def precompile(
        self,
        environment: BuiltEnvironment,
        script: Path,
        log: Log = _quiet,
        cancel: Cancel = _never,
    ) -> int:
        """Write bytecode for what `script` imports; the number of files. A failure is harmless and
        gives 0.
        """
        try:
            minor = ".".join(environment.python_version.split(".")[:2])
            compiler = self.interpreters.choose(minor).interpreter.executable
            with self._building(environment.key, log, cancel) as uv:
                work = self._work(environment.key)
                return precompile(uv, environment.path, script, work, compiler=compiler)
        except (BuildFailed, UserError):
            return 0

    def prune(
        self, keep: set[str], *, grace_seconds: float = PRUNE_GRACE_SECONDS
    ) -> tuple[str, ...]:
        """Remove environments that are not in `keep`, not being built and not asked for lately;
        their hashes.
        """
        removed = []
        folder = self.root / "environments"
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.name.startswith("."):
                shutil.rmtree(path, ignore_errors=True)
            elif path.name not in keep and self._remove(path, grace_seconds):
                removed.append(path.name)
        return tuple(removed)

    def prune_cache(self) -> str:
        """Remove what uv keeps and no build can use any more; what uv said of it. Builds wait meanwhile,
        ten minutes at most.
        """
        if not (self.root / "cache").is_dir():
            return ""
        said: list[str] = []
        deadline = time.monotonic() + CACHE_PRUNE_SECONDS
        uv = Uv(self.root, self.settings, deadline=deadline, log=said.append, cancel=lambda: False)
        done = uv("cache", "prune")
        if done.code != 0:
            raise OSError(f"uv cannot prune its cache: {done.text[-500:]}")
        return " ".join(said[-1:])

    def size(self, key: str = "") -> int:
        """Bytes on disk of one environment, or of everything here; a file with several names
        counts once.
        """
        seen: set[tuple[int, int]] = set()
        total = 0
        for folder, _folders, names in os.walk(self._path(key) if key else self.root):
            for name in names:
                try:
                    noted = os.lstat(os.path.join(folder, name))
                except FileNotFoundError:
                    continue
                if (noted.st_dev, noted.st_ino) not in seen:
                    seen.add((noted.st_dev, noted.st_ino))
                    total += noted.st_blocks * 512
        return total

    def _lock(self, translation: Translation, key: str, uv: Uv, kept: Lock | None = None) -> Lock:
        choice = self.interpreters.choose(translation.python, log=uv.log, cancel=uv.cancel)
        kept = kept or self._kept_lock(key)
        if kept is not None and kept.python == choice.interpreter.minor:
            return kept
        lock = resolve(translation, key, choice.interpreter, uv, self._work(key))
        lock = replace(lock, warnings=(*choice.warnings, *lock.warnings))
        _write_whole(self._work(key) / "lock.json", json.dumps(lock.as_dict()))
        return lock

    def _install(
        self, translation: Translation, key: str, uv: Uv, kept: Lock | None
    ) -> BuiltEnvironment:
        lock = self._lock(translation, key, uv, kept)
        interpreter = self.interpreters.choose(lock.python).interpreter
        for warning in lock.warnings:
            uv.log(f"Warning: {warning}")
        path, work = self._path(key), self._work(key)
        self._clear(path)
        path.mkdir(mode=0o755)
        path.chmod(0o755)
        options = option_lines(staged_lines(translation, work))
        listing = work / "lock.txt"
        pinned = [line for line in lock.text.splitlines() if not line.startswith("-")]
        _write_whole(listing, "".join(f"{line}\n" for line in (*options, *pinned)))
        venv: list[str | Path] = ["venv", path, "--python", interpreter.executable]
        sync: list[str | Path] = ["pip", "sync", listing, "--python", path / "bin/python"]
        with self._installer(uv, lock, path, work / "files") as installer:
            made = installer(*venv, "--no-project", "--quiet")
            self._check(made, translation, lock)
            uv.log(f"Installing {lock.package_count} packages")
            sync += ["--allow-empty-requirements"]
            sync += [] if lock.needs_source_builds else ["--no-build"]
            self._check(installer(*sync, options=options), translation, lock)
        # uv leaves it for everyone to write to, and no one has a reason to.
        (path / ".lock").unlink(missing_ok=True)
        noted = {
            "python_version": interpreter.version,
            "lock_text": lock.text,
            "warnings": lock.warnings,
        }
        _write_whole(path / READY, json.dumps(noted))
        built = self.find(key)
        if built is None:
            raise BuildFailed(explain("error: The new environment's interpreter does not run"))
        return replace(built, was_cached=False)

    @contextmanager
    def _installer(self, uv: Uv, lock: Lock, *own: Path) -> Iterator[Uv]:
        """uv as the user that may install this lock."""
        if lock.needs_source_builds:
            with foreign_builds(uv, *own) as builder:
                yield builder
        else:
            self._give(own[0])
            yield uv

    def _check(self, done: Finished, translation: Translation, lock: Lock) -> None:
        if done.code != 0:
            raise BuildFailed(
                explain(
                    redacted(done.text),
                    python=lock.python,
                    conda_names=translation.conda_names,
                    requirements=translation.requirements,
                )
            )

    @contextmanager
    def _building(self, key: str, log: Log, cancel: Cancel) -> Iterator[Uv]:
        """The guard of `key` held, and what goes wrong below said in the failure card's words."""
        tail: list[str] = []

        def keep_tail(line: str) -> None:
            tail.append(line)
            del tail[:-EVIDENCE_LINES]
            log(line)

        seconds = self.settings.build_seconds
        deadline = time.monotonic() + seconds
        try:
            self._make_folders(key)
            guard_path = self.root / "guards" / f"{key}.lock"
            with guard.hold(guard_path, deadline=deadline, cancel=cancel) as held:
                yield Uv(
                    self.root,
                    self.settings,
                    deadline=deadline,
                    log=keep_tail,
                    cancel=cancel,
                    keep_open=(held.descriptor,),
                    started=held.note,
                )
        except DeadlinePassed as error:
            raise BuildFailed(out_of_time(seconds, tail)) from error
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise BuildFailed(explain("No space left on device")) from error
            raise

    def _make_folders(self, key: str) -> None:
        for name in ("", "environments", "locks", f"locks/{key}", "cache", "home", "guards"):
            folder = self.root / name
            if folder.is_dir():
                continue
            folder.mkdir(parents=True, exist_ok=True)
            # uv's store has lock files that everyone may write to: nobody else comes in. What lies below `locks` is
            # for those who are told its name: it says what other environments are made of.
            modes = {"cache": 0o700, "home": 0o700, "guards": 0o700, "locks": 0o711}
            folder.chmod(modes.get(name, 0o711 if name.startswith("locks/") else 0o755))
            if name in {"cache", "home"}:
                self._give(folder)

    def _give(self, folder: Path) -> None:
        user_id = self.settings.build_user_id
        if user_id is not None and os.geteuid() == 0:
            os.chown(folder, user_id, user_id)

    def _require_space(self) -> None:
        free = shutil.disk_usage(self.root).free
        if free < self.settings.min_free_bytes:
            raise BuildFailed(disk_full(free, self.settings.min_free_bytes, str(self.root)))

    def _kept_lock(self, key: str) -> Lock | None:
        try:
            data = json.loads((self._work(key) / "lock.json").read_text(encoding="utf-8"))
            return Lock.from_dict(data)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _remove(self, path: Path, grace_seconds: float) -> bool:
        """Remove one environment unless it is guarded or was asked for within the grace."""
        try:
            age = time.time() - (path / READY).stat().st_mtime
        except OSError:
            age = grace_seconds  # unfinished: only a builder at work protects it
        if age < grace_seconds:
            return False
        guard_path = self.root / "guards" / f"{path.name}.lock"
        with guard.hold_if_free(guard_path) as held:
            if held is None:
                return False
            self._clear(path)
        return True

    def _clear(self, path: Path) -> None:
        """Take the name away at once, then the files."""
        if path.exists():
            trash = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
            os.rename(path, trash)
            shutil.rmtree(trash, ignore_errors=True)

    def _path(self, key: str) -> Path:
        return self.root / "environments" / key

    def _work(self, key: str) -> Path:
        return self.root / "locks" / key


def _write_whole(path: Path, text: str) -> None:
    """Write so that a reader, or the next start after a power cut, sees all of it or nothing."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with draft.open("x", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
