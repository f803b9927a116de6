"""Lines of pip requirements, read as pip reads them, held inside the environment's own folder."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from workspaces.errors import UserError, all_of

MAX_INCLUDED_FILES = 20
MAX_INCLUDED_BYTES = 1_000_000

# Options that change where packages come from; uv takes them from the file as pip does.
KEPT_OPTIONS = {"--index-url", "-i", "--extra-index-url", "--find-links", "-f", "--no-index"}
KEPT_OPTIONS |= {"--no-binary", "--only-binary", "--pre"}
# Options that pip has and that mean nothing, or what happens anyway, in a build by uv.
DROPPED_OPTIONS = {"--prefer-binary", "--trusted-host", "--use-feature"}
DROPPED_OPTIONS |= {"--require-hashes", "--no-cache-dir", "--upgrade", "-U"}
INCLUDES = {"-r", "--requirement", "-c", "--constraint"}

_OPTION = re.compile(r"^(--?[A-Za-z][A-Za-z-]*)(?:\s*=\s*|\s+)?(.*)$")
_SHORT = re.compile(r"^(-[a-zA-Z])([^\s=-].*)$")
_COMMENT = re.compile(r"(^|\s)#.*$")
_REMOTE = re.compile(r"^(git\+|hg\+|svn\+|bzr\+)?(https?|ssh)(\+\w+)?://|^git\+ssh://", re.I)


@dataclass
class RequirementList:
    """`lines` without comments and includes; `local_paths` are absolute and inside the folder."""

    lines: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    local_paths: tuple[Path, ...] = ()


def read_requirements(lines: Iterable[str], *, where: str, folder: Path | None) -> RequirementList:
    """Flatten lines, `-r` files of `folder` included; raises `UserError` naming each line that is wrong."""
    reader = _Reader(folder.resolve() if folder else None)
    reader.read(list(lines), where, reader.folder)
    if reader.errors:
        raise all_of(reader.errors)
    return RequirementList(
        tuple(reader.lines), tuple(dict.fromkeys(reader.warnings)), tuple(reader.local_paths)
    )


@dataclass
class _Reader:
    folder: Path | None
    lines: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    local_paths: list[Path] = field(default_factory=list)
    included: list[Path] = field(default_factory=list)
    errors: list[UserError] = field(default_factory=list)

    def read(self, lines: Sequence[str], where: str, base: Path | None) -> None:
        for index, line in _logical_lines(lines):
            place = f"{where}[{index}]" if base is self.folder else f"{where} line {index + 1}"
            try:
                self._take(line, place, base)
            except UserError as error:
                self.errors.append(error)

    def _take(self, line: str, place: str, base: Path | None) -> None:
        if line.startswith("-"):
            self._take_option(line, place, base)
            return
        local = _local_path(line)
        if local is not None:
            self._take_local(local, line, place, base)
            return
        if not _REMOTE.match(line):
            _check_requirement(line, place)
        if canonical_name(line) != "pip":
            self.lines.append(line)

    def _take_option(self, line: str, place: str, base: Path | None) -> None:
        short = _SHORT.match(line)
        matched = _OPTION.match(f"{short[1]} {short[2]}" if short else line)
        option, value = (matched[1], matched[2].strip()) if matched else (line, "")
        if option in INCLUDES:
            self._include(option, value, place, base)
        elif option in {"-e", "--editable"}:
            self.warnings.append(
                f"{place}: installed {value!r} as a copy, not as an editable link."
            )
            self._take(value, place, base)
        elif option in KEPT_OPTIONS:
            _check_option(option, value, place)
            self.lines.append(f"{option} {value}".strip())
        elif option in DROPPED_OPTIONS:
            self.warnings.append(
                f"{place}: the pip option {option} is not needed here and ignored."
            )
        else:
            raise UserError(
                f"{place} is {line!r}: the option {option} is not supported in an environment. "
                f"Remove it.",
                target=place,
            )

    def _include(self, option: str, value: str, place: str, base: Path | None) -> None:
        path = self._inside(value, f"{option} {value}", place, base)
        if option in {"-c", "--constraint"}:
            raise UserError(
                f"{place} uses a constraints file ({value}). Write the versions into the list "
                f"itself, "
                "or pin them in the file that -r names.",
                target=place,
            )
        if path in self.included:
            return
        self.included.append(path)
        if len(self.included) > MAX_INCLUDED_FILES:
            raise UserError(
                f"{place}: more than {MAX_INCLUDED_FILES} requirement files include each other.",
                target=place,
            )
        try:
            if path.stat().st_size > MAX_INCLUDED_BYTES:
                raise UserError(
                    f"{place}: {value} is larger than {MAX_INCLUDED_BYTES:,} bytes.", target=place
                )
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"{place} includes {value!r}, which is not a readable text file in the "
                f"environment's folder.",
                target=place,
            ) from error
        self.read(text.splitlines(), value, path.parent)

    def _take_local(self, value: str, line: str, place: str, base: Path | None) -> None:
        path = self._inside(re.sub(r"\[[^\]]*\]$", "", value), line, place, base)
        if not path.exists():
            raise UserError(
                f"{place} is {line!r}: there is no {value!r} in the environment's folder.",
                target=place,
            )
        extras = re.search(r"\[[^\]]*\]$", value)
        self.local_paths.append(path)
        self.lines.append(f"{path.as_posix()}{extras[0] if extras else ''}")

    def _inside(self, value: str, line: str, place: str, base: Path | None) -> Path:
        """The file that `value` names; it must lie in the environment's folder, links followed."""
        if self.folder is None or base is None:
            raise UserError(
                f"{place} is {line!r}, but this environment came without its folder of files. "
                "Write the packages into the list, or register the environment from its folder.",
                target=place,
            )
        path = (base / value).resolve()
        if not value or Path(value).is_absolute() or not path.is_relative_to(self.folder):
            raise UserError(
                f"{place} is {line!r}: {value!r} lies outside the environment's folder. "
                "Put the file next to the environment file and name it relatively.",
                target=place,
            )
        return path


