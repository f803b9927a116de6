"""What a user asked for, what it means, and the hash that says when two wishes are one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from deployments.environments.conda import (
    Translation,
    minimal_translation,
    translate_conda,
    translate_requirements,
)
from deployments.environments.curated import curated
from workspaces.errors import UserError

HASH_VERSION = 1
HASH_CHARACTERS = 32


@dataclass(frozen=True)
class EnvironmentSpec:
    """One of `conda_text`, `requirements_text`, `curated_name`, or none: the minimal environment.

    `folder` holds the files that the text points to (`-r more.txt`, `./wheels/own.whl`). `python`
    is a minor version and loses to the one the conda file names.
    """

    conda_text: str = ""
    requirements_text: str = ""
    curated_name: str = ""
    python: str = ""
    folder: Path | None = None


def translate(spec: EnvironmentSpec) -> Translation:
    """The requirements behind a wish; raises `UserError` naming what is wrong with it."""
    given = [
        name
        for name in ("conda_text", "requirements_text", "curated_name")
        if getattr(spec, name).strip()
    ]
    if len(given) > 1:
        raise UserError(
            f"An environment is described by one of conda file, requirements and curated name, "
            f"not by {len(given)}.",
            target="environment",
        )
    if spec.conda_text.strip():
        translation = translate_conda(spec.conda_text, folder=spec.folder)
    elif spec.requirements_text.strip():
        translation = translate_requirements(
            spec.requirements_text, python=spec.python, folder=spec.folder
        )
    elif spec.curated_name.strip():
        known = curated(spec.curated_name)
        if known is None:
            raise UserError(
                f"{spec.curated_name!r} is not one of the curated environments known here. "
                "List them with their packages in the studio, or give a conda file.",
                code="ResourceNotFound",
                target="environment",
                status=404,
            )
        translation = known.translation()
    else:
        translation = minimal_translation()
    return translation if translation.python else _with_python(translation, spec.python)


def content_hash(spec: EnvironmentSpec) -> str:
    """32 hex digits, the same for wishes with the same requirements, Python and local files."""
    return hash_of(translate(spec))


def hash_of(translation: Translation) -> str:
    """The hash of a translated wish; files count by content, so moving them changes nothing."""
    lines = list(translation.requirements)
    for path in translation.local_paths:
        lines = [line.replace(path.as_posix(), f"sha256:{_digest(path)}") for line in lines]
    content = json.dumps([HASH_VERSION, translation.python, lines])
    return hashlib.sha256(content.encode()).hexdigest()[:HASH_CHARACTERS]


def _with_python(translation: Translation, python: str) -> Translation:
    named = translate_requirements("", python=python) if python else translation
    return Translation(
        python=named.python,
        requirements=translation.requirements,
        warnings=translation.warnings,
        channels=translation.channels,
        variables=translation.variables,
        conda_names=translation.conda_names,
        local_paths=translation.local_paths,
    )


def _digest(path: Path) -> str:
    """Names and bytes of a file, or of everything in a folder."""
    total = hashlib.sha256()
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for file in files:
        total.update(file.relative_to(path.parent).as_posix().encode() + b"\0")
        with file.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()
