"""Containers for the one user of this machine: with that user's rights, and at ports of this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from deployments.runtimes import InstanceSpec
from deployments.runtimes.docker.addresses import EngineAddress
from deployments.runtimes.docker.containers import Plan, Source
from deployments.runtimes.docker.engines import Engine
from deployments.runtimes.docker.runtime import DockerRuntime

HERE = "127.0.0.1"


class LocalRuntime(DockerRuntime):
    """The docker runtime, but that everything in it runs as ourselves and is reached from this machine alone."""

    def __init__(
        self,
        root: Path,
        installation: str,
        server_bundle: Path,
        engine: EngineAddress,
        *,
        published: Mapping[int, int],
        mounted: Mapping[str, Path],
    ) -> None:
        """`published`: ports inside by the ones of this machine; `mounted`: places inside of more files and folders."""
        super().__init__(root, installation, server_bundle, [engine], custom_root_is_writable=True)
        self._ports = dict(published)
        self._more = tuple(Source(path, inside) for inside, path in mounted.items())

    def _plan(self, spec: InstanceSpec, image: dict[str, Any], network: str) -> Plan:
        plan = super()._plan(spec, image, network)
        uid, gid = os.geteuid(), os.getegid()
        user = plan.user if spec.is_custom and not _is_number(plan.user) else f"{uid}:{gid}"
        return replace(plan, user=user, group=str(gid), more=self._more)

    def _published(self, engine: Engine, plan: Plan) -> dict[str, Any]:
        wanted: dict[int, int | None] = {**dict.fromkeys(plan.ports()), **self._ports}
        return {f"{inside}/tcp": (HERE, outside) for inside, outside in wanted.items()}


def _is_number(user: str) -> bool:
    return user.partition(":")[0].isdecimal()
