"""An image's own conda, played by a stand-in with its arguments and its words: a real one is in no package index."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import docker
import pytest
from docker.errors import APIError

from deployments.environments import (
    BuildFailed,
    EnvironmentSettings,
    EnvironmentSpec,
    Interpreters,
)
from deployments.images.settings import ImageSettings
from deployments.images.specification import BuiltImage, ImageSpec
from deployments.images.store import ImageStore
from tests.deployments.environments.wheels import make_wheel

CONDA = """#!/bin/sh
test "$1 $2 $3 $5" = "env create --prefix --file" || { echo "conda: error: unrecognized: $*"; exit 2; }
if grep -q absent "$6"; then
  printf 'PackagesNotFoundError: not available from current channels:\\n\\n  - absent=9\\n'; exit 1
fi
if grep -q unreached "$6"; then
  echo 'CondaHTTPError: HTTP 000 CONNECTION FAILED for url <https://conda.invalid>'; exit 1
fi
python3 -m venv --without-pip "$4" && cp "$6" "$4/made-by-conda"
"""


@pytest.fixture(scope="module")
def store(engine: docker.DockerClient) -> Iterator[ImageStore]:
    with tempfile.TemporaryDirectory(prefix="portico-conda-") as name:
        place = Path(name)
        place.chmod(0o755)
        make_wheel(place / "wheels", "unreached")
        settings = ImageSettings(
            installation=f"conda{os.getpid()}",
            conda="auto",
            packages=EnvironmentSettings(
                offline=True, find_links=(str(place / "wheels"),), min_free_bytes=0
            ),
        )
        store = ImageStore(place / "images", settings, Interpreters(place / "interpreters"))
        yield store
        store.client.close()
    label = f"portico.builder={settings.installation}"
    for image in engine.images.list(filters={"label": label}):
        with suppress(APIError):
            engine.images.remove(image.id, force=True)
    for volume in engine.volumes.list(filters={"name": settings.installation}):
        volume.remove(force=True)


@pytest.fixture(scope="module")
def conda_image(store: ImageStore, engine: docker.DockerClient, base_image: str) -> Iterator[str]:
    context = store.root.parent / "context"
    context.mkdir()
    (context / "conda").write_text(CONDA)
    (context / "conda").chmod(0o755)
    (context / "Dockerfile").write_text(
        f"FROM {base_image}\nCOPY conda /opt/miniconda/bin/conda\n"
    )
    built = store.build(ImageSpec(context=context, context_hash="conda", is_custom=True))
    name = f"portico-test-conda:{os.getpid()}"
    engine.images.get(built.reference).tag(name)
    yield name
    engine.images.remove(name, force=True)


def build(store: ImageStore, image: str, package: str, lines: list[str]) -> BuiltImage:
    text = f"channels: [conda-forge]\ndependencies: [python=3.11, pip, {{pip: [{package}]}}]\n"
    return store.build(ImageSpec(image, EnvironmentSpec(conda_text=text)), lines.append)


def test_an_images_own_conda_makes_the_environment(
    store: ImageStore, conda_image: str, engine: docker.DockerClient
) -> None:
    lines: list[str] = []
    built = build(store, conda_image, "given", lines)
    assert "Making the environment with /opt/miniconda/bin/conda" in lines
    code = "import sys; print(sys.prefix, 'given' in open(sys.prefix + '/made-by-conda').read())"
    said = engine.containers.run(built.reference, [built.python, "-c", code], remove=True)
    assert said.decode().strip() == "/opt/portico-env True"


def test_where_no_channel_answers_uv_takes_the_file(store: ImageStore, conda_image: str) -> None:
    lines: list[str] = []
    build(store, conda_image, "unreached", lines)
    assert any("No channel of conda answers" in line for line in lines)
    assert "Installing 1 packages" in lines


def test_what_conda_does_not_find_is_named(store: ImageStore, conda_image: str) -> None:
    with pytest.raises(BuildFailed) as caught:
        build(store, conda_image, "absent", [])
    assert caught.value.failure.sentence == (
        "conda does not find absent=9 in the channels of the environment."
    )
