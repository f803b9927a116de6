"""Images of a private registry: a real one on this machine, with a password, and one that nobody trusts."""

from __future__ import annotations

import base64
import gc
import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import docker
import pytest
from docker.errors import APIError

from deployments.environments import BuildFailed, EnvironmentSettings, Interpreters
from deployments.images.settings import ImageSettings
from deployments.images.specification import ImageSpec
from deployments.images.store import ImageStore
from tests.docker.test_engines import make_certificates

PASSWORD = "pw-7c2e91-registry"
HASHED = "reader:$2y$04$9mnIbmeWAIjkQQgVsU9KyeWKnAc26uV.TUsaUopQtKI3SBH7gmb1u\n"
CONFIGURATION = """
version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}/data}}}}
http:
  addr: {address}
{security}
auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}
log: {{level: error}}
"""
SECURITY = """
  tls:
    certificate: {folder}/certificates/server.pem
    key: {folder}/certificates/server-key.pem
"""
PATIENCE_SECONDS = 20


@pytest.fixture(scope="module")
def registry(engine: docker.DockerClient) -> Iterator[str]:
    """Where `team/private:1` is, which is not on the engine any more. At loopback engines do without a certificate."""
    with running_registry("127.0.0.1", is_secured=False) as address:
        push_private_image(engine, address)
        yield address
    with suppress(APIError):
        engine.images.remove(f"{address}/team/private:1", force=True)


@contextmanager
def running_registry(host: str, *, is_secured: bool) -> Iterator[str]:
    """Its address."""
    if shutil.which("docker-registry") is None:
        pytest.skip("there is no docker-registry on this machine")
    with tempfile.TemporaryDirectory(prefix="portico-registry-") as name:
        folder = Path(name)
        make_certificates(folder / "certificates")
        (folder / "htpasswd").write_text(HASHED)
        with socket.create_server((host, 0)) as free:
            address = f"{host}:{free.getsockname()[1]}"
        security = SECURITY.format(folder=folder) if is_secured else ""
        (folder / "config.yml").write_text(
            CONFIGURATION.format(folder=folder, address=address, security=security)
        )
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                ["docker-registry", "serve", str(folder / "config.yml")], stdout=log, stderr=log
            )
        try:
            wait_for(address)
            yield address
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)


def wait_for(address: str) -> None:
    host, _, port = address.partition(":")
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection((host, int(port)), 2):
            return
        time.sleep(0.05)
    raise AssertionError(f"no registry answers at {address}")


def push_private_image(engine: docker.DockerClient, registry: str) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("private.txt"))
    name = f"{registry}/team/private"
    engine.api.import_image_from_data(content.getvalue(), repository=name, tag="1")
    told = engine.images.push(
        name, tag="1", auth_config={"username": "reader", "password": PASSWORD}
    )
    assert "error" not in told, told
    engine.images.remove(f"{name}:1")


@pytest.fixture
def store(tmp_path: Path, engine: docker.DockerClient) -> Iterator[ImageStore]:
    settings = ImageSettings(
        installation=f"registry{os.getpid()}",
        docker_config=tmp_path / "config.json",
        packages=EnvironmentSettings(offline=True, min_free_bytes=0),
    )
    sign_in(tmp_path / "config.json", {})
    store = ImageStore(tmp_path / "images", settings, Interpreters(tmp_path / "interpreters"))
    yield store
    store.client.close()
    for image in engine.images.list(filters={"label": f"portico.builder={settings.installation}"}):
        with suppress(APIError):
            engine.images.remove(image.id, force=True)
    gc.collect()


def sign_in(file: Path, passwords: dict[str, str]) -> None:
    """What `docker login` writes."""
    auths = {
        name: {"auth": base64.b64encode(f"reader:{password}".encode()).decode()}
        for name, password in passwords.items()
    }
    file.write_text(json.dumps({"auths": auths}))


def refusal(store: ImageStore, image: str) -> str:
    with pytest.raises(BuildFailed) as caught:
        store.build(ImageSpec(image, is_custom=True))
    assert caught.value.failure.evidence
    return caught.value.failure.sentence


def test_an_image_comes_for_the_right_password_which_stays_where_it_was(
    registry: str, store: ImageStore, engine: docker.DockerClient, tmp_path: Path
) -> None:
    image = f"{registry}/team/private:1"
    file = tmp_path / "config.json"
    assert "there are none for it here. An operator signs in" in refusal(store, image)
    sign_in(file, {registry: "wrong"})
    assert "they are missing, wrong or have expired" in refusal(store, image)
    sign_in(file, {registry: PASSWORD})
    assert "does not exist in" in refusal(store, f"{registry}/team/private:2")

    # The same store: nobody restarts anything.
    lines: list[str] = []
    pulled = store.build(ImageSpec(image, is_custom=True), lines.append)
    assert engine.images.get(pulled.reference).tags == [image]
    engine.images.remove(image)

    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(f"FROM {image}\nCOPY Dockerfile /copy\n")
    built = store.build(
        ImageSpec(context=context, context_hash=image, is_custom=True), lines.append
    )

    secrets = {PASSWORD, json.loads(file.read_text())["auths"][registry]["auth"]}
    saved = b"".join(engine.images.get(built.reference).save())
    told = f"{engine.api.history(built.reference)} {engine.images.get(built.reference).attrs}"
    kept = b"".join(path.read_bytes() for path in store.root.rglob("*") if path.is_file())
    for secret in secrets:
        assert secret.encode() not in saved + kept
        assert secret not in told + "".join(lines)


# docker's SDK warns as well.
@pytest.mark.filterwarnings("ignore:docker-credential-portico-test not installed")
def test_a_helper_program_gives_the_password(
    registry: str, store: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = f"{registry}/team/private:1"
    (tmp_path / "config.json").write_text(json.dumps({"credHelpers": {registry: "portico-test"}}))
    absent = refusal(store, image)
    assert "cannot be read" in absent and "docker-credential-portico-test" in absent

    told = json.dumps({"ServerURL": registry, "Username": "reader", "Secret": PASSWORD})
    helper = tmp_path / "docker-credential-portico-test"
    helper.write_text(f"#!/bin/sh\ncat >/dev/null\necho '{told}'\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    built = store.build(ImageSpec(image, is_custom=True))
    store.client.remove_image(built.reference, force=True)

    (tmp_path / "config.json").write_text('{"auths":')
    assert "An operator corrects the file that PORTICO_DOCKER_CONFIG names" in refusal(
        store, image
    )


def test_a_certificate_that_the_engine_does_not_trust_is_named_with_its_place(
    store: ImageStore, engine: docker.DockerClient
) -> None:
    bridge = engine.networks.get("bridge").attrs["IPAM"]["Config"][0]["Gateway"]
    with running_registry(bridge, is_secured=True) as there:
        sentence = refusal(store, f"{there}/team/private:1")
    assert f"does not trust the certificate of {there}" in sentence
    assert f"/etc/docker/certs.d/{there}/ca.crt" in sentence
