"""Build contexts: a user's Dockerfile built by BuildKit, with the operator's index and authorities as secrets."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from docker import APIClient
from docker.errors import APIError, BuildError, DockerException

from deployments.environments import process
from deployments.environments.guard import Guard
from deployments.environments.interpreters import inherited
from deployments.environments.uv_command import Cancel, EnvironmentSettings, Log, redacted
from deployments.images.bounds import bound_steps, bounds_of
from deployments.images.dockerfiles import (
    SECRETS,
    SYNTAX,
    explained,
    read_dockerfile,
    readable,
    with_secrets,
)
from deployments.images.engine import follow, identity
from deployments.images.settings import ImageSettings
from workspaces.errors import UserError

_NOISE = re.compile(r"^#\d+ sha256:[0-9a-f]+\s*$")


@dataclass(frozen=True)
class ContextBuild:
    """One build of a context, with all that it needs."""

    client: APIClient
    settings: ImageSettings
    context: Path
    dockerfile: str
    """Its path in the context."""
    tag: str
    labels: dict[str, str]
    log: Log
    cancel: Cancel
    deadline: float
    """On the monotonic clock."""
    guard: Guard
    secrets_folder: Path
    """Holds credentials for as long as the build takes; the caller clears what a dead build left."""

    cache_scope: str = ""
    """Whose cache mounts it shares: a cache that others fill could put packages into this image."""

    @property
    def text(self) -> str:
        """The Dockerfile; `UserError` for one that is not there."""
        return read_dockerfile(self.context, self.dockerfile)


def build_context(build: ContextBuild) -> str:
    """Build and tag; the id. Raises `BuildFailed` naming the line, `UserError` for the file, `Cancelled`."""
    text = build.text
    with _only_meanwhile(build.secrets_folder):
        program = buildkit_program()
        if program is None:
            build.log(
                "Warning: There is no docker command with BuildKit here; index and authorities are not passed in."
            )
            _classic(build, text)
        else:
            bounds = bounds_of(build.client, build.settings)
            if bound_steps(build.settings, bounds):
                build.log(f"The steps of all builds here may use {bounds.in_words()}")
            else:
                build.log("Warning: The steps have no limit of memory and processes here.")
            _buildkit(build, text, program)
    return identity(build.client, build.tag)


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


def _buildkit(build: ContextBuild, text: str, program: str) -> None:
    folder = build.secrets_folder
    rewritten = folder / "Dockerfile"
    rewritten.write_text(
        with_secrets(
            text,
            keep_syntax=_has_frontend(build.client, text),
            cache_scope=build.cache_scope,
        ),
        encoding="utf-8",
    )
    ignored = build.context / f"{build.dockerfile}.dockerignore"
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
        build.tag,
    ]
    arguments += ["--network", "default"]
    for name, value in build.labels.items():
        arguments += ["--label", f"{name}={value}"]
    for name, content in secret_files(build.settings.packages).items():
        secret = folder / f"secret-{name}"
        secret.write_text(content, encoding="utf-8")
        secret.chmod(0o600)
        arguments += ["--secret", f"id=portico_{name},src={secret}"]
    is_by_ssh = build.settings.address.url.startswith("ssh:")
    environment = inherited(*(["SSH_AUTH_SOCK"] if is_by_ssh else [])) | {
        "DOCKER_BUILDKIT": "1",
        "DOCKER_HOST": build.settings.address.url,
        "HOME": str(Path.home()),
    }
    if build.settings.address.cert_path:
        environment["DOCKER_CERT_PATH"] = build.settings.address.cert_path
        environment["DOCKER_TLS_VERIFY"] = "1" if build.settings.address.tls_verify else ""
    if build.settings.docker_config is not None:
        credentials = folder / "config"
        credentials.mkdir(mode=0o700)
        (credentials / "config.json").symlink_to(build.settings.docker_config.absolute())
        environment["DOCKER_CONFIG"] = str(credentials)
    done = process.run(
        [*arguments, build.context],
        environment=environment,
        deadline=build.deadline,
        log=lambda line: None if _NOISE.match(line) else build.log(readable(redacted(line))),
        cancel=build.cancel,
        keep_open=(build.guard.descriptor,),
        started=build.guard.note,
    )
    if done.code != 0:
        raise explained(readable(redacted(done.text)), text, build.dockerfile)


def _classic(build: ContextBuild, text: str) -> None:
    """The engine's own old builder, which knows no secrets."""
    said: list[str] = []
    bounds = bounds_of(build.client, build.settings)
    try:
        for event in follow(
            lambda: build.client.build(
                path=str(build.context),
                dockerfile=build.dockerfile,
                tag=build.tag,
                labels=build.labels,
                container_limits={"memory": bounds.memory_bytes, "memswap": bounds.memory_bytes},
                rm=True,
                forcerm=True,
                decode=True,
            ),
            cancel=build.cancel,
            deadline=build.deadline,
        ):
            for line in str(event.get("stream") or event.get("error") or "").splitlines():
                if line.strip():
                    said.append(line)
                    build.log(line)
            if "error" in event:
                raise explained("\n".join(said), text, build.dockerfile)
    except (APIError, BuildError) as error:
        raise explained("\n".join([*said, str(error)]), text, build.dockerfile) from error


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


def _has_frontend(client: APIClient, text: str) -> bool:
    """Whether the image that a `# syntax=` line names can be had; without a registry the engine's own does."""
    first = text.splitlines()[:1]
    named = SYNTAX.match(first[0]) if first else None
    if named is None:
        return True
    if identity(client, named["image"]):
        return True
    try:
        client.inspect_distribution(named["image"])
    except DockerException:
        return False
    return True


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""
