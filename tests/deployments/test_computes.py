"""Deployments on attached computes: where their revisions run, and what keeps computes and engines in place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from deployments import computes, installation
from deployments.changes import create_deployment, update_deployment
from deployments.models import Instance, OnlineDeployment
from deployments.runtimes import Runtime
from deployments.runtimes.docker import bundle
from deployments.runtimes.fake import FakeRuntime
from endpoints.changes import update_endpoint
from tests.deployments.conftest import Factory, make
from tests.factories import make_compute, make_engines, make_user
from workspaces.compute_engines import EngineSpec
from workspaces.computes import spec_of
from workspaces.errors import Conflict, Forbidden, UserError
from workspaces.models import Compute, ComputeEngine

__all__ = ["make"]  # a fixture

pytestmark = pytest.mark.django_db


@pytest.fixture
def edge(make: Factory) -> Compute:
    """An attached compute with two engines."""
    compute = make_compute(make.workspace, "edge", kind="kubernetes")
    make_engines(compute, "a", "b")
    return compute


class Pools:
    """Fakes in the place of docker, each with what it was made of."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.made: list[tuple[FakeRuntime, dict[str, Any]]] = []

    def load(self, name: str, **where: Any) -> Runtime:
        assert name == "docker"
        house = FakeRuntime(root=self.root / str(len(self.made)))
        self.made.append((house, where))
        return house


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Pools:
    found = Pools(tmp_path)
    # Sixty megabytes that no fake runs.
    monkeypatch.setattr(installation, "lay_out", lambda folder: folder)
    monkeypatch.setattr(bundle, "lay_out", lambda folder, server: folder)
    monkeypatch.setattr(installation, "load", found.load)
    return found


def on(make: Factory, compute: str, name: str = "") -> OnlineDeployment:
    endpoint = make.endpoint(name)
    update_endpoint(endpoint, {"compute": compute}, by=None)
    return make.deployment(endpoint)


def runs_on(deployment: OnlineDeployment, engine: str, number: int = 0) -> Instance:
    """A ready instance there."""
    assert deployment.revision is not None
    name = f"{deployment.endpoint.name}.{deployment.pk}.{number}"
    OnlineDeployment.objects.filter(pk=deployment.pk).update(
        state="Succeeded", serving_revision=deployment.revision, instance_count=number + 1
    )
    return Instance.objects.create(
        deployment=deployment,
        revision=deployment.revision,
        number=number,
        name=name,
        node=engine,
        state=Instance.State.HEALTHY,
    )


def test_a_revision_keeps_where_it_runs(make: Factory, edge: Compute, settings: Settings) -> None:
    make_compute(make.workspace, "plain", kind="kubernetes")
    make_compute(make.workspace, "processes", kind="kubernetes", runtime="process")
    found = {name: on(make, name).revision for name in ("", "plain", "processes", "edge", "EDGE")}
    assert {name: (row.runtime, row.compute) for name, row in found.items() if row} == {
        "": ("fake", None),
        "plain": ("fake", None),
        "processes": ("process", None),
        "edge": ("docker", edge),
        "EDGE": ("docker", edge),
    }


def test_a_change_of_the_compute_is_for_the_next_revision(make: Factory, edge: Compute) -> None:
    plain = make_compute(make.workspace, "plain", kind="kubernetes")
    deployment = on(make, "plain")
    runs_on(deployment, "")
    make_engines(plain, "new")
    deployment.refresh_from_db()
    update_deployment(deployment, make.spec(request_timeout_ms=900), by=None)
    places = deployment.revisions.order_by("number").values_list("runtime", "compute__name")
    assert list(places) == [("fake", None), ("docker", "plain")]


def test_a_deployment_on_a_compute_that_is_gone_is_refused(make: Factory) -> None:
    endpoint = make.endpoint("churn")
    endpoint.compute = "/subscriptions/s/resourceGroups/g/workspaces/w/computes/gone"
    endpoint.save()
    with pytest.raises(UserError) as refused:
        create_deployment(endpoint, make.spec(), by=None)
    assert "is on the compute 'gone', which workspace" in refused.value.message


def test_what_is_too_large_for_this_machine_is_left_to_the_engines(
    make: Factory, edge: Compute
) -> None:
    endpoint = make.endpoint()
    update_endpoint(endpoint, {"compute": "edge"}, by=None)
    deployment = make.deployment(endpoint, instance_type="Standard_F64s_v2")
    assert deployment.revision is not None
    assert deployment.revision.warnings == []


def test_a_change_of_engines_takes_effect_with_the_next_question(
    make: Factory, edge: Compute, pools: Pools
) -> None:
    revision = on(make, "edge").revision
    assert revision is not None
    first = installation.runtime_of(revision)
    assert installation.runtime_of(revision) is first
    (_, where) = pools.made[0]
    assert [address.name for address in where["engines"]] == ["a", "b"]
    assert (where["compute"], where["is_pool"]) == ("edge", True)
    assert where["shares"]["a"].is_schedulable

    # Another process may have written it.
    ComputeEngine.objects.filter(name="a").update(is_schedulable=False, most_cores=2.0)
    second = installation.runtime_of(revision)
    assert second is not first
    share = pools.made[1][1]["shares"]["a"]
    assert (share.is_schedulable, share.cores(8.0), share.cores(1.0)) == (False, 2.0, 2.0)
    assert second in installation.runtimes_in_use()


