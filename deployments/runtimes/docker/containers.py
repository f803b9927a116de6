"""What the engine is told about a container: pure, from the spec and the facts of its image."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from docker.types import DeviceRequest, HostConfig, LogConfig, Mount, Ulimit

from deployments.runtimes import InstanceSpec
from deployments.runtimes.commands import APP_ROOT, server_flags, thread_limits
from deployments.runtimes.docker.bundle import INSIDE
from deployments.runtimes.docker.networks import INSTALLATION, OWNER

INSTANCE, DIGEST, FACTS = "portico.instance", "portico.digest", "portico.facts"
CORES, MEMORY, GPUS = "portico.cores", "portico.memory", "portico.gpus"

MODELS = "azureml-models"
PROCESSES_EACH = 2048
LOG_OPTIONS = {"max-size": "16m", "max-file": "2"}
TEMPORARY = ("/tmp", "/var/tmp", "/run")
SMALLEST_TEMPORARY_BYTES = 16 * 1024**2
OOM_SCORE = 500
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Source:
    """Content that appears inside, for reading alone."""

    path: Path
    inside: str


@dataclass(frozen=True)
class Plan:
    """One container, as far as the engine it goes to does not matter."""

    spec: InstanceSpec
    user: str
    """Number of user and group, or the image's own user."""
    group: str
    """Numeric group that may read code and model."""
    server: tuple[str, ...]
    """What starts our server inside; not used by custom containers."""
    bundle: Path
    network: str
    image_variables: dict[str, str] = field(default_factory=dict)
    image_volumes: tuple[str, ...] = ()
    """Folders that the image wants kept on the engine's disk."""
    is_root_writable: bool = False
    more: tuple[Source, ...] = ()
    """Further content that appears inside."""

    @property
    def code_inside(self) -> PurePosixPath | None:
        return APP_ROOT / self.spec.code_dir.name if self.spec.code_dir else None

    @property
    def model_inside(self) -> PurePosixPath | None:
        return model_place(self.spec)

    def sources(self) -> list[Source]:
        """What is mounted: the server, the code, the model."""
        found = [] if self.spec.is_custom else [Source(self.bundle, INSIDE)]
        if self.spec.code_dir is not None:
            found.append(Source(self.spec.code_dir, str(self.code_inside)))
        if self.spec.model_dir is not None:
            found.append(Source(self.spec.model_dir, str(self.model_inside)))
        return [*found, *self.more]

    def scratch(self) -> list[Mount]:
        """The image's volumes, in memory: on the engine's disk they would be the one place without a limit.

        Where the root is writable anyway they stay as they are, with what the image has in them.
        """
        if self.is_root_writable:
            return []
        taken = {*TEMPORARY, *(source.inside for source in self.sources())}
        return [
            Mount(place, None, type="tmpfs", tmpfs_size=self.temporary_bytes, tmpfs_mode=0o1777)
            for place in self.image_volumes
            if place.rstrip("/") not in taken
        ]

    @property
    def temporary_bytes(self) -> int:
        return max(SMALLEST_TEMPORARY_BYTES, self.spec.memory_bytes // 2)

    def command(self) -> list[str] | None:
        """None: the image's own."""
        spec = self.spec
        if spec.is_custom:
            return list(spec.command) or None
        script = None
        if self.code_inside is not None and spec.scoring_script:
            script = self.code_inside / spec.scoring_script
        return [
            *self.server,
            *server_flags(spec, entry_script=script, model_dir=self.model_inside),
            *("--python", str(spec.python or "python3")),
            *("--host", "0.0.0.0", "--port", str(spec.port), "--status_file", "-"),
        ]

    def environment(self) -> dict[str, str]:
        """All it sees beside the image's own variables; the user's win."""
        spec, image = self.spec, self.image_variables
        values = thread_limits(spec) | {"HOME": "/tmp", "TMPDIR": "/tmp"}
        if spec.is_custom:
            values = {"HOME": "/tmp"} if self.user.partition(":")[0].isdecimal() else {}
        else:
            values["PORTICO_LOG_REQUESTS"] = "false"
            if "LANG" not in image:
                values["LANG"] = "C.UTF-8"
        if spec.python is not None:
            values["PATH"] = f"{spec.python.parent}:{image.get('PATH', DEFAULT_PATH)}"
        if self.code_inside is not None:
            values["AML_APP_ROOT"] = str(self.code_inside)
            if spec.scoring_script:
                values["AZUREML_ENTRY_SCRIPT"] = spec.scoring_script
        if self.model_inside is not None:
            values["AZUREML_MODEL_DIR"] = str(self.model_inside)
        return values | spec.environment_variables

    def labels(self, installation: str) -> dict[str, str]:
        """Enough to find, to adopt and to judge it, and nothing secret."""
        spec = self.spec
        facts = {
            "is_custom": spec.is_custom,
            "port": spec.port,
            "readiness_path": spec.readiness_path,
            "readiness_port": spec.readiness_port or spec.port,
        }
        return {
            INSTALLATION: installation,
            OWNER: str(spec.owner),
            INSTANCE: spec.name,
            DIGEST: spec.digest,
            CORES: f"{spec.cpu_cores:g}",
            MEMORY: str(spec.memory_bytes),
            GPUS: str(spec.gpu_count),
            FACTS: json.dumps(facts),
        }

    def ports(self) -> list[int]:
        """What is listened on inside."""
        return sorted({self.spec.port, self.spec.readiness_port or self.spec.port})

    def limits(self, *, most_cores: float) -> dict[str, Any]:
        """Everything that keeps it in its place."""
        spec = self.spec
        options = f"rw,nosuid,nodev,exec,mode=1777,size={self.temporary_bytes}"
        limits: dict[str, Any] = {
            "mem_limit": spec.memory_bytes,
            "memswap_limit": spec.memory_bytes,
            "nano_cpus": int(min(spec.cpu_cores, most_cores) * 1e9),
            "pids_limit": PROCESSES_EACH,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges:true"],
            "read_only": not self.is_root_writable,
            "tmpfs": dict.fromkeys(TEMPORARY, options),
            "shm_size": self.temporary_bytes,
            "ulimits": [
                Ulimit(name="core", soft=0, hard=0),
            ],
            "oom_score_adj": OOM_SCORE,
            "init": True,
            "group_add": [self.group],
            "network_mode": self.network,
            "log_config": LogConfig(type="json-file", config=LOG_OPTIONS),
        }
        if spec.gpu_count:
            limits["device_requests"] = [
                DeviceRequest(count=spec.gpu_count, capabilities=[["gpu"]])
            ]
        return limits

    def body(
        self,
        installation: str,
        *,
        version: str,
        most_cores: float,
        mounts: list[Mount],
        published: dict[str, Any],
    ) -> dict[str, Any]:
        """What `create_container` of docker's SDK is given."""
        spec = self.spec
        ours: dict[str, Any] = {}
        command = self.command()
        if command is not None:
            ours = {
                "entrypoint": command,
                "working_dir": str(self.code_inside or "/tmp"),
                "stop_signal": "SIGTERM",
            }
        return {
            "image": spec.image,
            "user": self.user,
            "environment": self.environment(),
            "labels": self.labels(installation),
            "ports": sorted(
                {*map(str, self.ports()), *(port.partition("/")[0] for port in published)}
            ),
            "healthcheck": {"test": ["NONE"]},
            # Nothing of the portal's own surroundings.
            "use_config_proxy": False,
            "host_config": HostConfig(
                version=version,
                mounts=mounts,
                port_bindings=published,
                **self.limits(most_cores=most_cores),
            ),
            **ours,
        }


def model_place(spec: InstanceSpec) -> PurePosixPath | None:
    """Where the model appears: `/var/azureml-app/azureml-models/<name>/<version>` unless told otherwise (facts 4.3)."""
    if spec.model_dir is None:
        return None
    if spec.model_mount:
        return PurePosixPath(spec.model_mount)
    parts = spec.model_dir.parts
    tail = parts[parts.index(MODELS) + 1 :] if MODELS in parts else parts[-1:]
    return APP_ROOT.joinpath(MODELS, *tail)


def variables_of(image: dict[str, Any]) -> dict[str, str]:
    """The environment that an image brings."""
    pairs = (image.get("Config") or {}).get("Env") or []
    return dict(pair.partition("=")[::2] for pair in pairs)


def volumes_of(image: dict[str, Any]) -> tuple[str, ...]:
    """The folders that an image declares as volumes."""
    return tuple(sorted((image.get("Config") or {}).get("Volumes") or {}))


def own_user_of(image: dict[str, Any]) -> str:
    """The image's user, unless that is root or nobody was named."""
    user = str((image.get("Config") or {}).get("User") or "")
    return "" if user.partition(":")[0] in {"", "0", "root"} else user
