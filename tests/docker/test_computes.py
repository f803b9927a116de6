"""Attached computes side by side: one runs processes, one a pool of two engines, all from one portal."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import docker
import httpx
import pytest
from docker.errors import APIError
from pytest_django import Settings

from deployments import computes, engine_surveys, installation, provisioning
from deployments.changes import update_deployment
from deployments.models import Instance, OnlineDeployment
from endpoints.changes import update_endpoint
from tests.deployments.conftest import SCRIPT, Factory, advance_once, make
from tests.docker.test_engines import SecondEngine, running_engine
from tests.factories import make_compute
from workspaces.compute_engines import EngineSpec
from workspaces.errors import Conflict
from workspaces.models import Compute, InstanceType

__all__ = ["make"]  # a fixture

pytestmark = [pytest.mark.django_db, pytest.mark.real, pytest.mark.docker]
PATIENCE_SECONDS = 90


@pytest.fixture
def second_engine(base_image: str) -> Iterator[SecondEngine]:
    yield from running_engine()


@pytest.fixture(autouse=True)
def installed(
    settings: Settings, engine: docker.DockerClient, second_engine: SecondEngine
) -> Iterator[None]:
    """An installation that runs processes; what it leaves on the engines goes in the end."""
    settings.DEPLOYMENT_RUNTIME = "process"
    settings.INSTALLATION = f"computes{os.getpid()}"
    settings.DEPLOYMENTS_ROOT = settings.PORTICO_HOME / "deployments"
    settings.STORAGE_ROOT = settings.PORTICO_HOME / "store"
    settings.CONTAINERS_ROOT = settings.PORTICO_HOME / "containers"
    settings.IMAGES_ROOT = settings.PORTICO_HOME / "images"
    settings.DOCKER_SUBNETS = f"10.223.{second_engine.port % 256}.0/24"
    settings.PACKAGES_OFFLINE = True
    settings.PORTICO_HOME.mkdir(exist_ok=True)
    Path(settings.RUN_DIR).mkdir(exist_ok=True, mode=0o711)
    installation.forget_runtimes()
    yield
    for house in installation.runtimes_in_use():
        for name in list(house.owned()):
            house.remove(name)
    installation.forget_runtimes()
    for image in engine.images.list(filters={"label": "portico.builder"}):
        if image.labels["portico.builder"].startswith(settings.INSTALLATION):
            with suppress(APIError):
                engine.images.remove(image.id, force=True)
    for volume in engine.volumes.list(filters={"name": settings.INSTALLATION}):
        volume.remove(force=True)
    gc.collect()


@pytest.fixture
def box(make: Factory, second_engine: SecondEngine) -> Compute:
    """An attached compute with this machine's engine and another one."""
    compute = make_compute(make.workspace, "box", kind="kubernetes")
    for name, url in (("far", second_engine.url), ("here", "unix:///var/run/docker.sock")):
        # The far one is full with one of its instances.
        most_cores = 0.2 if name == "far" else None
        computes.put_engine(compute, EngineSpec(name, url, most_cores=most_cores), by=None)
    return compute


def deployed(make: Factory, compute: str, **changes: object) -> OnlineDeployment:
    endpoint = make.endpoint()
    update_endpoint(endpoint, {"compute": compute}, by=None)
    return make.deployment(endpoint, instance_type="tiny", **changes)


def advance(until: Callable[[], bool], *deployments: OnlineDeployment) -> None:
    """What one worker does in turns, until it is so."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not until():
        provisioning.sweep()
        for each in deployments:
            advance_once(OnlineDeployment.objects.get(pk=each.pk))
        assert time.monotonic() < end, [
            list(OnlineDeployment.objects.values("name", "state", "failure")),
            list(Instance.objects.values("name", "node", "state", "reason", "is_leaving")),
        ]
        time.sleep(0.05)


def all_succeeded() -> bool:
    return set(OnlineDeployment.objects.values_list("state", flat=True)) == {"Succeeded"}


def ask(deployment: OnlineDeployment) -> str:
    address = Instance.objects.get(deployment=deployment, state="Healthy").address
    transport = None
    if address.startswith("unix:"):
        transport = httpx.HTTPTransport(uds=address.removeprefix("unix:"))
    with httpx.Client(transport=transport) as client:
        host = "model" if transport else address
        return client.post(f"http://{host}/score", content="[1]", timeout=10).text


# docker's SDK does not close the connections that it keeps.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_two_computes_run_two_endpoints_side_by_side(
    make: Factory, box: Compute, second_engine: SecondEngine
) -> None:
    InstanceType.objects.create(name="tiny", cores="0.2", memory_bytes=256 * 1024**2)
    make_compute(make.workspace, "house", kind="kubernetes", runtime="process")
    process = deployed(make, "house", script=SCRIPT)
    container = deployed(make, "box", script=SCRIPT)
    computes.put_engine(
        box, replace(computes.find_engine(box, "here"), is_schedulable=False), by=None
    )
    advance(all_succeeded, process, container)
    rows = {row.deployment_id: row for row in Instance.objects.all()}
    assert (rows[process.pk].node, rows[process.pk].address[:5]) == ("", "unix:")
    assert (rows[container.pk].node, rows[container.pk].address[:10]) == ("far", "127.0.0.1:")
    assert [ask(process), ask(container)] == ['"[1]"', '"[1]"']

    # A worker that has just started finds both where they are, and starts nothing again.
    installation.forget_runtimes()
    for row in rows.values():
        revision = row.revision
        assert row.name in set(installation.runtime_of(revision).owned())
    provisioning.sweep()
    advance_once(process)
    advance_once(container)
    again = {row.deployment_id: row.started_at for row in Instance.objects.all()}
    assert again == {pk: row.started_at for pk, row in rows.items()}

    # Its engine cannot be taken from under it; drained, it is replaced where there is room, as soon as there is.
    with pytest.raises(Conflict, match="Instances run on the engine 'far' of compute 'box'"):
        computes.remove_engine(box, "far", by=None)
    assert computes.drain_engine(box, "far", by=None) == 1
    advance_once(container)
    reasons = Instance.objects.filter(deployment=container).values_list("reason", flat=True)
    assert any(
        "No engine of compute 'box' has room" in reason and "here is closed" in reason
        for reason in reasons
    ), list(reasons)
    assert ask(container) == '"[1]"'
    computes.put_engine(
        box, replace(computes.find_engine(box, "here"), is_schedulable=True), by=None
    )
    moved = Instance.objects.filter(deployment=container)
    advance(lambda: list(moved.values_list("node", "state")) == [("here", "Healthy")], container)
    assert ask(container) == '"[1]"'
    found = engine_surveys.survey_compute(box, is_fresh=True)
    assert [(each.spec.name, each.survey.container_count) for each in found] == [
        ("far", 0),
        ("here", 1),
    ]

    # A host that is dead is no obstacle: the next revision starts on the other one, and the dead one may go.
    second_engine.stop()
    container.refresh_from_db()
    update_deployment(container, make.spec(instance_type="tiny", request_timeout_ms=900), by=None)
    fresh = moved.filter(revision__number=2, state="Healthy", node="here")
    advance(fresh.exists, container)
    computes.remove_engine(box, "far", by=None)
    row = fresh.get()
    assert installation.runtime_of(row.revision).usage(row.name)
