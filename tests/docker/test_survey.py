"""What a real engine says of itself, and of the containers that are one installation's."""

from __future__ import annotations

from uuid import uuid4

import docker

from deployments.engines import engines
from deployments.runtimes.docker.containers import CORES, INSTANCE, MEMORY
from deployments.runtimes.docker.networks import INSTALLATION
from deployments.runtimes.docker.survey import survey


def test_an_engine_tells_its_machine_and_what_our_instances_hold(
    engine: docker.DockerClient, base_image: str
) -> None:
    installation = f"survey{uuid4().hex[:8]}"
    labels = {INSTALLATION: installation, INSTANCE: "e.b.1", CORES: "1.5", MEMORY: "1000"}
    container = engine.containers.create(base_image, "true", labels=labels)
    try:
        found = survey(engines()[0], installation)
        others = survey(engines()[0], "nobody")
    finally:
        container.remove(force=True)
    info = engine.info()
    assert (found.away, found.version) == ("", info["ServerVersion"])
    assert (found.cores, found.memory_bytes) == (info["NCPU"], info["MemTotal"])
    assert (found.taken_cores, found.taken_memory_bytes, found.container_count) == (1.5, 1000, 1)
    assert (others.taken_cores, others.container_count) == (0, 0)
