"""Images on an engine, each built once and found again by what it was made of."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from docker import APIClient
from docker.errors import ImageNotFound

from deployments.environments import guard
from deployments.environments.conda import Translation
from deployments.environments.curated import curated
from deployments.environments.explaining import explain
from deployments.environments.failures import BuildFailed, disk_full, out_of_time
from deployments.environments.guard import Guard
from deployments.environments.interpreters import Interpreter, Interpreters
from deployments.environments.process import DeadlinePassed
from deployments.environments.specification import EnvironmentSpec, hash_of, translate
from deployments.environments.uv_command import Cancel, Log, redacted
from deployments.images import boxes, engine
from deployments.images.base import house_base
from deployments.images.bounds import DiskWatch
from deployments.images.contexts import ContextBuild, build_context
from deployments.images.failures import no_python, other_architecture
from deployments.images.packages import AUTHORITIES, ENVIRONMENT, Installer
from deployments.images.programs import packed
from deployments.images.pruning import LABEL, Pruning, own_images, repository_of
from deployments.images.pythons import InsidePython, choose_python, pythons_in
from deployments.images.records import Record, Records
from deployments.images.settings import ImageSettings
from deployments.images.specification import BuiltImage, ImageSpec, key_of

PRUNE_GRACE_SECONDS = 3600.0
EVIDENCE_LINES = 12
# What an engine calls its machine, and what images call it.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def _quiet(line: str) -> None:
    """The log of a caller who wants none."""


def _never() -> bool:
    """The cancel of a caller who never does."""
    return False


@dataclass(frozen=True)
class _Work:
    """One build under its guard."""

    key: str
    log: Log
    cancel: Cancel
    deadline: float
    guard: Guard


@dataclass
class ImageStore:
    """All images of this installation on one engine; `root` keeps locks and guards of builds."""

    root: Path
    settings: ImageSettings
    interpreters: Interpreters
    _client: APIClient | None = field(default=None, repr=False)

    def build(self, spec: ImageSpec, log: Log = _quiet, cancel: Cancel = _never) -> BuiltImage:
        """The image for `spec`, built or fetched if it is missing.

        May be called by many at once and be killed anywhere: one builds, the others wait, and the next call clears
        what a dead one left. Raises `UserError` for the wish, `BuildFailed` for the build, `Cancelled`.
        """
        translation = translate(spec.environment) if spec.environment is not None else None
        with engine.explained():
            base, warnings = self._below(spec, translation, log, cancel)
            key = self._key(spec, translation, base)
            ready = self._found(key, warnings)
            if ready is not None:
                return ready
            began = time.monotonic()
            with self._building(key, log, cancel) as work:
                ready = self._found(key, warnings)
                if ready is not None:
                    return ready
                work = self._with_space(work)
                built = self._make(spec, translation, base, warnings, work)
                work.log(f"The image {key} is ready after {time.monotonic() - began:.1f} s")
                return built

    def find(self, key: str) -> BuiltImage | None:
        """The finished image with this hash; notes that it is in use."""
        built = self._described(key)
        if built is not None:
            self.records.touch(key)
        return built

    def still_there(self, reference: str) -> BuiltImage | None:
        """What was built with this id, while it is on the engine."""
        for key in self.records.keys_of(reference):
            with engine.explained():
                return self.find(key)
        return None

    def sizes(self) -> dict[str, int]:
        """Bytes on the engine's disk by key; layers that several share count for each."""
        with engine.explained():
            return {
                key: int(image["Size"])
                for image in own_images(self.client, self.settings)
                if (key := (image.get("Labels") or {}).get(LABEL))
            }

    def prune(
        self, keep: set[str], *, grace_seconds: float = PRUNE_GRACE_SECONDS
    ) -> tuple[str, ...]:
        """Remove what was built here, is not in `keep` (ids or keys), in no use and not asked for lately; also what
        dead builders left. The keys.
        """
        with engine.explained():
            return Pruning(self.client, self.settings, self.root).prune(keep, grace_seconds)

    @property
    def _repository(self) -> str:
        return repository_of(self.settings)

    @property
    def records(self) -> Records:
        return Records(self.root)

    @property
    def client(self) -> APIClient:
        if self._client is None:
            self._client = engine.connected(self.settings)
        return self._client

    def _found(self, key: str, warnings: list[str]) -> BuiltImage | None:
        """The finished image, with the warnings of this wish: another may have been the first to need it."""
        found = self.find(key)
        if found is None:
            return None
        own = [text for text in found.warnings if text not in warnings]
        return replace(found, warnings=(*warnings, *own))

    def _below(
        self, spec: ImageSpec, translation: Translation | None, log: Log, cancel: Cancel
    ) -> tuple[str, list[str]]:
        """The id of the image to build on (empty for a build context), and warnings."""
        if spec.context is not None:
            return "", []
        if spec.image:
            return self._fetched(spec, translation, log, cancel)
        if self.settings.base_image:
            return self._present(self.settings.base_image, log, cancel), []
        choice = self.interpreters.choose(
            translation.python if translation else "", log=log, cancel=cancel
        )
        return self._house_base(choice.interpreter, log, cancel), list(choice.warnings)

    def _fetched(
        self, spec: ImageSpec, translation: Translation | None, log: Log, cancel: Cancel
    ) -> tuple[str, list[str]]:
        """The image a user named; for one of Azure's own that no registry gives, ours in its place."""
        try:
            return self._present(spec.image, log, cancel), []
        except BuildFailed:
            known = curated(spec.image)
            if known is None or spec.is_custom:
                raise
        log(
            f"{spec.image} cannot be had here; the base image of this installation stands in for it"
        )
        wanted = translation.python if translation is not None else known.python
        choice = self.interpreters.choose(wanted, log=log, cancel=cancel)
        if self.settings.base_image:
            base = self._present(self.settings.base_image, log, cancel)
        else:
            base = self._house_base(choice.interpreter, log, cancel)
        warning = (
            f"The image {spec.image} cannot be fetched here. The base image of this installation stands in for it: "
            "system packages of Azure's image are missing."
        )
        return base, [warning, *choice.warnings]

    def _house_base(self, interpreter: Interpreter, log: Log, cancel: Cancel) -> str:
        """One at a time: of two that are equal each would have an id, and images on them keys, of its own."""
        folder = self.root / "guards"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        deadline = time.monotonic() + self.settings.packages.build_seconds
        with guard.hold(folder / "base.lock", deadline=deadline, cancel=cancel):
            return house_base(self.client, self.settings, interpreter, log)

    def _present(self, reference: str, log: Log, cancel: Cancel) -> str:
        found = engine.identity(self.client, reference)
        if found:
            return found
        deadline = time.monotonic() + self.settings.packages.build_seconds
        tail: list[str] = []
        engine.read_credentials(self.client, self.settings)
        try:
            return engine.pull(
                self.client, reference, log=_tailed(tail, log), cancel=cancel, deadline=deadline
            )
        except DeadlinePassed as error:
            raise BuildFailed(out_of_time(self.settings.packages.build_seconds, tail)) from error

    def _key(self, spec: ImageSpec, translation: Translation | None, base: str) -> str:
        if spec.context is not None:
            return key_of("context", spec.context_hash, spec.dockerfile, spec.is_custom)
        if translation is None and not self._stands_in(spec, base):
            return key_of("image", base, spec.is_custom)
        wish = translation or self._stand_in(spec)
        return key_of("packages", base, hash_of(wish), self._conda_text(spec))

    def _stands_in(self, spec: ImageSpec, base: str) -> bool:
        """Whether an image of Azure's that should be taken as it is has our base in its place."""
        return spec.environment is None and base != engine.identity(self.client, spec.image)

    def _stand_in(self, spec: ImageSpec) -> Translation:
        return translate(EnvironmentSpec(curated_name=spec.image))

    def _conda_text(self, spec: ImageSpec) -> str:
        """The conda file, where the image's conda may read it: uv hears only its translation."""
        if self.settings.conda == "off" or not spec.image or spec.environment is None:
            return ""
        return spec.environment.conda_text

    def _make(
        self,
        spec: ImageSpec,
        translation: Translation | None,
        base: str,
        warnings: list[str],
        work: _Work,
    ) -> BuiltImage:
        if spec.context is not None:
            build = ContextBuild(
                client=self.client,
                settings=self.settings,
                context=spec.context,
                dockerfile=spec.dockerfile,
                tag=f"{self._repository}:{work.key}",
                labels=self._labels(work.key),
                log=work.log,
                cancel=work.cancel,
                deadline=work.deadline,
                guard=work.guard,
                secrets_folder=self.root / "builds" / work.key,
                cache_scope=f"{self.settings.installation}-{spec.cache_scope}",
            )
            reference = build_context(build)
            return self._as_it_is(spec, spec.dockerfile, reference, warnings, work)
        if translation is None and not self._stands_in(spec, base):
            return self._as_it_is(spec, spec.image, base, warnings, work)
        return self._with_packages(spec, translation or self._stand_in(spec), base, warnings, work)

    def _as_it_is(
        self, spec: ImageSpec, name: str, reference: str, warnings: list[str], work: _Work
    ) -> BuiltImage:
        """Look for the Python inside; nothing is added."""
        python = InsidePython("", "")
        if not spec.is_custom:
            self._require_architecture(name, reference)
            with self._box(reference, work, network=False) as box:
                found = pythons_in(box)
            if not found:
                raise BuildFailed(no_python(name))
            python = found[0]
            work.log(f"Scripts run on {python.path}, Python {python.version}")
        return self._settled(work.key, reference, python, warnings)

    def _require_architecture(self, name: str, reference: str) -> None:
        its = str(self.client.inspect_image(reference).get("Architecture") or "")
        machine = str(self.client.info().get("Architecture") or "")
        ours = ARCHITECTURES.get(machine, machine)
        if its and ours and its != ours:
            raise BuildFailed(other_architecture(name, its, ours))

    def _with_packages(
        self,
        spec: ImageSpec,
        translation: Translation,
        base: str,
        warnings: list[str],
        work: _Work,
    ) -> BuiltImage:
        folder = self.records.folder(work.key)
        self._require_architecture(spec.image, base)
        with self._box(
            base, work, network=not self.settings.packages.offline, is_shared=True
        ) as box:
            installer = Installer(box, self.settings.packages, translation, work.key, folder)
            if self.settings.packages.ca_bundle:
                content = Path(self.settings.packages.ca_bundle).read_bytes()
                box.put("/", packed({AUTHORITIES.lstrip("/"): content}))
            text = self._conda_text(spec)
            if not text or not installer.conda(text):
                python, noted = choose_python(
                    box,
                    self.interpreters,
                    translation.python,
                    reference=spec.image or "of this installation",
                )
                warnings += noted
                lock = installer.install(python, self.records.kept_lock(work.key))
                self.records.keep_lock(lock)
                warnings += lock.warnings
            for warning in warnings:
                work.log(f"Warning: {warning}")
            inside = f"{ENVIRONMENT}/bin/python"
            version = box.run(
                [inside, "-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])"], log=_quiet
            )
            if version.code != 0:
                raise BuildFailed(explain("error: The new environment's interpreter does not run"))
            python = InsidePython(inside, version.text.strip())
            reference = box.commit(self._repository, work.key, self._labels(work.key))
        return self._settled(work.key, reference, python, warnings)

    def _box(self, image: str, work: _Work, *, network: bool, is_shared: bool = False) -> Any:
        packages = self.settings.packages
        folders = [each for each in packages.find_links if each.startswith("/")]
        folders += [
            each.removeprefix("file://").removesuffix("/")
            for each in (packages.index_url, *packages.extra_index_urls, *packages.find_links)
            if each.startswith("file:///")
        ]
        # What an image of one user leaves in the cache reaches those alone who build on that image.
        volume = (
            f"{self._repository}-cache-{image.removeprefix('sha256:')[:12]}" if is_shared else ""
        )
        return boxes.box(
            self.client,
            self.settings,
            image,
            key=work.key,
            log=work.log,
            cancel=work.cancel,
            deadline=work.deadline,
            network=network,
            cache_volume=volume,
            folders=folders if is_shared else (),
        )

    def _labels(self, key: str) -> dict[str, str]:
        return {"portico.builder": self.settings.installation, LABEL: key}

    def _described(self, key: str) -> BuiltImage | None:
        """What is known of an image, while it is on the engine."""
        record = self.records.find(key)
        if record is None:
            return None
        try:
            size = int(self.client.inspect_image(record.reference)["Size"])
        except ImageNotFound:
            return None
        return BuiltImage(
            key,
            record.reference,
            record.python,
            record.python_version,
            record.warnings,
            True,
            size,
        )

    def _settled(
        self, key: str, reference: str, python: InsidePython, warnings: list[str]
    ) -> BuiltImage:
        """Remember what was made; from now on it is found."""
        record = Record(reference, python.path, python.version, tuple(warnings))
        self.records.write(key, record)
        built = self._described(key)
        if built is None:
            raise BuildFailed(explain("error: The image has gone from the engine"))
        self.records.write(key, replace(record, size_bytes=built.size_bytes))
        return replace(built, was_cached=False)

    @contextmanager
    def _building(self, key: str, log: Log, cancel: Cancel) -> Iterator[_Work]:
        """The guard of `key` held, and what goes wrong below said in the failure card's words."""
        tail: list[str] = []
        seconds = self.settings.packages.build_seconds
        deadline = time.monotonic() + seconds
        try:
            for name in ("", "guards"):
                (self.root / name).mkdir(parents=True, exist_ok=True, mode=0o700)
            path = self.root / "guards" / f"{key}.lock"
            with guard.hold(path, deadline=deadline, cancel=cancel) as held:
                yield _Work(key, _tailed(tail, log), cancel, deadline, held)
        except DeadlinePassed as error:
            raise BuildFailed(out_of_time(seconds, tail)) from error
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise BuildFailed(explain("No space left on device")) from error
            raise

    def _with_space(self, work: _Work) -> _Work:
        """Where the engine's disk is this machine's, it must have room to begin with, and keep some."""
        if not self.settings.is_local:
            return work
        info = self.client.info()
        folder = Path(info.get("DockerRootDir") or "/nonexistent")
        least = self.settings.packages.min_free_bytes
        try:
            free = shutil.disk_usage(folder).free
        except OSError:
            return work
        if free < least:
            raise BuildFailed(disk_full(free, least, str(folder)))
        watch = DiskWatch(folder, least, self.settings.limits.disk_bytes, work.cancel)
        return replace(work, cancel=watch)


def _tailed(tail: list[str], log: Log) -> Log:
    """A log that also keeps its last lines."""

    def keep(line: str) -> None:
        clean = redacted(line)
        tail.append(clean)
        del tail[:-EVIDENCE_LINES]
        log(clean)

    return keep
