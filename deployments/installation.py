"""What this installation runs deployments with: the one place that hands settings to runtimes and builders."""

from __future__ import annotations

import hashlib
import importlib
import os
import threading
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import DatabaseError

from deployments.engines import automatic_runtime, engines, runtime_name
from deployments.environments import EnvironmentSettings, EnvironmentStore
from deployments.images.settings import BuildLimits, ImageSettings
from deployments.models import DebugSession, Instance, Revision
from deployments.runtimes import Runtime, load
from deployments.runtimes.docker import bundle
from deployments.runtimes.docker.addresses import EngineAddress
from deployments.runtimes.docker.placement import Share
from deployments.runtimes.server_bundle import lay_out, prepare_server
from workspaces.compute_engines import EngineSpec, engine_specs
from workspaces.models import Compute, ComputeEngine

if TYPE_CHECKING:
    from deployments.images.store import ImageStore


OF_COMPUTE = "compute-"
"""Before the number of a compute, in the name of the folder of what is noted of its containers."""
_pools: dict[int, tuple[object, Runtime]] = {}
_making_pools = threading.Lock()


def runtime(name: str = "") -> Runtime:
    """The runtime called `name`, made once a process; without a name, the one for new revisions."""
    return _load(name or runtime_name())


def forget_runtimes() -> None:
    """Make them anew when they are asked for: settings have changed."""
    for made in (_load, _make_images, automatic_runtime):
        made.cache_clear()
    _pools.clear()


@cache
def _load(name: str) -> Runtime:
    return load(name, **_where(name))


def runtime_of(revision: Revision) -> Runtime:
    """What runs the instances of this revision; where a compute's engines do, as they are at this moment."""
    if revision.compute_id is None:
        return runtime(revision.runtime)
    return pool_of(revision.compute_id)


def pool_of(compute_id: int) -> Runtime:
    """The engines of an attached compute as one runtime, made anew whenever somebody has changed them."""
    compute = Compute.objects.prefetch_related("engines").get(pk=compute_id)
    engines_now = engine_specs(compute)
    wanted = (compute.name, engines_now)
    with _making_pools:
        made_of, house = _pools.get(compute_id, (None, None))
        if house is None or made_of != wanted:
            house = load("docker", **{**_where_docker(), **_where_pool(compute, engines_now)})
            _pools[compute_id] = (wanted, house)
    return house


def engines_of(revision: Revision) -> tuple[EngineAddress, ...]:
    """The engines on which its containers may be."""
    if revision.compute_id is None:
        return engines()
    rows = ComputeEngine.objects.filter(compute_id=revision.compute_id)
    return tuple(address_of(row) for row in rows)


def address_of(engine: EngineSpec | ComputeEngine) -> EngineAddress:
    return EngineAddress(engine.name, engine.url, engine.cert_path, engine.tls_verify)


def runtimes_in_use() -> list[Runtime]:
    """The one for new revisions, and all on which instances may still run."""
    found = {id(house): house for house in map(runtime, sorted({"", *_names_in_use()}))}
    return [*found.values(), *map(pool_of, _computes_with_engines())]


def runtimes_with_own_consoles() -> list[Runtime]:
    """Those of them that keep what instances print themselves, not in files of this machine."""
    names = {name or runtime_name() for name in ("", *_names_in_use())}
    if not any(settings.CONTAINERS_ROOT.glob("*.json")):
        # Without a container there is nothing to follow, and docker's SDK would be loaded while the portal starts.
        names.discard("docker")
    houses = [runtime(name) for name in sorted(names - {"process"})]
    if any(settings.CONTAINERS_ROOT.glob(f"{OF_COMPUTE}*/*.json")):
        houses += map(pool_of, _computes_with_engines())
    return houses


def _names_in_use() -> set[str]:
    own = {"revision__compute": None}
    try:
        rows = Instance.objects.filter(**own).values_list("revision__runtime", flat=True)
        debugged = DebugSession.objects.filter(**own)
        return {*rows.distinct(), *debugged.values_list("revision__runtime", flat=True)}
    except DatabaseError:
        # A clean stop goes on without it.
        return set()


def _computes_with_engines() -> list[int]:
    try:
        rows = ComputeEngine.objects.order_by("compute_id").values_list("compute_id", flat=True)
        return list(rows.distinct())
    except DatabaseError:
        return []


@cache
def environments() -> EnvironmentStore:
    """Where environments are built and kept."""
    return EnvironmentStore(
        settings.ENVIRONMENTS_ROOT,
        EnvironmentSettings(
            index_url=settings.PACKAGE_INDEX_URL,
            extra_index_urls=tuple(settings.PACKAGE_EXTRA_INDEX_URLS),
            find_links=tuple(settings.PACKAGE_FIND_LINKS),
            ca_bundle=settings.CA_BUNDLE,
            offline=settings.PACKAGES_OFFLINE,
            python_policy="refuse" if settings.PYTHON_POLICY == "refuse" else "nearest",
            python_downloads=bool(settings.PYTHON_MIRROR),
            download_mirror=settings.PYTHON_MIRROR,
            source_builds=settings.PACKAGE_SOURCE_BUILDS,
            build_user_id=settings.INSTANCE_UID_BASE - 1 if os.geteuid() == 0 else None,
        ),
    )


