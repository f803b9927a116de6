"""The engines of a runtime as one: which one an instance goes to, and that its image is there."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from deployments.runtimes import InstanceSpec, RuntimeAway
from deployments.runtimes.docker import placement
from deployments.runtimes.docker.containers import CORES, INSTANCE, MEMORY
from deployments.runtimes.docker.engines import Engine
from deployments.runtimes.docker.networks import INSTALLATION

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class StartRefused(Exception):
    """Why an instance cannot be started, with its code."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True)
class Pool:
    """All engines by name. `is_open`: their free capacity decides; else everything goes to the first."""

    engines: dict[str, Engine]
    installation: str
    is_open: bool
    compute: str = ""
    """The attached compute whose engines they are; empty for the installation's."""
    shares: Mapping[str, placement.Share] = field(default_factory=dict)
    """By the engine's name; what its machine has for one that is not named."""

    def place(self, spec: InstanceSpec, *, own: Collection[str] = ()) -> Engine:
        """The engine it goes to; `own` names the instances of this pool, and others are told apart in refusals."""
        if not self.is_open and not spec.gpu_count:
            return next(iter(self.engines.values()))
        closed = [name for name in self.engines if not self._share(name).is_schedulable]
        rooms = []
        for engine in self.engines.values():
            with contextlib.suppress(RuntimeAway):
                if engine.name not in closed:
                    rooms.append(self._room(engine, own))
        if not rooms:
            raise self._no_room(spec, closed)
        if spec.gpu_count and not any(room.has_gpus for room in rooms):
            names = ", ".join(room.name for room in rooms)
            raise StartRefused(
                "OutOfCapacity",
                f"It asks for {spec.gpu_count} GPU, and no engine offers any ({names}). Install the NVIDIA "
                "container toolkit there, or choose an instance type without GPU.",
            )
        rooms = [room for room in rooms if room.has_gpus or not spec.gpu_count]
        room = placement.choose(rooms, spec) if self.is_open else rooms[0]
        if room is None:
            why = placement.why_not(rooms, spec, compute=self.compute, closed=closed)
            raise StartRefused("OutOfCapacity", why)
        return self.engines[room.name]

    def _no_room(self, spec: InstanceSpec, closed: list[str]) -> Exception:
        """Why there is no engine to choose from."""
        of, more = placement.of(self.compute), placement.more_room(self.compute)
        if not self.engines:
            return StartRefused(
                "OutOfCapacity", f"There is no engine{of}. To run instances, {more}."
            )
        if len(closed) == len(self.engines):
            why = placement.why_not([], spec, compute=self.compute, closed=closed)
            return StartRefused("OutOfCapacity", why)
        return RuntimeAway(f"No Docker engine{of} answers.")

    def _share(self, name: str) -> placement.Share:
        return self.shares.get(name, placement.Share())

    def _room(self, engine: Engine, own: Collection[str]) -> placement.Room:
        info, share = engine.info(), self._share(engine.name)
        labels = [
            container["Labels"]
            for container in engine.containers({INSTALLATION: self.installation})
            if INSTANCE in container["Labels"]
        ]
        others = [found for found in labels if found[INSTANCE] not in own]
        return placement.Room(
            engine.name,
            cores=share.cores(float(info["NCPU"])),
            memory_bytes=share.memory_bytes(int(info["MemTotal"])),
            taken_cores=sum(float(found[CORES]) for found in labels),
            taken_memory_bytes=sum(int(found[MEMORY]) for found in labels),
            others_cores=sum(float(found[CORES]) for found in others),
            others_memory_bytes=sum(int(found[MEMORY]) for found in others),
            has_gpus="nvidia" in info.get("Runtimes", {}),
        )

    def image(self, engine: Engine, spec: InstanceSpec) -> dict[str, Any]:
        image = engine.image(spec.image)
        if image is None and self._carry(spec.image, engine):
            image = engine.image(spec.image)
        if image is None:
            raise StartRefused(
                "ImageMissing",
                f"The image {spec.image} is not on the engine {engine.name} any more. It is built or fetched "
                "again when the deployment is updated.",
            )
        ours = ARCHITECTURES.get(platform.machine(), platform.machine())
        if not spec.is_custom and image.get("Architecture") != ours:
            raise StartRefused(
                "BadArgument",
                f"The image {spec.image} is for {image.get('Architecture')}, this installation's inference "
                f"server for {ours}. Use an image for {ours}.",
            )
        config = image.get("Config") or {}
        has_command = spec.command or config.get("Cmd") or config.get("Entrypoint")
        if spec.is_custom and not has_command:
            raise StartRefused(
                "BadArgument",
                "The image has neither CMD nor ENTRYPOINT, so there is nothing to start. Give it the command of its "
                "server, in a Dockerfile.",
            )
        return image

    def _carry(self, image: str, target: Engine) -> bool:
        """Bring an image over from another engine of the pool, which takes as long as its size needs."""
        for source in self.engines.values():
            with contextlib.suppress(RuntimeAway):
                if source is target or source.image(image) is None:
                    continue
                with source.asking() as giving, target.asking() as taking:
                    taking.load_image(giving.get_image(image))
                return True
        return False
