"""Images built on a real engine from small packages, most of them made on the spot."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import docker
import pytest
from docker.errors import APIError

from deployments.environments import (
    BuildFailed,
    Cancelled,
    EnvironmentSettings,
    EnvironmentSpec,
    Interpreters,
)
from deployments.images.boxes import box_name
from deployments.images.settings import ImageSettings
from deployments.images.specification import BuiltImage, ImageSpec
from deployments.images.store import ImageStore
from tests.deployments.environments.wheels import make_source, make_wheel
from workspaces.errors import UserError

SECRET = "pw-0f3a9c"
AUTHORITY = "-----BEGIN CERTIFICATE-----\nMIIBhouseauthority\n-----END CERTIFICATE-----\n"


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="portico-images-") as name:
        # Copies of interpreters in it must run for others.
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def store(engine: docker.DockerClient, place: Path) -> Iterator[ImageStore]:
    """A store that knows three packages and no network; all it made is removed in the end."""
    wheels = place / "wheels"
    make_wheel(wheels, "alpha", requires=["shared<2"])
    make_wheel(wheels, "beta", requires=["shared>=2"])
    make_wheel(wheels, "shared", "1.0", code="VERSION = 1\n")
    make_wheel(wheels, "shared", "2.0", code="VERSION = 2\n")
    packages = EnvironmentSettings(offline=True, find_links=(str(wheels),), min_free_bytes=0)
    settings = ImageSettings(installation=f"test{os.getpid()}", packages=packages)
    store = ImageStore(place / "images", settings, Interpreters(place / "interpreters"))
    yield store
    store.prune(set(), grace_seconds=0)
    for image in engine.images.list(filters={"label": f"portico.builder={settings.installation}"}):
        with suppress(APIError):
            engine.images.remove(image.id, force=True)
    for volume in engine.volumes.list():
        if volume.name.startswith(f"portico-{settings.installation}-"):
            volume.remove(force=True)
    store.client.close()


def with_packages(store: ImageStore, packages: EnvironmentSettings) -> ImageStore:
    """The same store under other settings."""
    settings = replace(store.settings, packages=packages)
    return ImageStore(store.root, settings, store.interpreters, store.client)


def wish(
    image: str, *packages: str, python: str = "3.11", folder: Path | None = None
) -> ImageSpec:
    lines = "".join(f"  - {package}\n" for package in packages)
    text = f"dependencies:\n- python={python}\n" + (f"- pip:\n{lines}" if lines else "")
    return ImageSpec(image, EnvironmentSpec(conda_text=text, folder=folder))


def dockerfile(place: Path, text: str) -> ImageSpec:
    folder = Path(tempfile.mkdtemp(dir=place))
    (folder / "Dockerfile").write_text(text)
    return ImageSpec(context=folder, context_hash=text)


def says(engine: docker.DockerClient, built: BuiltImage, code: str) -> str:
    """What `code` prints in a container without a network, as a user without rights."""
    said = engine.containers.run(
        built.reference,
        [built.python, "-c", code],
        remove=True,
        network_disabled=True,
        user="65534",
    )
    return str(said.decode().strip())


def failure_of(store: ImageStore, spec: ImageSpec) -> BuildFailed:
    with pytest.raises(BuildFailed) as caught:
        store.build(spec)
    return caught.value


def test_packages_are_put_on_an_image(
    store: ImageStore, engine: docker.DockerClient, base_image: str
) -> None:
    lines: list[str] = []
    built = store.build(wish(base_image, "alpha==1.0"), lines.append)
    assert says(engine, built, "import alpha, shared; print(alpha.VALUE, shared.VERSION)") == "1 1"
    assert not built.was_cached
    assert any(line.startswith("Installing 2 packages") for line in lines)
    # What instances are told by it is what the image below said.
    below, made = (
        engine.images.get(name).attrs["Config"] for name in (base_image, built.reference)
    )
    keys = ("Env", "User", "WorkingDir", "Entrypoint", "Volumes")
    assert [made.get(key) or None for key in keys] == [below.get(key) or None for key in keys]
    again = store.build(wish(base_image, "alpha==1.0"), lines.append)
    assert again == replace(built, was_cached=True)


def test_an_image_that_was_removed_is_built_again_with_the_same_versions(
    store: ImageStore, engine: docker.DockerClient, base_image: str, place: Path
) -> None:
    first = store.build(wish(base_image, "beta"))
    make_wheel(place / "wheels", "shared", "3.0")
    try:
        engine.images.remove(first.reference, force=True)
        assert store.still_there(first.reference) is None
        again = store.build(wish(base_image, "beta"))
    finally:
        (place / "wheels" / "shared-3.0-py3-none-any.whl").unlink()
    assert not again.was_cached
    assert says(engine, again, "import shared; print(shared.VERSION)") == "2"


def test_the_image_alone_runs_on_its_own_python(
    store: ImageStore, engine: docker.DockerClient, base_image: str
) -> None:
    built = store.build(ImageSpec(base_image))
    assert built.reference == engine.images.get(base_image).id
    assert built.python_version.startswith("3.11.")
    assert says(engine, built, "print(1)") == "1"


def test_without_an_image_there_is_one_of_this_machines_python(
    store: ImageStore, engine: docker.DockerClient
) -> None:
    spec = EnvironmentSpec(conda_text="dependencies:\n- pip:\n  - alpha\n")
    built = store.build(ImageSpec(environment=spec))
    code = (
        "import alpha, ssl, ctypes, sqlite3, subprocess; print(subprocess.getoutput('echo yes'))"
    )
    assert says(engine, built, code) == "yes"
    # Wheels are linked with these, whatever the C library of today is made of.
    linked = ["libpthread.so.0", "libdl.so.2", "librt.so.1", "libstdc++.so.6", "libz.so.1"]
    load = f"import ctypes; print(len([ctypes.CDLL(name) for name in {linked}]))"
    assert says(engine, built, load) == str(len(linked))


def test_another_python_than_the_images_is_brought_along(
    store: ImageStore, engine: docker.DockerClient, base_image: str
) -> None:
    others = [each for each in store.interpreters.found() if each.minor != "3.11"]
    minor = others[0].minor if others else "3.9"
    built = store.build(wish(base_image, "alpha", python=minor))
    told = says(engine, built, "import sys, ssl; print('%d.%d' % sys.version_info[:2])")
    if others:
        assert (told, built.warnings) == (minor, ())
    else:
        assert told == "3.11"
        assert f"asks for Python {minor}" in built.warnings[0]


def test_a_conflict_names_the_packages(store: ImageStore, base_image: str) -> None:
    failed = failure_of(store, wish(base_image, "alpha", "beta"))
    assert failed.message == (
        "beta conflicts with alpha: the first needs shared >=2, the second shared <2."
    )
    assert failed.code == "ImageBuildFailure"
    assert failed.failure.evidence


def test_a_package_that_does_not_exist_is_named(store: ImageStore, base_image: str) -> None:
    assert "unheard-of" in failure_of(store, wish(base_image, "unheard-of")).failure.evidence[1]


def test_an_image_that_cannot_be_had_is_explained_with_the_way_out(store: ImageStore) -> None:
    failed = failure_of(store, ImageSpec("registry.invalid/there:1"))
    assert "registry.invalid cannot be reached" in failed.message
    assert "docker load" in failed.message


def test_one_of_azures_images_has_ours_in_its_place(
    store: ImageStore, engine: docker.DockerClient
) -> None:
    name = "mcr.microsoft.com/azureml/sklearn-1.5-ubuntu22.04-py310-cpu:1"
    spec = EnvironmentSpec(conda_text="dependencies:\n- pip:\n  - alpha\n")
    built = store.build(ImageSpec("mcr.microsoft.com/azureml/openmpi5.0-ubuntu24.04:99", spec))
    assert "stands in" in built.warnings[0]
    assert says(engine, built, "import alpha; print(alpha.VALUE)") == "1"
    assert "mcr.microsoft.com" in failure_of(store, ImageSpec(name, is_custom=True)).message


def test_a_build_context_is_built_by_its_dockerfile(
    store: ImageStore, engine: docker.DockerClient, base_image: str, place: Path
) -> None:
    spec = dockerfile(place, f"FROM {base_image}\nRUN echo one \\\n  > /said\nCMD cat /said\n")
    built = store.build(spec)
    assert says(engine, built, "print(open('/said').read())") == "one"
    assert store.build(spec).was_cached


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            "RUN true\nRUN echo b && \\\n  false",
            "line 3: 'RUN echo b && false' failed with exit code 1",
        ),
        ("FOO bar", "line 2: the build failed: unknown instruction: FOO"),
        ("COPY absent.txt /there", "line 2: 'COPY absent.txt /there' failed"),
        ("RUN no-such-program", "no-such-program: not found"),
    ],
)
def test_a_step_that_fails_is_named_with_its_line(
    store: ImageStore, base_image: str, place: Path, lines: str, told: str
) -> None:
    failed = failure_of(store, dockerfile(place, f"FROM {base_image}\n{lines}\n"))
    assert told in failed.message
    assert failed.failure.evidence


def test_a_dockerfile_on_an_absent_image_names_it(store: ImageStore, place: Path) -> None:
    failed = failure_of(store, dockerfile(place, "# base\nFROM registry.invalid/there:1\n"))
    assert failed.message.startswith("Dockerfile, line 2: The image registry.invalid/there:1")


def test_a_context_without_its_dockerfile_says_what_is_there(
    store: ImageStore, place: Path
) -> None:
    spec = replace(dockerfile(place, "FROM scratch\n"), dockerfile="other/Dockerfile")
    with pytest.raises(UserError, match="There are: Dockerfile"):
        store.build(spec)


def test_credentials_and_authorities_are_in_no_layer(
    store: ImageStore, engine: docker.DockerClient, base_image: str, place: Path
) -> None:
    authority = place / "authority.pem"
    authority.write_text(AUTHORITY)
    packages = replace(
        store.settings.packages,
        extra_index_urls=(f"https://user:{SECRET}@index.invalid/simple",),
        ca_bundle=str(authority),
    )
    private = with_packages(store, packages)
    lines: list[str] = []
    seen = "RUN . /run/portico/env; cat /etc/pip.conf /run/portico/authorities.pem | sha256sum"
    check = 'RUN ["python3", "-c", "assert \'index.invalid\' in open(\'/etc/pip.conf\').read()"]'
    of_file = dockerfile(
        place, f"FROM {base_image}\n{seen}\n{check}\nRUN echo $PIP_EXTRA_INDEX_URL\n"
    )
    built = [
        private.build(of_file, lines.append),
        private.build(wish(base_image, "alpha", "shared==1.0"), lines.append),
    ]
    for image in built:
        told = str(engine.api.history(image.reference)) + str(
            engine.images.get(image.reference).attrs
        )
        assert SECRET not in told
        layers = _last_layer(engine, image.reference)
        assert layers, "the image has a layer of its own"
        assert not any(
            SECRET.encode() in content or b"houseauthority" in content for content in layers
        )
    assert not any(SECRET in line for line in lines)


def _last_layer(engine: docker.DockerClient, reference: str) -> list[bytes]:
    """Every file of what was put on top of the base image."""
    found = []
    saved = b"".join(engine.images.get(reference).save())
    with tarfile.open(fileobj=io.BytesIO(saved)) as whole:
        layers = sorted(name for name in whole.getnames() if name.endswith("layer.tar"))
        contents = [whole.extractfile(name) for name in layers]
        smallest = sorted((each.read() for each in contents if each is not None), key=len)[:-1]
        found += smallest
    return found


def slow(place: Path, base_image: str) -> ImageSpec:
    """A build that never ends."""
    folder = Path(tempfile.mkdtemp(dir=place))
    make_source(folder, "slow", at_build="time.sleep(600)")
    return wish(base_image, "./slow", folder=folder)


def boxes_of(store: ImageStore) -> list[str]:
    prefix = box_name(store.settings, "")
    found = store.client.containers(all=True, filters={"name": prefix})
    return [str(each["Id"]) for each in found]


def wait_for_box(store: ImageStore) -> None:
    until = time.monotonic() + 30
    while not boxes_of(store):
        assert time.monotonic() < until, "no build container appeared"
        time.sleep(0.05)


def test_cancel_ends_the_build_and_its_container(
    store: ImageStore, base_image: str, place: Path
) -> None:
    wished = threading.Event()
    lines: list[str] = []

    def log(line: str) -> None:
        lines.append(line)
        wished.set()

    began = time.monotonic()
    with pytest.raises(Cancelled):
        store.build(slow(place, base_image), log, wished.is_set)
    assert time.monotonic() - began < 30
    assert boxes_of(store) == []


def test_a_build_that_takes_too_long_is_stopped(
    store: ImageStore, base_image: str, place: Path
) -> None:
    packages = replace(store.settings.packages, build_seconds=4.0)
    hasty = with_packages(store, packages)
    failed = failure_of(hasty, slow(place, base_image))
    assert "took longer than 4 s" in failed.message
    assert boxes_of(store) == []


def _build_in_another_process(root: Path, settings: ImageSettings, spec: ImageSpec) -> None:
    ImageStore(root, settings, Interpreters(root / "interpreters")).build(spec)


def test_what_a_killed_builder_left_is_cleared_up(
    store: ImageStore, base_image: str, place: Path
) -> None:
    spec = slow(place, base_image)
    child = multiprocessing.get_context("spawn").Process(
        target=_build_in_another_process, args=(store.root, store.settings, spec)
    )
    child.start()
    wait_for_box(store)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert len(boxes_of(store)) == 1
    store.prune(set(), grace_seconds=3600)
    assert boxes_of(store) == []
    with pytest.raises(Cancelled):
        store.build(spec, cancel=lambda: bool(boxes_of(store)))


def test_two_at_once_build_once(store: ImageStore, base_image: str) -> None:
    spec, found = wish(base_image, "shared==2.0", "alpha==1.0; python_version<'3'"), []
    threads = [threading.Thread(target=lambda: found.append(store.build(spec))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each.was_cached for each in found) == [False, True]
    assert len({each.reference for each in found}) == 1


def test_two_environments_at_once_stand_on_one_base_image(store: ImageStore) -> None:
    specs = [
        ImageSpec(
            environment=EnvironmentSpec(conda_text=f"dependencies:\n- pip:\n  - shared=={each}\n")
        )
        for each in ("1.0", "2.0")
    ]
    store.prune(set(), grace_seconds=0)
    threads = [threading.Thread(target=store.build, args=(spec,)) for spec in specs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    parents = {store.client.inspect_image(store.build(spec).reference)["Parent"] for spec in specs}
    assert len(parents) == 1


def test_a_full_disk_is_told_before_a_build_begins(store: ImageStore, base_image: str) -> None:
    packages = replace(store.settings.packages, min_free_bytes=10**18)
    full = with_packages(store, packages)
    assert failure_of(full, wish(base_image, "shared==1.0")).code == "DiskFull"


def test_unused_images_are_removed_and_sizes_told(
    store: ImageStore, engine: docker.DockerClient, base_image: str
) -> None:
    kept = store.build(wish(base_image, "alpha"))
    other = store.build(wish(base_image, "shared==2.0"))
    assert store.sizes()[other.key] == other.size_bytes > 10_000_000
    assert other.key not in store.prune({kept.reference}, grace_seconds=3600)
    removed = store.prune({kept.reference}, grace_seconds=0)
    assert other.key in removed
    assert kept.key not in removed
    assert store.find(other.key) is None
    assert engine.images.get(base_image).id
