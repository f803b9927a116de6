"""The contract between provisioning and whatever really runs instances.

A runtime is six calls. What it needs comes in an `InstanceSpec`, so it reads no settings of a deployment,
no database and no Django model; where it runs things (folders, installation name) is given to its constructor.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True)
class InstanceSpec:
    """Everything one instance needs to run; equal specs have equal digests."""

    name: str
    """Unique in the installation: `<endpoint>.<deployment>.<revision>.<number>`."""
    owner: int
    """The deployment's id: instances of one owner share an operating-system user where the runtime has users."""
    code_dir: Path | None
    """The code folder (`AML_APP_ROOT`), read-only to the instance; None when there is no script."""
    scoring_script: str
    """Path of the script relative to `code_dir`."""
    model_dir: Path | None
    """Root under which the model's files lie (`AZUREML_MODEL_DIR`), read-only to the instance."""
    python: Path | None
    """Interpreter of the deployment's environment, for the workers; None: the runtime's own interpreter."""
    model_repository: str = ""
    """Path below `model_dir` of a Triton model repository, served instead of a script; empty: none."""
    image: str = ""
    """Container image, for runtimes that use one; what runs by `python` then lies inside it."""
    is_custom: bool = False
    """A custom container (facts 5.4): the image's own command serves, without our inference server."""
    command: tuple[str, ...] = ()
    """Of a custom container, instead of the image's own."""
    port: int = 5001
    """Where it listens, for runtimes whose instances have addresses of their own."""
    liveness_path: str = "/"
    readiness_path: str = "/"
    liveness_port: int = 0
    readiness_port: int = 0
    """0: the same as `port`."""
    model_mount: str = ""
    """Where `model_dir` appears inside; empty: the runtime's own place for it."""
    is_cut_off: bool = False
    """No network but the gateway's way in (`egress_public_network_access: disabled`)."""
    gpu_count: int = 0
    environment_variables: dict[str, str] = field(default_factory=dict)
    cpu_cores: float = 1.0
    memory_bytes: int = 2 * 1024**3
    worker_count: int = 1
    max_concurrent_requests: int = 1
    request_timeout_ms: int = 5000
    max_queue_wait_ms: int = 500

    @property
    def digest(self) -> str:
        """Hex SHA-256 over every field: a change of any of them makes `ensure` replace the instance."""
        text = json.dumps(asdict(self), sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()


class Phase(StrEnum):
    ABSENT = "Absent"
    STARTING = "Starting"
    HEALTHY = "Healthy"
    EXITED = "Exited"


@dataclass(frozen=True)
class InstanceStatus:
    """What a runtime sees of an instance right now."""

    phase: Phase
    address: str = ""
    """Where it is reached, as soon as it can be: `unix:/path/to.sock` or `host:port`; once Healthy it answers there."""
    node: str = ""
    """The engine that runs it; empty for a process of this machine."""
    code: str = ""
    """A failure code of Azure's (facts 7.4) when Exited or stuck: `UserScriptImportError`, `OutOfMemory`, …"""
    reason: str = ""
    """One sentence for the user."""
    evidence: tuple[str, ...] = ()
    """At most twelve lines that show it."""
    exit_code: int | None = None
    started_at: datetime | None = None
    digest: str = ""
    """The digest of the spec it runs under; empty when absent."""


@dataclass(frozen=True)
class Usage:
    cpu_percent: float
    """Of the instance's own limit, 0..100."""
    memory_bytes: int
    memory_limit_bytes: int
    gpu_percent: float | None = None


@dataclass(frozen=True)
class LogLine:
    time: datetime
    text: str


class RuntimeAway(OSError):
    """What runs the instances (an engine, a cluster) does not answer now; what it runs may well go on."""


class Runtime(Protocol):
    """Runs instances. Every call returns within seconds, may be repeated, and never waits for health."""

    def ensure(self, spec: InstanceSpec) -> InstanceStatus:
        """Start the instance, or find it running; one under another digest is replaced, one that exited starts again.

        What cannot even be started comes back as Exited with the reason; nothing is raised for it.
        """
        ...

    def inspect(self, name: str) -> InstanceStatus:
        """Absent, Starting, Healthy with an address, or Exited with the reason."""
        ...

    def logs(self, name: str, *, since: datetime) -> Iterator[LogLine]:
        """Console lines from `since` on, oldest first; also of an instance that has exited."""
        ...

    def usage(self, name: str) -> Usage | None:
        """Live CPU and memory; None when it does not run."""
        ...

    def remove(self, name: str, *, grace_seconds: float = 0) -> None:
        """Stop and forget it, after at most `grace_seconds` for requests in flight. Missing is success."""
        ...

    def owned(self) -> Iterator[str]:
        """Names of everything that runs (or has run and is not removed) under this installation's mark."""
        ...


@runtime_checkable
class GrantsFiles(Protocol):
    """A runtime whose instances run as users of their own also opens files for them."""

    def grant(self, path: Path, owner: int) -> None:
        """Let the owner's instances, and no other's, read `path` and all below it; may be repeated."""
        ...


@runtime_checkable
class FollowsLogs(Protocol):
    """A runtime that keeps consoles itself and hands lines over as they come."""

    def follow(self, name: str, *, since: datetime) -> Iterator[LogLine]:
        """Lines from `since` on, then each new one, until the instance ends; waits, so give it a thread of its own."""
        ...


@runtime_checkable
class KnowsRunning(Protocol):
    """A runtime that can say at once what runs: the sweep then needs no look at each instance."""

    def running(self) -> set[str]:
        """Names of the instances whose main process runs now, ready or not; cheap, however many there are."""
        ...


RUNTIMES: dict[str, str] = {
    "process": "deployments.runtimes.process.ProcessRuntime",
    "docker": "deployments.runtimes.docker.runtime.DockerRuntime",
    "fake": "deployments.runtimes.fake.FakeRuntime",
}
"""Every runtime by dotted path, imported on first use: a client library that is not installed harms no one."""


def load(name: str, **where: Any) -> Runtime:
    """Make the runtime called `name`; `where` goes to its constructor. ValueError names the known ones."""
    try:
        module, _, attribute = RUNTIMES[name].rpartition(".")
    except KeyError:
        known = ", ".join(sorted(RUNTIMES))
        raise ValueError(f"There is no runtime called '{name}'. Known: {known}.") from None
    runtime: Runtime = getattr(importlib.import_module(module), attribute)(**where)
    return runtime
