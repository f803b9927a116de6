"""Dockerfiles as text: their instructions, what each RUN is given beside, and which line failed.

Each RUN gets the operator's settings as mounts, which are in no layer; what names them in the history are paths without
meaning outside the build.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deployments.environments.failures import BuildFailed
from deployments.images.failures import dockerfile_failed
from workspaces.errors import UserError

SECRETS = "/run/portico"
LARGEST_DOCKERFILE_BYTES = 1_000_000
_INSTRUCTION = re.compile(r"^\s*(?P<word>[A-Za-z]+)\s+(?P<rest>.*)$", re.S)
SYNTAX = re.compile(r"^#\s*syntax\s*=\s*(?P<image>\S+)\s*$", re.I)
_ESCAPE = re.compile(r"^#\s*escape\s*=\s*(?P<character>[\\`])\s*$", re.I)
_HEREDOC = re.compile(r"<<-?\s*[\"']?(?P<word>[A-Za-z_][A-Za-z0-9_]*)[\"']?")
# Flags may go on over lines.
_FLAGS = re.compile(r"^(?P<flags>(?:--\S+(?:\s|\\\n)+|\\\n\s*(?=--))*)(?P<command>.*)$", re.S)
_FAILED_STEP = re.compile(r"^\s*> \[[^\]]*?\d+/\d+\] (?P<step>.+?):\s*$", re.M)
_CLASSIC_STEP = re.compile(r"^Step \d+/\d+ : (?P<step>.+)$", re.M)
_PARSE_LINE = re.compile(
    r"parse error (?:on )?line (?P<line>\d+)|Dockerfile:(?P<other>\d+)\b", re.I
)
_BASE = re.compile(
    r"(?:load metadata for|resolve source metadata for|pull access denied for) (?P<image>\S+?)[,:]?\s"
)


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile: `line` is where it begins, from 1."""

    line: int
    word: str
    text: str
    """With its continuation lines, as written."""

    @property
    def flat(self) -> str:
        return " ".join(self.text.replace("\\\n", " ").split())


def instructions(text: str) -> list[Instruction]:
    """The instructions in order; comments and blank lines between them are left out."""
    escape = next(
        (told["character"] for line in text.splitlines()[:3] if (told := _ESCAPE.match(line))),
        "\\",
    )
    found: list[Instruction] = []
    lines = text.splitlines()
    index = 0
    while index < len(lines):
        if not lines[index].strip() or lines[index].lstrip().startswith("#"):
            index += 1
            continue
        begin, index = index, _end(lines, index, escape)
        body = "\n".join(lines[begin:index])
        word = body.split(None, 1)[0].upper()
        found.append(Instruction(begin + 1, word, body))
    return found


def with_secrets(text: str, *, keep_syntax: bool, cache_scope: str) -> str:
    """The Dockerfile whose every RUN sees the operator's settings; lines keep their numbers.

    Cache mounts become those of `cache_scope`. `UserError` for a RUN that asks for the machine's own network or rights.
    """
    lines = text.splitlines()
    for each in instructions(text):
        if each.word != "RUN":
            continue
        match = _INSTRUCTION.match(each.text)
        if match is None:
            continue
        parts = _FLAGS.match(match["rest"])
        assert parts is not None
        command = parts["command"]
        is_plain = not command.lstrip().startswith(("[", "<<"))
        flags = _own_flags(each, parts["flags"], cache_scope)
        first = f"RUN {_MOUNTS} {flags}{f'. {SECRETS}/env; ' if is_plain else ''}{command}"
        lines[each.line - 1 : each.line - 1 + each.text.count("\n") + 1] = first.split("\n")
    if not keep_syntax:
        lines = ["#" if SYNTAX.match(line) else line for line in lines]
    return "\n".join(lines) + "\n"


def _mount(name: str, target: str) -> str:
    return f"--mount=type=secret,id=portico_{name},target={target},mode=0444"


_MOUNTS = " ".join(
    (
        _mount("env", f"{SECRETS}/env"),
        _mount("apt", f"{SECRETS}/apt.conf"),
        _mount("ca", f"{SECRETS}/authorities.pem"),
        # For a RUN without a shell, which reads no variables of ours.
        _mount("pip", "/etc/pip.conf"),
    )
)
_CACHE_MOUNT = re.compile(r"--mount=(?P<options>\S*\btype=cache\b\S*)")
_REACHING_OUT = re.compile(r"--(?:network=host|security=insecure)\b")


