"""Computes in the studio: made, changed and deleted by those who may."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.factories import Cast, add_member, make_batch_endpoint, make_compute, make_user
from tests.studio.conftest import browser_of
from workspaces.models import Compute, Role

HTMX = {"HX-Request": "true"}
CLUSTER = {
    "name": "cpu",
    "kind": "amlcompute",
    "instance_type": "Standard_F2s_v2",
    "tier": "low_priority",
    "min_instances": "0",
    "max_instances": "3",
    "idle_seconds": "60",
    "description": "Nightly",
    "tags": "team=risk",
}


def url(cast: Cast, name: str, *names: str) -> str:
    return reverse(f"studio:{name}", args=[cast.workspace.name, *names])


def test_a_cluster_is_made_and_listed(alice: Client, cast: Cast) -> None:
    reply = alice.post(url(cast, "create_compute"), CLUSTER)
    assert (reply.status_code, reply.headers["Location"]) == (303, url(cast, "compute"))
    made = Compute.objects.get()
    assert (made.name, str(made.instance_type), made.tier) == (
        "cpu",
        "Standard_F2s_v2",
        "low_priority",
    )
    assert (made.min_instances, made.max_instances, made.idle_seconds) == (0, 3, 60)
    assert (made.tags, made.created_by) == ({"team": "risk"}, cast.alice)
    page = alice.get(url(cast, "compute")).content.decode()
    assert "0\N{EN DASH}3" in page
    assert "Compute cpu is ready." in page
    assert "created compute" in alice.get(url(cast, "activity")).content.decode()


def test_a_kubernetes_cluster_is_attached_by_its_namespace(alice: Client, cast: Cast) -> None:
    wish = {"name": "k8s", "kind": "kubernetes", "namespace": "scoring"}
    assert alice.post(url(cast, "create_compute"), wish).status_code == 303
    made = Compute.objects.get()
    assert (made.kind, made.namespace, made.instance_type) == ("kubernetes", "scoring", None)


def test_owners_lower_quotas_and_others_only_see_them(alice: Client, cast: Cast) -> None:
    lowered = alice.post(url(cast, "set_quota", "cores"), {"limit": "12"})
    assert (lowered.status_code, lowered.headers["Location"]) == (303, url(cast, "compute"))
    assert cast.workspace.quotas.get().limit == 12
    page = alice.get(url(cast, "compute")).content.decode()
    assert "may have 12 cores now" in page
    assert 'aria-label="Limit of cores"' in page
    assert "a single instance counts twice" in page
    refused = alice.post(url(cast, "set_quota", "cores"), {"limit": "13"})
    assert refused.status_code == 403
    assert "ask an administrator to raise it" in refused.content.decode()
    assert alice.post(url(cast, "set_quota", "cores"), {"limit": "many"}).status_code == 400
    assert alice.post(url(cast, "set_quota", "wishes"), {"limit": "1"}).status_code == 404
    dora = make_user("dora")
    add_member(cast.workspace, dora, Role.CONTRIBUTOR)
    theirs = browser_of(dora)
    assert theirs.post(url(cast, "set_quota", "cores"), {"limit": "1"}).status_code == 403
    assert "Limit of cores" not in theirs.get(url(cast, "compute")).content.decode()
    assert cast.workspace.quotas.get().limit == 12


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "9"}, "is not allowed"),
        ({"instance_type": "Standard_Nothing"}, "does not exist here"),
        ({"min_instances": "5"}, "more than max_instances"),
        ({"max_instances": "many"}, "Enter a whole number"),
        ({"tags": "nonsense"}, "Write name=value"),
        ({"max_instances": "99999999999999999999"}, "whole number from"),
    ],
)
def test_what_is_wrong_is_listed_and_nothing_is_made(
    alice: Client, cast: Cast, changes: dict[str, str], words: str
) -> None:
    for headers in ({}, HTMX):
        reply = alice.post(url(cast, "create_compute"), {**CLUSTER, **changes}, headers=headers)
        assert reply.status_code == 422
        assert words in reply.content.decode()
    assert not Compute.objects.exists()


def test_a_taken_name_is_told(alice: Client, cast: Cast) -> None:
    make_compute(cast.workspace, "CPU")
    reply = alice.post(url(cast, "create_compute"), CLUSTER)
    assert "already has a compute" in reply.content.decode()


def test_an_edit_changes_the_nodes_and_nothing_that_is_fixed(alice: Client, cast: Cast) -> None:
    make_compute(cast.workspace, "cpu")
    page = alice.get(url(cast, "edit_compute", "cpu")).content.decode()
    assert 'name="max_instances"' in page
    assert 'name="instance_type"' not in page
    reply = alice.post(url(cast, "edit_compute", "cpu"), {**CLUSTER, "max_instances": "7"})
    assert reply.status_code == 303
    changed = Compute.objects.get()
    assert (changed.max_instances, changed.tags) == (7, {"team": "risk"})
    assert (str(changed.instance_type), changed.tier) == ("Standard_DS3_v2", "dedicated")


def test_an_attached_cluster_has_no_nodes_to_choose(alice: Client, cast: Cast) -> None:
    make_compute(cast.workspace, "k8s", kind="kubernetes", tags={"a": "b"})
    page = alice.get(url(cast, "edit_compute", "k8s")).content.decode()
    assert 'name="max_instances"' not in page
    assert alice.post(url(cast, "edit_compute", "k8s"), {"description": "d"}).status_code == 303
    assert Compute.objects.get().tags == {}


def test_deleting_says_what_names_the_compute(alice: Client, cast: Cast) -> None:
    make_batch_endpoint(cast.workspace, deployments=["blue"])
    page = alice.get(url(cast, "compute")).content.decode()
    assert "1 batch deployment names it" in page
    assert alice.post(url(cast, "delete_compute", "cpu")).status_code == 303
    assert not Compute.objects.exists()
    assert alice.post(url(cast, "delete_compute", "cpu")).status_code == 404


def test_a_reader_and_a_data_scientist_see_computes_and_no_buttons(
    bob: Client, cast: Cast
) -> None:
    make_compute(cast.workspace, "cpu")
    add_member(cast.workspace, cast.charlie, Role.DATA_SCIENTIST)
    for browser in (bob, browser_of(cast.charlie)):
        page = browser.get(url(cast, "compute")).content.decode()
        assert "cpu" in page
        assert url(cast, "create_compute") not in page
        assert url(cast, "delete_compute", "cpu") not in page
        assert browser.post(url(cast, "create_compute"), CLUSTER).status_code == 403


def test_the_page_costs_the_same_for_one_compute_and_for_many(alice: Client, cast: Cast) -> None:
    def cost() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert alice.get(url(cast, "compute")).status_code == 200
        return len(queries)

    make_compute(cast.workspace)
    cost()
    before = cost()
    for _ in range(4):
        make_compute(cast.workspace)
    assert cost() == before


def test_on_a_phone_every_figure_of_the_page_has_its_label(bob: Client, cast: Cast) -> None:
    make_compute(cast.workspace, "cpu")
    page = bob.get(url(cast, "compute")).content.decode()
    narrow = [page.count(f'<table class="table table--{kind}">') for kind in ("brief", "cards")]
    assert page.count('<table class="table') == sum(narrow) == 3
    for label in ("Used", "Limit", "Memory", "Price per hour", "Nodes"):
        assert f'data-label="{label}"' in page
