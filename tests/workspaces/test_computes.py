"""Computes: what may be said of one, what never changes, and what the quota allows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from tests.factories import make_cast, make_compute
from workspaces.computes import (
    ComputeSpec,
    create_compute,
    delete_compute,
    spec_of,
    update_compute,
)
from workspaces.errors import Conflict, UserError, ValidationFailed
from workspaces.models import Activity, Compute, Quota, Workspace

pytestmark = pytest.mark.django_db


@pytest.fixture
def workspace() -> Workspace:
    return make_cast().workspace


def test_a_cluster_has_azures_defaults_and_is_ready_at_once(workspace: Workspace) -> None:
    made = create_compute(workspace, ComputeSpec(name="cpu"), by=None)
    assert (made.kind, made.tier, str(made.instance_type)) == (
        "amlcompute",
        "dedicated",
        "Standard_DS3_v2",
    )
    assert (made.min_instances, made.max_instances, made.idle_seconds) == (0, 1, 120)
    assert made.location == workspace.location
    activity = Activity.objects.get()
    assert (activity.verb, activity.subject_type, activity.subject) == ("create", "Compute", "cpu")


@pytest.mark.parametrize(
    ("changes", "target"),
    [
        ({"name": "x"}, "name"),
        ({"name": "9lives"}, "name"),
        ({"name": "ends-"}, "name"),
        ({"name": "c" * 25}, "name"),
        ({"kind": "virtualmachine"}, "type"),
        ({"tier": "spot"}, "tier"),
        ({"instance_type": "Standard_Nothing"}, "size"),
        ({"min_instances": -1}, "min_instances"),
        ({"min_instances": 3, "max_instances": 2}, "min_instances"),
        ({"max_instances": 0}, "max_instances"),
        ({"max_instances": 101}, "max_instances"),
        ({"idle_seconds": -1}, "idle_time_before_scale_down"),
        ({"ssh_settings": {"admin_password": "p"}}, "ssh_settings.admin_password"),
        ({"tags": {"a": 1}}, "tags"),
        ({"kind": "kubernetes", "namespace": "No_Capitals"}, "namespace"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_made(
    workspace: Workspace, changes: dict[str, Any], target: str
) -> None:
    with pytest.raises(UserError) as refused:
        create_compute(workspace, ComputeSpec(**{"name": "cpu", **changes}), by=None)
    assert refused.value.target == target
    assert not Compute.objects.exists()
    assert not Activity.objects.exists()


def test_all_that_is_wrong_is_told_at_once(workspace: Workspace) -> None:
    wish = ComputeSpec(name="cpu", tier="spot", max_instances=0, instance_type="none")
    with pytest.raises(ValidationFailed) as refused:
        create_compute(workspace, wish, by=None)
    assert [error.target for error in refused.value.errors] == ["tier", "max_instances", "size"]


def test_a_taken_name_is_a_conflict_without_regard_to_case(workspace: Workspace) -> None:
    create_compute(workspace, ComputeSpec(name="cpu"), by=None)
    with pytest.raises(Conflict, match="already has a compute 'CPU'"):
        create_compute(workspace, ComputeSpec(name="CPU"), by=None)
    create_compute(make_compute().workspace, ComputeSpec(name="CPU"), by=None)


def test_all_nodes_of_a_cluster_must_fit_into_the_quota_of_its_tier(workspace: Workspace) -> None:
    Quota.objects.create(workspace=workspace, resource="cores", limit=8)
    fits = ComputeSpec(name="fits", max_instances=2)
    create_compute(workspace, fits, by=None)
    with pytest.raises(UserError, match="may have 8 cores") as refused:
        create_compute(workspace, replace(fits, name="large", max_instances=3), by=None)
    assert (refused.value.code, refused.value.target) == ("OutOfQuota", "max_instances")
    cheap = replace(fits, name="cheap", max_instances=3, tier="low_priority")
    assert create_compute(workspace, cheap, by=None).tier == "low_priority"


def test_the_number_of_computes_has_a_limit(workspace: Workspace) -> None:
    Quota.objects.create(workspace=workspace, resource="computes", limit=1)
    create_compute(workspace, ComputeSpec(name="one"), by=None)
    with pytest.raises(UserError, match="1 compute; 1 is used"):
        create_compute(workspace, ComputeSpec(name="two"), by=None)


def test_an_update_changes_what_may_change_and_tells_what_did(workspace: Workspace) -> None:
    made = create_compute(workspace, ComputeSpec(name="cpu"), by=None)
    changed = update_compute(made, replace(spec_of(made), max_instances=3), by=None)
    assert changed.max_instances == 3
    update_compute(changed, spec_of(changed), by=None)
    activity = Activity.objects.get(verb="update")
    assert (activity.before, activity.after) == ({"max_instances": 1}, {"max_instances": 3})


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"instance_type": "Standard_F4s_v2"}, "size"),
        ({"tier": "low_priority"}, "tier"),
        ({"kind": "kubernetes", "instance_type": ""}, "type"),
        ({"location": "elsewhere"}, "location"),
    ],
)
def test_what_a_compute_is_made_of_never_changes(
    workspace: Workspace, changes: dict[str, Any], word: str
) -> None:
    made = create_compute(workspace, ComputeSpec(name="cpu"), by=None)
    with pytest.raises(UserError, match="cannot be changed") as refused:
        update_compute(made, replace(spec_of(made), **changes), by=None)
    assert refused.value.target == word
    assert spec_of(Compute.objects.get()) == spec_of(made)


def test_the_case_of_a_size_is_no_change(workspace: Workspace) -> None:
    made = create_compute(workspace, ComputeSpec(name="cpu"), by=None)
    wish = replace(spec_of(made), instance_type="standard_ds3_V2")
    assert spec_of(update_compute(made, wish, by=None)) == spec_of(made)
    assert not Activity.objects.filter(verb="update").exists()


def test_deleting_twice_is_success(workspace: Workspace) -> None:
    made = create_compute(workspace, ComputeSpec(name="cpu"), by=None)
    delete_compute(made, by=None)
    delete_compute(made, by=None)
    assert Activity.objects.filter(verb="delete").count() == 1
    with pytest.raises(Conflict, match="deleted meanwhile"):
        update_compute(made, spec_of(made), by=None)


@pytest.mark.parametrize(
    "wrong", [{"min_instances": 5, "max_instances": 2}, {"instance_type": None}]
)
def test_the_database_refuses_what_makes_no_sense(wrong: dict[str, Any]) -> None:
    made = make_compute()
    with pytest.raises(IntegrityError), transaction.atomic():
        Compute.objects.filter(pk=made.pk).update(**wrong)
