"""From requirements to a lock: every package with its version, found once."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deployments.environments.conda import Translation
from deployments.environments.diagnosing import diagnose
from deployments.environments.explaining import explain, without_wheels
from deployments.environments.failures import BuildFailed, BuildFailure, refused_source_build
from deployments.environments.foreign import foreign_builds, hand_over, read_made
from deployments.environments.interpreters import Interpreter
from deployments.environments.process import Finished
from deployments.environments.uv_command import Uv, redacted

_PINNED = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*(\[[^\]]*\])?\s*(==|@)|^(file:|\.?/)", re.M)
_WANTS_SOURCES = re.compile(r"(git|hg|svn|bzr)\+|\.(zip|tar\.gz|tgz|tar\.bz2)(#|$)|^--no-binary")


@dataclass(frozen=True)
class Lock:
    """Every package with its version, for one Python minor; keep it with the environment."""

    key: str
    python: str
    text: str
    warnings: tuple[str, ...] = ()
    needs_source_builds: bool = False

    @property
    def package_count(self) -> int:
        return len(_PINNED.findall(self.text))

    def as_dict(self) -> dict[str, Any]:
        """The lock as JSON can keep it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Lock:
        return cls(
            key=str(data["key"]),
            python=str(data["python"]),
            text=str(data["text"]),
            warnings=tuple(data.get("warnings", ())),
            needs_source_builds=bool(data.get("needs_source_builds", False)),
        )


def resolve(
    translation: Translation, key: str, interpreter: Interpreter, uv: Uv, work: Path
) -> Lock:
    """Ask uv for versions that fit, from wheels alone if possible; raises `BuildFailed`."""
    lines = staged_lines(translation, work)
    source = work / "requirements.in"
    source.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    options = option_lines(lines)
    uv.log(f"Resolving {len(lines) - len(options)} requirements for Python {interpreter.version}")
    warnings = list(translation.warnings)
    needs_builds = wants_sources(lines, translation)
    if needs_builds and not uv.settings.source_builds:
        raise BuildFailed(refused_source_build(translation.requirements))
    if not needs_builds:
        text, done = _compile(uv, source, work, interpreter, options, may_build=False)
        if done.code != 0 and uv.settings.source_builds and lacks_wheels(done.text):
            named = ", ".join(without_wheels(done.text)) or "a package"
            warnings.append(f"There is no wheel of {named} here; it is built from source.")
            needs_builds = True
        elif done.code != 0:
            # What has no wheel alone would be built from source after all.
            again = _Again(uv, work, interpreter, options, may_build=False)
            raise _explained(done, translation, interpreter, lines, again)
    if needs_builds:
        with foreign_builds(uv, work / "files") as builder:
            text, done = _compile(builder, source, work, interpreter, options, may_build=True)
            if done.code != 0:
                again = _Again(builder, work, interpreter, options, may_build=True)
                raise _explained(done, translation, interpreter, lines, again)
    header = "".join(f"{redacted(line)}\n" for line in options)
    return Lock(key, interpreter.minor, header + text, tuple(warnings), needs_builds)


def wants_sources(lines: Sequence[str], translation: Translation) -> bool:
    """Whether the wish itself names something that must be built."""
    return any(_WANTS_SOURCES.search(line) for line in lines) or any(
        path.is_dir() for path in translation.local_paths
    )


def option_lines(lines: Sequence[str]) -> list[str]:
    """The lines that say where packages come from."""
    return [line for line in lines if line.startswith("-")]


def staged_lines(translation: Translation, work: Path) -> list[str]:
    """The requirements, with local files replaced by copies in `work` that stay."""
    lines = list(translation.requirements)
    for index, path in enumerate(translation.local_paths):
        copy = work / "files" / str(index) / path.name
        if not copy.exists():
            draft = work / "files" / f".{index}.{secrets.token_hex(4)}" / path.name
            draft.parent.mkdir(parents=True)
            if path.is_dir():
                # Links stay links: what they point to may be none of the user's business.
                shutil.copytree(path, draft, symlinks=True)
            else:
                shutil.copyfile(path, draft)
            os.rename(draft.parent, copy.parent)
        lines = [line.replace(path.as_posix(), copy.as_posix()) for line in lines]
    return lines


def _compile(
    uv: Uv,
    source: Path,
    work: Path,
    interpreter: Interpreter,
    options: Sequence[str],
    *,
    may_build: bool,
) -> tuple[str, Finished]:
    # Its own, for everything else in the folder is written by root and must not be led astray.
    folder = work / f"lock.{secrets.token_hex(4)}"
    folder.mkdir(mode=0o700)
    hand_over(folder, os.geteuid() if uv.user_id is None else uv.user_id)
    target = folder / "lock.txt"
    arguments: list[str | Path] = ["pip", "compile", source, "--output-file", target, "--quiet"]
    arguments += ["--python", interpreter.executable, "--no-header", "--no-annotate"]
    arguments += [] if may_build else ["--no-build"]
    try:
        done = uv(*arguments, options=options)
        return (read_made(target) if done.code == 0 else ""), done
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class _Again:
    """Asks uv once more, for fewer lines."""

    uv: Uv
    work: Path
    interpreter: Interpreter
    options: Sequence[str]
    may_build: bool

    def __call__(self, lines: list[str]) -> Finished:
        source = self.work / "fewer.in"
        source.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        _, done = _compile(
            self.uv, source, self.work, self.interpreter, self.options, may_build=self.may_build
        )
        return done


def _explained(
    done: Finished,
    translation: Translation,
    interpreter: Interpreter,
    lines: Sequence[str],
    again: _Again,
) -> BuildFailed:
    def explained(output: str) -> BuildFailure:
        return explain(
            redacted(output),
            python=interpreter.minor,
            conda_names=translation.conda_names,
            requirements=translation.requirements,
        )

    return BuildFailed(diagnose(lines, done, explained, again))


def lacks_wheels(output: str) -> bool:
    """Whether only the refusal to build from source stood in the way."""
    return "usable wheels" in output or "building from source is disabled" in output