def _own_flags(run: Instruction, flags: str, cache_scope: str) -> str:
    refused = _REACHING_OUT.search(flags)
    if refused:
        raise UserError(
            f"Dockerfile, line {run.line}: RUN {refused[0]} reaches out of the build and is not allowed here. Remove "
            "the flag.",
            target="environment.build",
        )

    def scoped(found: re.Match[str]) -> str:
        options = dict(
            option.partition("=")[::2] for option in found["options"].split(",") if option
        )
        place = options.get("target") or options.get("dst") or options.get("destination") or ""
        options["id"] = f"{cache_scope}-{options.get('id') or place}"
        told = ",".join(f"{name}={value}" if value else name for name, value in options.items())
        return f"--mount={told}"

    return _CACHE_MOUNT.sub(scoped, flags)


_OURS = re.compile(re.escape(_MOUNTS) + rf"\s*|\. {SECRETS}/env; ")


def readable(text: str) -> str:
    """Without what was put into each RUN."""
    return _OURS.sub("", text)


def explained(output: str, text: str, dockerfile: str) -> BuildFailed:
    """What a builder's output means for the Dockerfile with this text."""
    parse = _PARSE_LINE.search(output)
    steps = _FAILED_STEP.findall(output) or _CLASSIC_STEP.findall(output)
    step = " ".join(steps[-1].split()) if steps else ""
    line, shown = (int(parse["line"] or parse["other"]) if parse else None), step
    for each in instructions(text):
        if step and (each.flat == step or each.flat.upper().startswith(step.upper())):
            line, shown = each.line, each.flat
    base = _BASE.search(output)
    froms = [each for each in instructions(text) if each.word == "FROM"]
    is_base = (
        not steps
        or step.startswith("FROM")
        or "load metadata for" in output.rsplit("ERROR", 1)[-1]
    )
    if (
        base
        and is_base
        and re.search(r"no such host|not found|denied|failed to do request|resolve", output)
    ):
        reference = base["image"].removeprefix("docker.io/library/").removeprefix("docker.io/")
        named = next((each for each in froms if reference.split(":")[0] in each.text), None)
        return BuildFailed(
            dockerfile_failed(
                output,
                line=named.line if named else line,
                step=shown,
                name=dockerfile,
                base=reference,
            )
        )
    return BuildFailed(dockerfile_failed(output, line=line, step=shown, name=dockerfile))


def read_dockerfile(context: Path, dockerfile: str) -> str:
    """Its text; `UserError` for one that is not in the context."""
    path = (context / dockerfile).resolve()
    if not path.is_relative_to(context.resolve()) or not path.is_file():
        there = sorted(each.name for each in context.iterdir())[:8]
        raise UserError(
            f"The build context has no '{dockerfile}'. There are: {', '.join(there) or 'no files'}. Correct "
            "build.dockerfile_path.",
            target="environment.build.dockerfile_path",
        )
    if path.stat().st_size > LARGEST_DOCKERFILE_BYTES:
        raise UserError(
            f"{dockerfile} is larger than a megabyte.", target="environment.build.dockerfile_path"
        )
    return path.read_text(encoding="utf-8", errors="replace")


def _end(lines: Sequence[str], index: int, escape: str) -> int:
    """The index after the instruction that begins at `index`, with continuations and here-documents."""
    here = (
        [found["word"] for found in _HEREDOC.finditer(lines[index])]
        if _takes_heredoc(lines[index])
        else []
    )
    while index < len(lines):
        line = lines[index].rstrip()
        is_comment = line.lstrip().startswith("#")
        index += 1
        if not line.endswith(escape) and not (is_comment and index < len(lines)):
            break
    for word in here:
        while index < len(lines) and lines[index].strip() != word:
            index += 1
        index += 1
    return min(index, len(lines))


def _takes_heredoc(line: str) -> bool:
    return line.split(None, 1)[0].upper() in {"RUN", "COPY", "ADD"}
