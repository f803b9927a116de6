"""Registered environments built as images, before any deployment asks for them."""

from __future__ import annotations

import docker
import pytest

from deployments import tasks
from deployments.environment_builds import start_build
from deployments.models import EnvironmentBuild
from tests.deployments.conftest import Factory, make
from tests.docker.test_deployments import (
    catalog_context,
    docker_runtime,
    environment,
    no_images_left,
    served,
)
from workspaces.models import EnvironmentVersion

__all__ = ["docker_runtime", "make", "no_images_left"]  # fixtures

pytestmark = [pytest.mark.django_db]


@pytest.fixture(autouse=True)
def patient_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a broker, and with a lease that need not be renewed: a thread could not see the test's rows."""
    monkeypatch.setattr(tasks.build_environment, "delay", lambda pk: None)
    monkeypatch.setattr(tasks, "LEASE_SECONDS", 600)


def built(make: Factory, version: EnvironmentVersion) -> EnvironmentBuild:
    """What becomes of one build: it is taken up, and then done."""
    build = start_build(version, by=make.alice)
    assert build.runtime == "docker"
    for _ in range(2):
        tasks.build_environment(build.pk)
    return EnvironmentBuild.objects.get(pk=build.pk)


def test_an_image_with_a_conda_file_is_built_once_and_then_deployed_at_once(
    make: Factory, base_image: str, engine: docker.DockerClient
) -> None:
    version = environment(
        make, "conda", image=base_image, conda_file="dependencies: [python=3.11]"
    )
    first = built(make, version)
    assert (first.state, first.failure) == ("Succeeded", {}), first.log
    assert first.python_version.startswith("3.11")
    assert first.size_bytes
    assert engine.images.get(first.image).id == first.image
    assert first.log
    again = built(make, version)
    assert (again.was_cached, again.image) == (True, first.image)
    deployment = served(make.deployment(environment=version))
    assert deployment.serving_revision is not None
    assert deployment.serving_revision.image == first.image
    assert "used again" in deployment.operations.get().phases.get(name="Build environment").log


def test_a_dockerfile_is_built_and_its_output_is_kept(make: Factory, base_image: str) -> None:
    context = catalog_context(f"FROM {base_image}\nRUN echo here I am > /said && cat /said\n")
    build = built(
        make,
        environment(make, "file", build_context_hash=context, dockerfile_path="Dockerfile"),
    )
    assert (build.state, build.failure) == ("Succeeded", {}), build.log
    assert "here I am" in build.log


def test_one_that_fails_names_the_line_and_keeps_the_log(make: Factory, base_image: str) -> None:
    context = catalog_context(f"FROM {base_image}\nRUN echo so far && no-such-program\n")
    build = built(
        make,
        environment(make, "broken", build_context_hash=context, dockerfile_path="Dockerfile"),
    )
    assert (build.state, build.failure["code"]) == ("Failed", "ImageBuildFailure")
    assert "Dockerfile, line 2" in build.failure["cause"]
    assert build.failure["fixes"]
    assert "so far" in build.log
    assert not build.image
