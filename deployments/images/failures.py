"""What an engine said, in one sentence with evidence and the way out. Pure; tested on real outputs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from deployments.environments.failures import MAX_EVIDENCE_LINES, BuildFailure, Fix

CODE = "ImageBuildFailure"
KILLED = "137"

_FULL = re.compile(r"no space left on device|disk quota exceeded", re.I)
_ABSENT = re.compile(
    r"manifest unknown|manifest for \S+ not found|not found: manifest|: not found", re.I
)
_DENIED = re.compile(
    r"unauthorized|pull access denied|denied: |no basic auth credentials|403 Forbidden", re.I
)
_NO_CREDENTIALS = re.compile(r"no basic auth credentials", re.I)
_WRONG_CREDENTIALS = re.compile(
    r"unauthorized: (?:authentication required|incorrect username|HTTP Basic)|401 Unauthorized|"
    r"failed to authorize|invalid_token",
    re.I,
)
_UNTRUSTED = re.compile(r"x509: |certificate signed by unknown|certificate verify failed", re.I)
_PLAIN = re.compile(r"server gave HTTP response to HTTPS client", re.I)
_UNREACHED = re.compile(
    r"no such host|i/o timeout|connection refused|network is unreachable|TLS handshake timeout|"
    r"context deadline exceeded|Client\.Timeout|EOF$",
    re.I,
)
_STAMP = re.compile(r"^#\d+ (?:\d+\.\d+ )?")
_PROGRESS = re.compile(
    r"^#\d+(?: (?:sha256:\S*|CACHED|DONE\b.*|\d+\.\d+|resolve \S+.*|extracting .*|transferring .*))?\s*$"
)
_REPEATED = re.compile(r"^\s*> \[.*\].*:\s*$")
"""BuildKit ends with the name of the step that failed, and what it said once more."""
_OPEN_LOG = Fix("View build log", "open_build_log")
_RETRY = Fix("Retry", "retry")
_EDIT_IMAGE = Fix("Choose another image", "edit_environment", "image")


def silent_engine(said: str) -> BuildFailure:
    return BuildFailure(
        CODE,
        "The Docker engine does not answer. An operator starts it, or names another one in DOCKER_HOST.",
        (said[:400],),
        (_RETRY,),
        is_transient=True,
    )


def engine_failed(said: str) -> BuildFailure:
    """A refusal of the engine itself, about no image in particular."""
    return disk_full_of(said) or BuildFailure(
        CODE,
        f"The Docker engine refused: {said[:300].rstrip('.')}.",
        (said[:400],),
        (_RETRY, _OPEN_LOG),
        is_transient=True,
    )


def disk_full_of(said: str) -> BuildFailure | None:
    if not _FULL.search(said):
        return None
    return BuildFailure(
        "DiskFull",
        "The engine's disk filled up while the image was built.",
        (said[:400],),
        (Fix("Delete unused environments", "free_disk"), _RETRY),
    )


def pull_failed(reference: str, said: str) -> BuildFailure:
    """An image that is not on the engine and could not be fetched."""
    full = disk_full_of(said)
    if full is not None:
        return full
    registry = registry_of(reference)
    way_out = (
        f"Load it onto the engine (docker load, or docker pull where {registry} can be reached), or name another "
        "image."
    )
    transient = False
    if _ABSENT.search(said):
        sentence = f"The image {reference} does not exist in {registry}. Correct its name or tag."
    elif _NO_CREDENTIALS.search(said):
        sentence = (
            f"{registry} asks for credentials to give {reference}, and there are none for it here. "
            f"{_sign_in(registry)}"
        )
    elif _WRONG_CREDENTIALS.search(said):
        sentence = (
            f"{registry} does not give {reference} for the credentials that are here: they are missing, wrong or "
            f"have expired. {_sign_in(registry)}"
        )
    elif _DENIED.search(said):
        sentence = (
            f"{registry} refused the image {reference}: it does not exist there, or the credentials are missing or "
            f"may not read it. {_sign_in(registry)}"
        )
    elif _UNTRUSTED.search(said):
        sentence = (
            f"The engine does not trust the certificate of {registry}. An operator puts its authority on the engine's "
            f"machine as /etc/docker/certs.d/{registry}/ca.crt; for Dockerfiles the engine reads that when it starts."
        )
    elif _PLAIN.search(said):
        sentence = (
            f"{registry} speaks plain http, which the engine takes from nobody. Give it a certificate, or an operator "
            "names it in insecure-registries of the engine's daemon.json."
        )
    elif _UNREACHED.search(said):
        sentence = (
            f"The image {reference} is not on the engine, and {registry} cannot be reached from it. "
            f"{way_out}"
        )
        transient = True
    else:
        sentence = f"The image {reference} could not be fetched from {registry}. {way_out}"
        transient = True
    return BuildFailure(
        CODE, sentence, (said[:400],), (_EDIT_IMAGE, _RETRY), is_transient=transient
    )


def credentials_failed(said: str, *, reference: str = "") -> BuildFailure:
    """The file with the registries' credentials, or a program that it names, gave none."""
    what = f"The credentials for {registry_of(reference)}" if reference else "Credentials"
    return BuildFailure(
        CODE,
        f"{what} cannot be read: {said[:200].rstrip('.')}. An operator corrects the file that PORTICO_DOCKER_CONFIG "
        "names, or puts the helper program that it names on the PATH of Portico.",
        (said[:400],),
        (_EDIT_IMAGE, _RETRY),
    )


def _sign_in(registry: str) -> str:
    return (
        f"An operator signs in with 'docker login {registry}' as the user who runs Portico, or writes the file that "
        "PORTICO_DOCKER_CONFIG names; no restart is needed."
    )


