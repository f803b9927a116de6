from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from deployments.models import DeploymentState, OnlineDeployment
from tests.factories import make_deployment
from workspaces.errors import Conflict

pytestmark = pytest.mark.django_db


def make_due(state: str = DeploymentState.CREATING) -> OnlineDeployment:
    deployment = make_deployment(state=state)
    OnlineDeployment.objects.filter(pk=deployment.pk).update(due_at=timezone.now())
    deployment.refresh_from_db()
    return deployment


def test_a_legal_move_changes_state_and_makes_the_row_due() -> None:
    deployment = make_deployment()
    deployment.move(DeploymentState.UPDATING)
    deployment.refresh_from_db()
    assert deployment.state == DeploymentState.UPDATING
    assert OnlineDeployment.objects.due().get() == deployment


def test_an_illegal_move_is_a_conflict_that_names_the_state() -> None:
    deployment = make_deployment(state=DeploymentState.DELETING)
    with pytest.raises(Conflict, match="Deleting"):
        deployment.move(DeploymentState.UPDATING)
    deployment.refresh_from_db()
    assert deployment.state == DeploymentState.DELETING


def test_of_two_moves_from_the_same_state_one_wins() -> None:
    first = make_deployment()
    second = OnlineDeployment.objects.get(pk=first.pk)
    first.move(DeploymentState.UPDATING)
    with pytest.raises(Conflict):
        second.move(DeploymentState.UPDATING)


def test_a_held_row_cannot_be_claimed_until_the_lease_runs_out() -> None:
    deployment = make_due()
    assert OnlineDeployment.claim(deployment.pk, seconds=60) is not None
    assert OnlineDeployment.claim(deployment.pk, seconds=60) is None
    expired = timezone.now() - timedelta(seconds=1)
    OnlineDeployment.objects.filter(pk=deployment.pk).update(lease_until=expired)
    assert OnlineDeployment.claim(deployment.pk, seconds=60) is not None


def test_a_row_that_is_not_due_cannot_be_claimed() -> None:
    deployment = make_deployment()
    assert OnlineDeployment.claim(deployment.pk, seconds=60) is None


def test_a_lost_lease_writes_nothing() -> None:
    deployment = make_due()
    slow = OnlineDeployment.claim(deployment.pk, seconds=60)
    assert slow is not None
    OnlineDeployment.objects.filter(pk=deployment.pk).update(
        lease_until=timezone.now() - timedelta(seconds=1)
    )
    other = OnlineDeployment.claim(deployment.pk, seconds=60)
    assert other is not None
    assert not slow.settle(DeploymentState.FAILED, failure={"code": "late"})
    deployment.refresh_from_db()
    assert (deployment.state, deployment.failure) == (DeploymentState.CREATING, {})
    assert deployment.lease_token == other.lease_token


def test_a_verb_that_moved_the_row_wins_over_the_settling_worker() -> None:
    deployment = make_due()
    claimed = OnlineDeployment.claim(deployment.pk, seconds=60)
    assert claimed is not None
    OnlineDeployment.objects.get(pk=deployment.pk).move(DeploymentState.DELETING)
    assert not claimed.settle(DeploymentState.SUCCEEDED)
    deployment.refresh_from_db()
    assert deployment.state == DeploymentState.DELETING
    assert OnlineDeployment.objects.due().filter(pk=deployment.pk).exists()


def test_settling_gives_the_lease_back_and_sets_the_next_look() -> None:
    deployment = make_due()
    claimed = OnlineDeployment.claim(deployment.pk, seconds=60)
    assert claimed is not None
    assert claimed.settle(again_in_seconds=30)
    deployment.refresh_from_db()
    assert deployment.lease_token == ""
    assert deployment.due_at is not None
    assert timedelta(seconds=25) < deployment.due_at - timezone.now() <= timedelta(seconds=30)
