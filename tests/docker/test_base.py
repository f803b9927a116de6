from __future__ import annotations

import docker


def test_the_base_image_has_a_python(engine: docker.DockerClient, base_image: str) -> None:
    said = engine.containers.run(
        base_image, ["python3", "-c", "print(1 + 1)"], remove=True, network_disabled=True
    )
    assert said.decode().strip() == "2"
