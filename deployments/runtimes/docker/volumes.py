"""Content for engines that do not see our files: named volumes, filled through the engine."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from docker.errors import APIError, NotFound
from docker.types import HostConfig, Mount

from deployments.runtimes.docker.containers import Plan, Source
from deployments.runtimes.docker.engines import Engine
from deployments.runtimes.docker.networks import INSTALLATION, OWNER

ROLE = "portico.role"
FILLER = "filler"
COMPLETE = ".portico-complete"
AT = "/portico-volume"
FILL_SECONDS = 6 * 3600
TAR_IN_MEMORY_BYTES = 64 * 1024**2


def mounts(engine: Engine, installation: str, plan: Plan, *, ids: tuple[int, int]) -> list[Mount]:
    """What appears inside: folders of this machine, or volumes where the engine does not see those."""
    if engine.is_local:
        return [
            Mount(target=source.inside, source=str(source.path), type="bind", read_only=True)
            for source in plan.sources()
        ]
    found = []
    for source in plan.sources():
        # The server is everybody's.
        is_server = source.path == plan.bundle
        volume = ensure(
            engine,
            installation,
            0 if is_server else plan.spec.owner,
            plan.spec.image,
            source,
            (0, 0) if is_server else ids,
        )
        found.append(
            Mount(target=source.inside, source=volume, type="volume", read_only=True, no_copy=True)
        )
    return found


def ensure(
    engine: Engine, installation: str, owner: int, image: str, source: Source, ids: tuple[int, int]
) -> str:
    """The name of a volume that holds all of `source`; filled at the first call, and again after one that was killed.

    This takes as long as the content needs to get there.
    """
    name = _name_of(installation, source.path)
    labels = {INSTALLATION: installation, OWNER: str(owner)}
    with engine.asking() as api:
        api.create_volume(name, labels=labels)
        with _filler(api, image, name, installation) as container:
            if _is_complete(api, container):
                return name
            with _packed(source.path, ids) as content:
                api.put_archive(container, AT, content)
            api.put_archive(container, AT, _mark())
    return name


def remove_unused(engine: Engine, installation: str, owner: int) -> None:
    """Take away the deployment's volumes; the engine keeps those that containers use."""
    with engine.asking() as api:
        label = [f"{INSTALLATION}={installation}", f"{OWNER}={owner}"]
        for volume in api.volumes(filters={"label": label})["Volumes"] or []:
            with contextlib.suppress(APIError):
                api.remove_volume(volume["Name"])


def remove_fillers(engine: Engine, installation: str) -> None:
    """What a killed filling left behind."""
    for container in engine.containers({INSTALLATION: installation, ROLE: FILLER}):
        if time.time() - container["Created"] < FILL_SECONDS:
            continue
        with engine.asking() as api, contextlib.suppress(APIError):
            api.remove_container(container["Id"], force=True, v=False)


def _name_of(installation: str, path: Path) -> str:
    """By place, names and sizes: what lies below a deployment's folder never changes in place."""
    content = hashlib.sha256(str(path).encode())
    for folder, folders, files in os.walk(path):
        folders.sort()
        for name in sorted(files):
            place = Path(folder) / name
            content.update(f"{place.relative_to(path)} {place.lstat().st_size}\0".encode())
    return f"portico-{installation}-{content.hexdigest()[:24]}"


@contextlib.contextmanager
def _filler(api: Any, image: str, volume: str, installation: str) -> Iterator[str]:
    """A container that never runs, through which the engine lets us at the volume."""
    container = api.create_container(
        image,
        command=["true"],
        labels={INSTALLATION: installation, ROLE: FILLER},
        use_config_proxy=False,
        host_config=HostConfig(
            version=api.api_version,
            network_mode="none",
            mounts=[Mount(target=AT, source=volume, type="volume", no_copy=True)],
        ),
    )["Id"]
    try:
        yield container
    finally:
        api.remove_container(container, force=True, v=False)


def _is_complete(api: Any, container: str) -> bool:
    try:
        chunks, _ = api.get_archive(container, f"{AT}/{COMPLETE}")
    except NotFound:
        return False
    chunks.close()
    return True


@contextlib.contextmanager
def _packed(path: Path, ids: tuple[int, int]) -> Iterator[IO[bytes]]:
    def owned(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid, entry.gid = ids
        entry.uname = entry.gname = ""
        return entry

    with tempfile.SpooledTemporaryFile(max_size=TAR_IN_MEMORY_BYTES) as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for child in sorted(path.iterdir()) if path.is_dir() else [path]:
                tar.add(child, arcname=child.name, filter=owned)
        file.seek(0)
        yield file


def _mark() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(COMPLETE))
    return buffer.getvalue()