def images(revision: Revision | None = None) -> ImageStore:
    """Where images are built: on the first of the engines that run the containers, or that will run the revision's."""
    return image_stores(revision)[0]


def image_stores(revision: Revision | None = None) -> list[ImageStore]:
    """One for each engine on which an image of the revision may be, without the silent ones; the first builds now."""
    if revision is None or revision.compute_id is None:
        return [_images_on(engines()[0])]
    rows = list(ComputeEngine.objects.filter(compute_id=revision.compute_id))
    # One that takes no instances builds for none, unless there is nothing else. The sort keeps the order by name.
    rows.sort(key=lambda row: not row.is_schedulable)
    found = [address_of(row) for row in rows] or [engines()[0]]
    return [_images_on(address) for address in _answering(found)]


def _answering(addresses: list[EngineAddress]) -> list[EngineAddress]:
    """Those that answer; all of them when none does, so that work on them says why."""
    if len(addresses) < 2:
        return addresses
    ask = importlib.import_module("deployments.runtimes.docker.survey").is_there
    return [address for address in addresses if ask(address)] or addresses


def all_image_stores() -> list[ImageStore]:
    """That of the installation, if it runs containers, and those of all engines of computes; silent ones are left out
    unless all are.
    """
    found = [engines()[0]] if runtime_name() == "docker" or _have_been_built() else []
    found += map(address_of, ComputeEngine.objects.order_by("pk"))
    stores = map(_images_on, _answering(found))
    return list({id(store): store for store in stores}.values())


def _have_been_built() -> bool:
    return Revision.objects.filter(compute=None).exclude(image="").exists()


def _images_on(address: EngineAddress) -> ImageStore:
    """One store for one address, whatever the engine is called."""
    return _make_images(replace(address, name="docker"))


def image_records() -> list[Path]:
    """The folders of all stores that there ever were; no engine is asked."""
    return [settings.IMAGES_ROOT, *sorted(settings.IMAGES_ROOT.glob("engines/*"))]


@cache
def _make_images(address: EngineAddress) -> ImageStore:
    # By name, so that processes which build none do not load docker's SDK.
    store = importlib.import_module("deployments.images.store")
    config = settings.DOCKER_CONFIG_FILE
    root, mark = settings.IMAGES_ROOT, settings.INSTALLATION
    if address.url != engines()[0].url:
        # Ids of images, and what is noted by them, belong to an engine. The mark keeps two addresses of one apart.
        digest = hashlib.sha256(address.url.encode()).hexdigest()[:12]
        root, mark = root / "engines" / digest, f"{mark}.{digest}"
    made: ImageStore = store.ImageStore(
        root,
        ImageSettings(
            installation=mark,
            address=address,
            base_image=settings.BASE_IMAGE,
            docker_config=Path(config).expanduser() if config else None,
            conda="auto" if settings.CONDA == "auto" else "off",
            packages=environments().settings,
            limits=BuildLimits(
                memory_bytes=settings.BUILD_MEMORY_BYTES,
                cores=settings.BUILD_CORES,
                disk_bytes=settings.BUILD_DISK_BYTES,
            ),
        ),
        environments().interpreters,
    )
    return made


def _where(name: str) -> dict[str, Any]:
    if name == "docker":
        return {**_where_docker(), "engines": engines(), "is_pool": bool(settings.DOCKER_ENGINES)}
    if name != "process":
        return {}
    server_dir, server_python = prepare_server(
        settings.PORTICO_HOME, interpreters=environments().interpreters
    )
    return {
        "root": settings.INSTANCES_ROOT,
        "run_dir": settings.RUN_DIR / "i",
        "installation": settings.INSTALLATION,
        "server_dir": server_dir,
        "server_python": server_python,
        "uid_base": settings.INSTANCE_UID_BASE,
        "disk_bytes": settings.INSTANCE_DISK_GB * 1024**3,
    }


def _where_docker() -> dict[str, Any]:
    server = lay_out(settings.PORTICO_HOME / "server")
    return {
        "root": settings.CONTAINERS_ROOT,
        "installation": settings.INSTALLATION,
        "server_bundle": bundle.lay_out(settings.PORTICO_HOME / "container-server", server),
        "locks": settings.CONTAINERS_ROOT / ".locks",
        "subnets": settings.DOCKER_SUBNETS,
        "uid_base": settings.INSTANCE_UID_BASE,
        "custom_root_is_writable": settings.DOCKER_CUSTOM_ROOT_WRITABLE,
    }


def _where_pool(compute: Compute, wanted: Iterable[EngineSpec]) -> dict[str, Any]:
    return {
        "root": settings.CONTAINERS_ROOT / f"{OF_COMPUTE}{compute.pk}",
        "engines": [address_of(spec) for spec in wanted],
        "is_pool": True,
        "compute": compute.name,
        "shares": {
            spec.name: Share(spec.most_cores, spec.most_memory_bytes, spec.is_schedulable)
            for spec in wanted
        },
    }
