"""Environments: what a user's conda file means, and a folder that workers start from."""

from __future__ import annotations

from deployments.environments.curated import CuratedEnvironment, curated, curated_environments
from deployments.environments.failures import BuildFailed, BuildFailure, Fix
from deployments.environments.interpreters import Interpreter, Interpreters
from deployments.environments.process import Cancelled
from deployments.environments.resolving import Lock
from deployments.environments.specification import EnvironmentSpec, content_hash, translate
from deployments.environments.store import BuiltEnvironment, EnvironmentStore
from deployments.environments.uv_command import EnvironmentSettings

__all__ = [
    "BuildFailed",
    "BuildFailure",
    "BuiltEnvironment",
    "Cancelled",
    "CuratedEnvironment",
    "EnvironmentSettings",
    "EnvironmentSpec",
    "EnvironmentStore",
    "Fix",
    "Interpreter",
    "Interpreters",
    "Lock",
    "content_hash",
    "curated",
    "curated_environments",
    "translate",
]