def test_two_computes_are_two_pools(make: Factory, edge: Compute, pools: Pools) -> None:
    other = make_compute(make.workspace, "lab", kind="kubernetes")
    make_engines(other, "a")
    houses = [installation.pool_of(edge.pk), installation.pool_of(other.pk)]
    assert houses[0] is not houses[1]
    roots = {where["root"] for _, where in pools.made}
    assert len(roots) == 2
    assert len({where["locks"] for _, where in pools.made}) == 1
    assert all(house in installation.runtimes_in_use() for house in houses)


def test_images_are_kept_for_each_address(
    make: Factory, edge: Compute, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "_answering", lambda addresses: addresses)
    ComputeEngine.objects.filter(name="a").update(is_schedulable=False)
    make_engines(make_compute(make.workspace, "lab", kind="kubernetes"), "b")
    revision = on(make, "edge").revision
    assert revision is not None
    stores = installation.image_stores(revision)
    urls = [store.settings.address.url for store in stores]
    assert urls == ["unix:///nowhere/b.sock", "unix:///nowhere/a.sock"]
    assert installation.images(revision) is stores[0]
    assert len({store.root for store in stores}) == 2
    assert len({store.settings.installation for store in stores}) == 2
    # An engine that two computes name is one.
    assert installation.all_image_stores() == [stores[1], stores[0]]


def test_an_engine_with_instances_can_neither_go_nor_change_its_address(
    make: Factory, edge: Compute
) -> None:
    deployment = on(make, "edge", "churn")
    row = runs_on(deployment, "a")
    with pytest.raises(Conflict) as refused:
        computes.remove_engine(edge, "A", by=None)
    assert refused.value.message == (
        f"Instances run on the engine 'a' of compute 'edge': {row.name}. Drain the engine first, then remove it."
    )
    engine = computes.find_engine(edge, "a")
    with pytest.raises(Conflict, match="then change its address"):
        computes.put_engine(edge, replace(engine, url="unix:///elsewhere.sock"), by=None)
    # What it may take is no matter of where it is.
    computes.put_engine(edge, replace(engine, most_cores=1.0), by=None)
    computes.remove_engine(edge, "b", by=None)
    computes.remove_engine(edge, "b", by=None)
    assert [each.name for each in spec_of(edge).engines] == ["a"]


def test_an_engine_to_which_something_may_be_starting_stays_until_it_is_closed(
    make: Factory, edge: Compute
) -> None:
    runs_on(on(make, "edge"), "")
    with pytest.raises(Conflict, match="are just being started"):
        computes.remove_engine(edge, "a", by=None)
    computes.drain_engine(edge, "a", by=None)
    computes.remove_engine(edge, "a", by=None)
    assert edge.engines.get().name == "b"


def test_draining_closes_the_engine_and_replaces_what_is_there(
    make: Factory, edge: Compute
) -> None:
    operator = make_user("olga", is_superuser=True)
    first, second = on(make, "edge", "first"), on(make, "edge", "second")
    runs_on(first, "a")
    elsewhere = runs_on(first, "b", 1)
    busy = runs_on(second, "a")
    OnlineDeployment.objects.filter(pk=second.pk).update(state="Updating")
    with pytest.raises(Forbidden):
        computes.drain_engine(edge, "a", by=make.alice)
    assert computes.drain_engine(edge, "a", by=operator) == 2
    leaving = Instance.objects.filter(is_leaving=True)
    assert {row.deployment_id for row in leaving} == {first.pk}
    assert not {elsewhere.pk, busy.pk} & {row.pk for row in leaving}
    assert not computes.find_engine(edge, "a").is_schedulable
    # Again is no harm, and takes what was busy then.
    OnlineDeployment.objects.filter(pk=second.pk).update(state="Succeeded")
    computes.drain_engine(edge, "a", by=operator)
    assert Instance.objects.filter(is_leaving=True).count() == 2


def test_a_compute_with_deployments_is_not_deleted(make: Factory, edge: Compute) -> None:
    on(make, "edge", "churn")
    with pytest.raises(Conflict) as refused:
        computes.delete_compute(edge, by=None)
    assert refused.value.message == (
        "Compute 'edge' has deployments on it: churn/blue. Delete them first."
    )
    OnlineDeployment.objects.all().update(revision=None)
    OnlineDeployment.objects.all().delete()
    computes.delete_compute(edge, by=None)
    computes.delete_compute(edge, by=None)
    assert not Compute.objects.exists()


def test_containers_run_where_the_installation_or_a_compute_has_engines(
    make: Factory, settings: Settings
) -> None:
    assert not computes.runs_containers(make.workspace)
    compute = make_compute(make.workspace, "edge", kind="kubernetes")
    assert not computes.runs_containers(make.workspace)
    computes.put_engine(compute, EngineSpec("a", "unix:///nowhere.sock"), by=None)
    assert computes.runs_containers(make.workspace)
