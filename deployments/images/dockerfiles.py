"""Build contexts: a user's Dockerfile built by BuildKit, with the operator's index and authorities as secrets.

Each RUN gets them as mounts, which are in no layer; what names them in the history are paths without meaning
outside the build.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from docker import APIClient
from docker.errors import APIError, BuildError, DockerException

from deployments.environments import process
from deployments.environments.failures import BuildFailed
from deployments.environments.guard import Guard
from deployments.environments.interpreters import inherited
from deployments.environments.uv_command import Cancel, EnvironmentSettings, Log, redacted
from deployments.images.engine import follow, identity
from deployments.images.failures import dockerfile_failed
from deployments.images.settings import ImageSettings
from workspaces.errors import UserError

SECRETS = "/run/portico"
LARGEST_DOCKERFILE_BYTES = 1_000_000
_INSTRUCTION = re.compile(r"^\s*(?P<word>[A-Za-z]+)\s+(?P<rest>.*)$", re.S)
_SYNTAX = re.compile(r"^#\s*syntax\s*=\s*(?P<image>\S+)\s*$", re.I)
_ESCAPE = re.compile(r"^#\s*escape\s*=\s*(?P<character>[\\`])\s*$", re.I)
_HEREDOC = re.compile(r"<<-?\s*[\"']?(?P<word>[A-Za-z_][A-Za-z0-9_]*)[\"']?")
_FLAGS = re.compile(r"^(?P<flags>(?:--\S+\s+)*)(?P<command>.*)$", re.S)
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


def with_secrets(text: str, *, keep_syntax: bool) -> str:
    """The Dockerfile whose every RUN sees the operator's settings; lines keep their numbers."""
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
        first = (
            f"RUN {_MOUNTS} {parts['flags']}{f'. {SECRETS}/env; ' if is_plain else ''}{command}"
        )
        lines[each.line - 1 : each.line - 1 + each.text.count("\n") + 1] = first.split("\n")
    if not keep_syntax:
        lines = ["#" if _SYNTAX.match(line) else line for line in lines]
    return "\n".join(lines) + "\n"


def build_context(
    client: APIClient,
    settings: ImageSettings,
    *,
    context: Path,
    dockerfile: str,
    tag: str,
    labels: dict[str, str],
    log: Log,
    cancel: Cancel,
    deadline: float,
    guard: Guard,
    secrets_folder: Path,
) -> str:
    """Build and tag; the id. Raises `BuildFailed` naming the line, `UserError` for the file, `Cancelled`.

    `secrets_folder` holds credentials for as long as the build takes; the caller clears what a dead build left.
    """
    text = _read(context, dockerfile)
    with _only_meanwhile(secrets_folder) as folder:
        program = buildkit_program()
        if program is None:
            log(
                "Warning: There is no docker command with BuildKit here; index and authorities are not passed in."
            )
            _classic(client, context, dockerfile, text, tag, labels, log, cancel, deadline)
        else:
            _buildkit(
                program,
                client,
                settings,
                context,
                dockerfile,
                text,
                tag,
                labels,
                log,
                cancel,
                deadline,
                guard,
                folder,
            )
    return identity(client, tag)


@contextmanager
def _only_meanwhile(folder: Path) -> Iterator[Path]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@cache
def buildkit_program() -> str | None:
    """A docker command that can use BuildKit: from 23 on that is a plugin, which may be missing."""
    seen = set()
    for place in [*inherited().get("PATH", "").split(os.pathsep), "/usr/bin", "/usr/local/bin"]:
        program = shutil.which("docker", path=place) if place else None
        if program is None or program in seen:
            continue
        seen.add(program)
        version = re.search(r"version (\d+)\.", _said(program, "--version"))
        if version and (int(version[1]) < 23 or _said(program, "buildx", "version")):
            return program
    return None


