"""What an image is wished to be, and the hash that says when two wishes are one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from deployments.environments.specification import EnvironmentSpec

HASH_VERSION = 1
KEY_CHARACTERS = 32


@dataclass(frozen=True)
class ImageSpec:
    """An image, a build context, packages, or an image with packages.

    Without any of them it is the house's base image with the minimal environment.
    """

    image: str = ""
    """Reference of an image that is on the engine, or that a registry has."""
    environment: EnvironmentSpec | None = None
    """Packages to put on top; None: the image as it is."""
    context: Path | None = None
    """Folder of a build context. It excludes `image` and `environment`."""
    context_hash: str = ""
    """Content hash of that folder."""
    dockerfile: str = "Dockerfile"
    """Path of the Dockerfile, relative to the context."""
    cache_scope: str = ""
    """Whose cache mounts a Dockerfile shares; the image is the same without."""
    is_custom: bool = False
    """A custom container (facts 5.4): it brings its own server and needs no Python."""


@dataclass(frozen=True)
class BuiltImage:
    """An image on the engine, ready to start instances from."""

    key: str
    reference: str
    """Its id on the engine."""
    python: str
    """The interpreter for workers, inside; empty for a custom container without one."""
    python_version: str
    warnings: tuple[str, ...] = ()
    was_cached: bool = False
    size_bytes: int = 0


def key_of(*facts: object) -> str:
    """Hex digits that are the same for equal facts."""
    content = json.dumps([HASH_VERSION, *facts], default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:KEY_CHARACTERS]
