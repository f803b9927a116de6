"""What a dialog says, in plain values: the input of the writers. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
"""Azure's usual image, which the SDK wants beside a conda file."""


@dataclass(frozen=True)
class Local:
    """A folder or a file in the folder where the code is run."""

    path: str
    is_folder: bool = True
    files: tuple[str, ...] = ()
    """Paths in the folder, where they are known."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Files that were typed in, which the code writes first: path in the folder → text."""

    @property
    def inner(self) -> tuple[str, ...]:
        return tuple(self.texts) or self.files


@dataclass(frozen=True)
class Packages:
    """An environment that is not registered: an image, and what a conda file says."""

    conda: Mapping[str, Any] | None = None
    image: str = IMAGE
    build: Local | None = None
    """The folder of a Dockerfile, in place of an image."""
    routes: Mapping[str, Any] = field(default_factory=dict)
    """`inference_config`, where the image has a server of its own."""


@dataclass(frozen=True)
class Endpoint:
    name: str
    auth_mode: str = "key"
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    traffic: Mapping[str, int] = field(default_factory=dict)
    mirror_traffic: Mapping[str, int] = field(default_factory=dict)
    compute: str = ""
    """The attached compute on which its deployments run."""


@dataclass(frozen=True)
class Deployment:
    """Texts as references are `azureml:…` addresses."""

    endpoint: str
    name: str
    model: str | Local | None = None
    code: str | Local | None = None
    scoring_script: str = "score.py"
    environment: str | Packages | None = None
    environment_variables: Mapping[str, str] = field(default_factory=dict)
    instance_type: str = "Standard_DS3_v2"
    instance_count: int = 1
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    app_insights_enabled: bool = False
    request_timeout_ms: int = 5000
    max_concurrent_requests_per_instance: int = 1
    max_queue_wait_ms: int = 500
    liveness_probe: Mapping[str, int] = field(default_factory=dict)
    readiness_probe: Mapping[str, int] = field(default_factory=dict)
    startup_probe: Mapping[str, int] = field(default_factory=dict)
    """Known to REST alone: the YAML and the SDK have none."""
    properties: Mapping[str, str] = field(default_factory=dict)
    model_mount_path: str = ""
    egress_public_network_access: str = "enabled"
    data_collector: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    name: str
    files: Local
    type: str = "custom_model"
    version: str = ""
    description: str = ""
    next_version: str = "1"
    """What REST, which counts nothing by itself, is told when `version` is empty."""


@dataclass(frozen=True)
class Environment:
    name: str
    packages: Packages
    version: str = ""
    description: str = ""
    next_version: str = "1"


@dataclass(frozen=True)
class Data:
    name: str
    source: str | Local
    """An address, or files."""
    type: str = "uri_folder"
    version: str = ""
    description: str = ""
    next_version: str = "1"
