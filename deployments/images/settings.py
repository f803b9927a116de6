"""What image builds are told of this installation; nothing here needs docker's SDK."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from deployments.environments.uv_command import EnvironmentSettings
from deployments.runtimes.docker.addresses import EngineAddress


@dataclass(frozen=True)
class BuildLimits:
    """What a build may take of the engine's machine; 0 where that follows from the machine."""

    memory_bytes: int = 0
    """0: half of what the engine has."""
    cores: float = 0
    """0: all of them."""
    disk_bytes: int = 20 * 1024**3
    processes: int = 1024


@dataclass(frozen=True)
class ImageSettings:
    """Which engine, and what builds on it may use."""

    installation: str
    """Marks everything that is made on the engine."""
    address: EngineAddress = field(default_factory=lambda: EngineAddress("docker"))
    base_image: str = ""
    """Below environments that name no image; empty: one made from this machine's interpreter."""
    docker_config: Path | None = None
    """File with credentials for registries; None: the user's own."""
    conda: Literal["off", "auto"] = "off"
    """Whether conda files go through the image's own conda, where it has one."""
    packages: EnvironmentSettings = field(default_factory=EnvironmentSettings)
    limits: BuildLimits = field(default_factory=BuildLimits)

    @property
    def is_local(self) -> bool:
        """Whether the engine sees this machine's files."""
        return self.address.is_local
