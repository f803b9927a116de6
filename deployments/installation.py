"""What this installation runs deployments with: the one place that hands settings to runtimes and builders."""

from __future__ import annotations

import importlib
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import DatabaseError

from deployments.engines import automatic_runtime, engines, runtime_name
from deployments.environments import EnvironmentSettings, EnvironmentStore
from deployments.images.settings import ImageSettings
from deployments.models import DebugSession, Instance, Revision
from deployments.runtimes import Runtime, load
from deployments.runtimes.docker import bundle
from deployments.runtimes.server_bundle import lay_out, prepare_server

if TYPE_CHECKING:
    from deployments.images.store import ImageStore


def runtime(name: str = "") -> Runtime:
    """The runtime called `name`, made once a process; without a name, the one for new revisions."""
    return _load(name or runtime_name())


def forget_runtimes() -> None:
    """Make them anew when they are asked for: settings have changed."""
    for made in (_load, images, automatic_runtime):
        made.cache_clear()


@cache
def _load(name: str) -> Runtime:
    return load(name, **_where(name))


def runtime_of(revision: Revision) -> Runtime:
    """What runs the instances of this revision."""
    return runtime(revision.runtime)


def runtimes_in_use() -> list[Runtime]:
    """The one for new revisions, and all on which instances may still run."""
    found = {id(house): house for house in map(runtime, sorted({"", *_names_in_use()}))}
    return list(found.values())


def runtimes_with_own_consoles() -> list[Runtime]:
    """Those of them that keep what instances print themselves, not in files of this machine."""
    names = {name or runtime_name() for name in ("", *_names_in_use())}
    if not any(settings.CONTAINERS_ROOT.glob("*.json")):
        # Without a container there is nothing to follow, and docker's SDK would be loaded while the portal starts.
        names.discard("docker")
    return [runtime(name) for name in sorted(names - {"process"})]


def _names_in_use() -> set[str]:
    try:
        rows = Instance.objects.values_list("revision__runtime", flat=True).distinct()
        return {*rows, *DebugSession.objects.values_list("revision__runtime", flat=True)}
    except DatabaseError:
        # A clean stop goes on without it.
        return set()


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


@cache
def images() -> ImageStore:
    """Where images are built: on the engine that runs containers, the first one of a pool."""
    # By name, so that processes which build none do not load docker's SDK.
    store = importlib.import_module("deployments.images.store")
    config = settings.DOCKER_CONFIG_FILE
    made: ImageStore = store.ImageStore(
        settings.IMAGES_ROOT,
        ImageSettings(
            installation=settings.INSTALLATION,
            address=engines()[0],
            base_image=settings.BASE_IMAGE,
            docker_config=Path(config).expanduser() if config else None,
            conda="auto" if settings.CONDA == "auto" else "off",
            packages=environments().settings,
        ),
        environments().interpreters,
    )
    return made


def _where(name: str) -> dict[str, Any]:
    if name == "docker":
        return _where_docker()
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
    }


def _where_docker() -> dict[str, Any]:
    server = lay_out(settings.PORTICO_HOME / "server")
    return {
        "root": settings.CONTAINERS_ROOT,
        "installation": settings.INSTALLATION,
        "server_bundle": bundle.lay_out(settings.PORTICO_HOME / "container-server", server),
        "engines": engines(),
        "is_pool": bool(settings.DOCKER_ENGINES),
        "subnets": settings.DOCKER_SUBNETS,
        "uid_base": settings.INSTANCE_UID_BASE,
        "custom_root_is_writable": settings.DOCKER_CUSTOM_ROOT_WRITABLE,
    }