def registry_of(reference: str) -> str:
    """The host that a reference means; `docker.io` when it names none."""
    head, slash, _ = reference.partition("/")
    is_host = bool(slash) and ("." in head or ":" in head or head == "localhost")
    return head if is_host else "docker.io"


def other_architecture(reference: str, its: str, ours: str) -> BuildFailure:
    """An image whose programs the engine's machine does not run."""
    return BuildFailure(
        CODE,
        f"The image {reference} is for {its}, and the engine's machine is {ours}. Name an image for {ours}.",
        fixes=(_EDIT_IMAGE,),
    )


def no_python(reference: str, *, wanted: str = "", found: Sequence[str] = ()) -> BuildFailure:
    """An image without a Python that a scoring script could run on."""
    if wanted:
        there = f" (it has {', '.join(found)})" if found else ""
        sentence = (
            f"The environment asks for Python {wanted}, which the image {reference} does not have{there} and which "
            "cannot be brought into it. Name an image with that Python, or another version in the conda file."
        )
        return BuildFailure(
            "PythonMismatch",
            sentence,
            fixes=tuple(Fix(f"Use Python {each}", "set_python", each) for each in found[:1]),
        )
    return BuildFailure(
        CODE,
        f"There is no Python from 3.8 to 3.13 in the image {reference}, so no scoring script can run in it. Add a "
        "conda file, or give the environment an inference_config if the image has a server of its own.",
        fixes=(Fix("Add a conda file", "edit_environment"), _EDIT_IMAGE),
    )


def dockerfile_failed(
    output: str, *, line: int | None, step: str, name: str, base: str = ""
) -> BuildFailure:
    """A Dockerfile that could not be built; `base` is the image whose fetching failed, if that was it."""
    full = disk_full_of(output)
    if full is not None:
        return full
    output = _said_by_steps(output)
    evidence = _from_failed_step(output)
    where = f"{name}, line {line}" if line else name
    if base:
        reason = pull_failed(base, output)
        return BuildFailure(
            CODE,
            f"{where}: {reason.sentence}",
            evidence,
            (_EDIT_IMAGE, _RETRY),
            is_transient=reason.is_transient,
        )
    reason_said = _reason(output)
    shown = f"'{step[:120]}' failed" if step else "the build failed"
    return BuildFailure(
        CODE,
        f"{where}: {shown}{reason_said}.",
        evidence,
        (Fix("Edit the Dockerfile", "edit_environment", name), _OPEN_LOG),
    )


def conda_failed(output: str) -> BuildFailure:
    """conda's own words for packages that are not there or do not go together."""
    lines = tuple(text.rstrip()[:400] for text in output.splitlines() if text.strip())
    evidence = lines[-MAX_EVIDENCE_LINES:]
    names = re.findall(r"^\s+- ([A-Za-z0-9_.\-]+[^\s]*)", output, re.M)
    listed = ", ".join(dict.fromkeys(names[:6]))
    if re.search(
        r"PackagesNotFound|ResolvePackageNotFound|does not exist|nothing provides", output
    ):
        sentence = (
            f"conda does not find {listed or 'a package'} in the channels of the environment."
        )
    elif re.search(r"Unsatisfiable|conflict|incompatible", output, re.I):
        sentence = f"conda finds no versions that go together: {listed or 'see the build log'}."
    else:
        sentence = (
            f"conda could not make the environment: {lines[-1] if lines else 'it gave no reason'}."
        )
    return BuildFailure(
        CODE, sentence, evidence, (Fix("Edit the environment", "edit_environment"), _OPEN_LOG)
    )


def _said_by_steps(output: str) -> str:
    """BuildKit's output without its stamps and its progress."""
    said = []
    for line in output.splitlines():
        if _PROGRESS.match(line) or set(line) == {"-"}:
            continue
        said.append(_STAMP.sub("", line))
    return "\n".join(said)


def _from_failed_step(output: str) -> tuple[str, ...]:
    """What the step that failed said, once; all of it where no step is known."""
    lines = [text.rstrip()[:400] for text in output.splitlines() if text.strip()]
    repeated = [i for i, line in enumerate(lines) if _REPEATED.match(line)]
    if repeated:
        name = lines[repeated[-1]].strip().removeprefix("> ").rstrip(":")
        begins = [i for i, line in enumerate(lines) if line.strip() == name]
        if begins:
            told = lines[begins[-1] : repeated[-1]]
            return (told[0], *told[1:][-(MAX_EVIDENCE_LINES - 1) :])
    plain = [line for line in lines if not line.startswith("[internal]")]
    return tuple((plain or lines)[-MAX_EVIDENCE_LINES:])


def _reason(output: str) -> str:
    """What the failed step itself said last, where that is telling."""
    telling = re.compile(
        r"(?:^|\s)(?P<said>(?:ERROR: |E: |error: |fatal: )?(?:No matching distribution found for \S+|"
        r"Unable to locate package \S+|[^\n]*: not found|[^\n]*No such file or directory[^\n]*|"
        r"unknown instruction: \S+|[^\n]*\": not found|Could not find a version[^\n]*|ResolutionImpossible[^\n]*|"
        r"Cannot install [^\n]*|unknown flag: \S+))",
    )
    found = list(telling.finditer(output))
    if found:
        return f": {found[-1]['said'].strip()[:200].rstrip('.')}"
    code = re.search(r"exit code: (\d+)|returned a non-zero code: (\d+)", output)
    number = (code[1] or code[2]) if code else ""
    if number == KILLED:
        return (
            " with exit code 137: it was killed, most likely because it needed more memory than builds may have "
            "(PORTICO_BUILD_MEMORY_BYTES)"
        )
    return f" with exit code {number}" if number else ""