def _buildkit(
    program: str,
    client: APIClient,
    settings: ImageSettings,
    context: Path,
    dockerfile: str,
    text: str,
    tag: str,
    labels: dict[str, str],
    log: Log,
    cancel: Cancel,
    deadline: float,
    guard: Guard,
    folder: Path,
) -> None:
    rewritten = folder / "Dockerfile"
    rewritten.write_text(
        with_secrets(text, keep_syntax=_has_frontend(client, text)), encoding="utf-8"
    )
    ignored = context / f"{dockerfile}.dockerignore"
    if ignored.is_file():
        shutil.copyfile(ignored, folder / "Dockerfile.dockerignore")
    arguments: list[str | Path] = [
        program,
        "build",
        "--progress",
        "plain",
        "--file",
        rewritten,
        "--tag",
        tag,
    ]
    arguments += ["--network", "default"]
    for name, value in labels.items():
        arguments += ["--label", f"{name}={value}"]
    for name, content in secret_files(settings.packages).items():
        secret = folder / f"secret-{name}"
        secret.write_text(content, encoding="utf-8")
        secret.chmod(0o600)
        arguments += ["--secret", f"id=portico_{name},src={secret}"]
    environment = inherited() | {
        "DOCKER_BUILDKIT": "1",
        "DOCKER_HOST": settings.address.url,
        "HOME": str(Path.home()),
    }
    if settings.address.cert_path:
        environment["DOCKER_CERT_PATH"] = settings.address.cert_path
        environment["DOCKER_TLS_VERIFY"] = "1" if settings.address.tls_verify else ""
    if settings.docker_config is not None:
        credentials = folder / "config"
        credentials.mkdir(mode=0o700)
        (credentials / "config.json").symlink_to(settings.docker_config.absolute())
        environment["DOCKER_CONFIG"] = str(credentials)
    done = process.run(
        [*arguments, context],
        environment=environment,
        deadline=deadline,
        log=lambda line: None if _NOISE.match(line) else log(_readable(redacted(line))),
        cancel=cancel,
        keep_open=(guard.descriptor,),
        started=guard.note,
    )
    if done.code != 0:
        raise _explained(_readable(redacted(done.text)), text, dockerfile)


def _classic(
    client: APIClient,
    context: Path,
    dockerfile: str,
    text: str,
    tag: str,
    labels: dict[str, str],
    log: Log,
    cancel: Cancel,
    deadline: float,
) -> None:
    """The engine's own old builder, which knows no secrets."""
    said: list[str] = []
    try:
        for event in follow(
            lambda: client.build(
                path=str(context),
                dockerfile=dockerfile,
                tag=tag,
                labels=labels,
                rm=True,
                forcerm=True,
                decode=True,
            ),
            cancel=cancel,
            deadline=deadline,
        ):
            for line in str(event.get("stream") or event.get("error") or "").splitlines():
                if line.strip():
                    said.append(line)
                    log(line)
            if "error" in event:
                raise _explained("\n".join(said), text, dockerfile)
    except (APIError, BuildError) as error:
        raise _explained("\n".join([*said, str(error)]), text, dockerfile) from error


def secret_files(settings: EnvironmentSettings) -> dict[str, str]:
    """What a RUN may know: variables for a shell, pip's configuration, apt's, and the authorities."""
    authorities = f"{SECRETS}/authorities.pem"
    variables = {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    pip, apt = ["[global]", "disable-pip-version-check = true"], []
    if settings.index_url:
        variables |= {"PIP_INDEX_URL": settings.index_url, "UV_DEFAULT_INDEX": settings.index_url}
        pip.append(f"index-url = {settings.index_url}")
    if settings.extra_index_urls:
        joined = " ".join(settings.extra_index_urls)
        variables |= {"PIP_EXTRA_INDEX_URL": joined, "UV_INDEX": joined}
        pip.append(f"extra-index-url = {joined}")
    content = ""
    if settings.ca_bundle:
        try:
            content = Path(settings.ca_bundle).read_text(encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"The authorities in {settings.ca_bundle} cannot be read: {error.strerror}. An operator corrects "
                "PORTICO_CA_BUNDLE."
            ) from error
        for name in (
            "SSL_CERT_FILE",
            "REQUESTS_CA_BUNDLE",
            "PIP_CERT",
            "CURL_CA_BUNDLE",
            "NODE_EXTRA_CA_CERTS",
        ):
            variables[name] = authorities
        pip.append(f"cert = {authorities}")
        apt.append(f'Acquire::https::CaInfo "{authorities}";')
    variables["APT_CONFIG"] = f"{SECRETS}/apt.conf"
    quoted = {name: "'" + value.replace("'", "'\\''") + "'" for name, value in variables.items()}
    return {
        "env": "".join(f"export {name}={value}\n" for name, value in quoted.items()),
        "pip": "\n".join(pip) + "\n",
        "apt": "\n".join(apt) + "\n",
        "ca": content or "\n",
    }


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
_NOISE = re.compile(r"^#\d+ sha256:[0-9a-f]+\s*$")
_OURS = re.compile(re.escape(_MOUNTS) + rf"\s*|\. {SECRETS}/env; ")


def _readable(text: str) -> str:
    """Without what was put into each RUN."""
    return _OURS.sub("", text)


def _explained(output: str, text: str, dockerfile: str) -> BuildFailed:
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


def _read(context: Path, dockerfile: str) -> str:
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


def _has_frontend(client: APIClient, text: str) -> bool:
    """Whether the image that a `# syntax=` line names can be had; without a registry the engine's own does."""
    first = text.splitlines()[:1]
    named = _SYNTAX.match(first[0]) if first else None
    if named is None:
        return True
    if identity(client, named["image"]):
        return True
    try:
        client.inspect_distribution(named["image"])
    except DockerException:
        return False
    return True


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


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""