def canonical_name(line: str) -> str:
    """The normalised project name a requirement line starts with, or "" when it is a URL or a
    path.
    """
    matched = re.match(r"^([A-Za-z0-9][A-Za-z0-9._-]*)\s*($|[\[<>=!~;@,\s(])", line)
    return re.sub(r"[-_.]+", "-", matched[1]).lower() if matched else ""


def _logical_lines(lines: Sequence[str]) -> list[tuple[int, str]]:
    """Number and text of each line with content: comments gone, continued lines joined."""
    result: list[tuple[int, str]] = []
    held, start = "", 0
    for index, raw in enumerate(lines):
        text = _COMMENT.sub("", raw.strip("\ufeff")).strip()
        start = start if held else index
        if text.endswith("\\"):
            held += text[:-1].rstrip() + " "
            continue
        if held + text:
            result.append((start, (held + text).strip()))
        held = ""
    if held.strip():
        result.append((start, held.strip()))
    return result


def _local_path(line: str) -> str | None:
    """The path in a line that names a file or folder, `None` for names and addresses."""
    named = re.match(r"^[A-Za-z0-9][A-Za-z0-9._-]*(\[[^\]]*\])?\s*@\s*(\S+)", line)
    aim = named[2] if named else line.split(";")[0].strip()
    if _REMOTE.match(aim):
        return None
    if aim.lower().startswith("file:"):
        return re.sub(r"^file:(//(localhost)?)?", "", aim, flags=re.I)
    if named or aim.startswith((".", "/", "~")) or "/" in aim.split(" ")[0]:
        return aim
    if re.search(r"\.(whl|zip|tar\.gz|tgz|tar\.bz2)(\[[^\]]*\])?$", aim, re.I):
        return aim
    return None


def _check_option(option: str, value: str, place: str) -> None:
    if option in {"--no-index", "--no-binary", "--only-binary", "--pre"}:
        return
    if not re.match(r"^https?://", value, re.I):
        raise UserError(
            f"{place} is '{option} {value}': only http and https addresses of package indexes "
            f"are taken.",
            target=place,
        )


def _check_requirement(line: str, place: str) -> None:
    bare = re.sub(r"\s--hash[=\s]\S+", "", line)
    try:
        Requirement(bare)
    except InvalidRequirement as error:
        way_out = "Write 'name', 'name==1.2' or 'name>=1.2,<2'."
        if re.match(r"^[A-Za-z0-9._-]+=[^=]", bare):
            name, version = bare.split("=", 1)
            way_out = f"pip writes versions with two equals signs: '{name}=={version}'."
        raise UserError(
            f"{place} is {line!r}, which is not a pip requirement. {way_out}", target=place
        ) from error
