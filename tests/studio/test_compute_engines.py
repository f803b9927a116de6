"""Engines of attached computes in the studio: seen by members, changed by administrators of the installation."""

from __future__ import annotations

import html
import re

import pytest
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from deployments.models import Instance
from deployments.runtimes.docker import survey
from deployments.runtimes.docker.addresses import EngineAddress
from deployments.runtimes.docker.survey import EngineSurvey
from tests.factories import (
    Cast,
    make_compute,
    make_deployment,
    make_engines,
    make_online_endpoint,
    make_revision,
    make_user,
)
from tests.studio.conftest import browser_of
from workspaces.models import Compute

GIB = 2**30
WISH = {"name": "far", "url": "unix:///nowhere/far.sock", "is_schedulable": "on"}


def after(client: Client, address: str) -> str:
    """What the page says to which a button leads."""
    reply = client.post(address)
    assert reply.status_code == 303, reply
    return words(client, reply.headers["Location"])


@pytest.fixture
def edge(cast: Cast) -> Compute:
    return make_compute(cast.workspace, "edge", kind="kubernetes")


@pytest.fixture
def admin(cast: Cast) -> Client:
    return browser_of(make_user("olga", is_superuser=True))


@pytest.fixture(autouse=True)
def engines(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Name → why it is away; the others have eight cores and 16 GiB, of which a quarter is taken."""
    away: dict[str, str] = {}

    def ask(address: EngineAddress, installation: str) -> EngineSurvey:
        if address.name in away:
            return EngineSurvey(address.name, address.url, away=away[address.name])
        return EngineSurvey(
            address.name, address.url, "", "20.10.24", 8, 16 * GIB, 2.0, 4 * GIB, 2
        )

    cache.clear()
    monkeypatch.setattr(survey, "survey", ask)
    return away


def url(cast: Cast, name: str, *names: str) -> str:
    return reverse(f"studio:{name}", args=[cast.workspace.name, *names])


def words(client: Client, address: str) -> str:
    reply = client.get(address)
    assert reply.status_code == 200, reply
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", reply.content.decode())).split())


def test_an_administrator_attaches_an_engine_and_hears_whether_it_answers(
    admin: Client, cast: Cast, edge: Compute, engines: dict[str, str]
) -> None:
    page = words(admin, url(cast, "compute_detail", "edge"))
    assert "No engine of its own" in page
    reply = admin.post(url(cast, "attach_engine", "edge"), {**WISH, "most_cores": "4"})
    assert reply.status_code == 303
    assert reply.headers["Location"] == url(cast, "compute_detail", "edge")
    row = edge.engines.get()
    assert (row.name, row.most_cores, row.most_memory_bytes, row.is_schedulable) == (
        "far",
        4.0,
        None,
        True,
    )
    assert "The engine far answers and is ready." in words(admin, reply.headers["Location"])
    shown = words(admin, url(cast, "compute_engines", "edge"))
    assert "far unix:///nowhere/far.sock answers 2 of 4 limit 4" in shown

    more = admin.post(url(cast, "edit_engine", "edge", "far"), {**WISH, "most_cores": "64"})
    warning = "Over-committed: maxCores is 64, and the host has 8 cores."
    assert f"is ready. {warning}" in words(admin, more.headers["Location"])
    shown = words(admin, url(cast, "compute_engines", "edge"))
    assert f"answers {warning}" in shown
    assert "2 of 64 limit" in shown

    engines["far"] = "No route to host"
    edited = admin.post(
        url(cast, "edit_engine", "edge", "far"), {**WISH, "most_memory_gib": "1.5"}
    )
    row.refresh_from_db()
    assert (row.most_cores, row.most_memory_bytes) == (None, 1.5 * GIB)
    said = words(admin, edited.headers["Location"])
    assert "is kept, but does not answer: No route to host." in said


def test_members_see_names_and_capacity_and_no_address(
    bob: Client, alice: Client, cast: Cast, edge: Compute, engines: dict[str, str]
) -> None:
    make_engines(edge, "far")
    make_engines(edge, "near", is_schedulable=False)
    engines["near"] = "Connection refused at 10.0.0.7"
    for client in (bob, alice):
        shown = words(client, url(cast, "compute_engines", "edge"))
        assert "far answers 2 of 8" in shown
        assert "near does not answer closed" in shown
        assert "nowhere" not in shown
        assert "10.0.0.7" not in shown
    listed = words(bob, url(cast, "compute"))
    assert "edge Attached 2 engines" in listed
    refused = alice.post(url(cast, "attach_engine", "edge"), WISH)
    assert refused.status_code == 403
    assert edge.engines.count() == 2
    checked = after(alice, url(cast, "check_engine", "edge", "near"))
    assert "The engine near does not answer." in checked
    assert "10.0.0.7" not in checked


def test_what_is_wrong_stands_beside_its_field(admin: Client, cast: Cast, edge: Compute) -> None:
    make_engines(edge, "far")
    for change, field, sentence in (
        ({"name": "x", "url": "http://x"}, "url", "An engine's address is unix:///path"),
        ({"name": "FAR"}, "name", "has an engine “FAR” already"),
        ({"name": "x", "cert_path": "/nowhere"}, "cert_path", "certificates are for tcp://"),
        ({"name": "x", "most_memory_gib": "0.01"}, "most_memory_gib", "at least 67108864"),
    ):
        reply = admin.post(
            url(cast, "attach_engine", "edge"),
            {**WISH, **change},
            headers={"HX-Request": "true"},
        )
        text = html.unescape(reply.content.decode())
        assert (reply.status_code, sentence in text, f"id_{field}" in text) == (422, True, True)


def test_an_engine_is_closed_opened_drained_and_removed_after_a_question(
    admin: Client, cast: Cast, edge: Compute
) -> None:
    make_engines(edge, "far", "near")
    endpoint = make_online_endpoint(cast.workspace, "churn", compute="edge")
    deployment = make_deployment(endpoint, "blue", ready=1)
    row = deployment.instances.get()
    row.revision.compute = edge
    row.revision.save()
    Instance.objects.filter(pk=row.pk).update(node="far")

    def act(what: str) -> str:
        address = url(cast, f"{what}_engine", "edge", "far")
        assert "1 instance runs on it." in words(admin, address)
        return after(admin, address)

    assert "The engine far takes no new instances." in act("close")
    assert not edge.engines.get(name="far").is_schedulable
    assert "The engine far takes new instances." in act("open")
    assert "Drain the engine first, then remove it." in act("remove")
    assert "1 instance leaves the engine far." in act("drain")
    row.refresh_from_db()
    assert row.is_leaving
    row.delete()
    assert "The engine far is removed." in after(admin, url(cast, "remove_engine", "edge", "far"))
    assert edge.engines.get().name == "near"


def test_the_wizard_offers_attached_computes(
    alice: Client, bob: Client, cast: Cast, edge: Compute
) -> None:
    page = alice.get(url(cast, "create_endpoint")).content.decode()
    options = re.findall(r'<option value="([^"]*)"[^>]*>', page.partition('name="compute"')[2])
    assert options[:2] == ["", "edge"]
    code = alice.post(
        url(cast, "create_endpoint"),
        {"endpoint_name": "churn", "compute": "edge", "only_code": "1"},
        headers={"HX-Request": "true"},
    ).content.decode()
    text = html.unescape(re.sub(r"<[^>]+>", "", code))
    assert "kubernetesOnlineEndpoint.schema.json" in text
    assert "compute: azureml:edge" in text


def test_pages_say_where_a_deployment_runs(bob: Client, cast: Cast, edge: Compute) -> None:
    make_engines(edge, "far")
    endpoint = make_online_endpoint(cast.workspace, "churn", compute="edge")
    deployment = make_deployment(endpoint, "blue", ready=1)
    revision = make_revision(deployment, runtime="docker", compute=edge)
    deployment.revision = deployment.serving_revision = revision
    deployment.save()
    deployment.instances.update(revision=revision, node="far")
    page = url(cast, "deployment", "churn", "blue")
    assert "container on compute edge" in words(bob, page)
    assert "edge / far" in words(bob, f"{page}?tab=instances")
    detail = url(cast, "compute_detail", "edge")
    assert f'href="{detail}"' in bob.get(url(cast, "endpoint", "churn")).content.decode()
    assert "churn / blue" in words(bob, detail)


def test_a_compute_with_deployments_is_not_deleted(
    alice: Client, cast: Cast, edge: Compute
) -> None:
    make_deployment(make_online_endpoint(cast.workspace, "churn", compute="edge"), "blue")
    said = after(alice, url(cast, "delete_compute", "edge"))
    assert "has deployments on it: churn/blue" in said
    assert Compute.objects.filter(pk=edge.pk).exists()
