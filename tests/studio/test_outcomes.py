"""What became of what was asked for: the outcome of each revision, and of each activity."""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from deployments.changes import scale_deployment
from deployments.models import OnlineDeployment, Operation
from portal.studio.as_code.place import Place
from portal.studio.deployment_page import revision_rows
from tests.factories import (
    Cast,
    make_deployment,
    make_online_endpoint,
    make_operation,
    make_revision,
)
from workspaces import catalog, storage
from workspaces.activity import record

CAUSE = "score.py has no function named init."
PART = {"HX-Request": "true"}
PLACE = Place("https://localhost:8443", "s", "g", "w")


@pytest.fixture
def deployment(cast: Cast) -> OnlineDeployment:
    """Revision 1 served, 2 serves, 3 failed and is still wanted."""
    endpoint = make_online_endpoint(cast.workspace, "churn", traffic={"blue": 100})
    made = make_deployment(endpoint, "blue")
    first, second, third = made.revision, make_revision(made), make_revision(made)
    assert first is not None
    now = timezone.now()
    for number, state in ((1, "Succeeded"), (2, "Succeeded"), (3, "Failed")):
        make_operation(
            made,
            kind="update",
            state=state,
            revision_number=number,
            started_at=now + timedelta(seconds=number),
            failure={"cause": CAUSE} if state == "Failed" else {},
        )
    made.serving_revision, made.revision, made.state = second, third, "Failed"
    made.failure = {"cause": CAUSE, "title": "The script failed"}
    made.save()
    return made


@pytest.fixture
def runnable(cast: Cast, settings: Settings, tmp_path: Path) -> OnlineDeployment:
    """A deployment whose script is in the store."""
    settings.STORAGE_ROOT = tmp_path / "store"
    script = b"def init():\n    pass\n\n\ndef run(data):\n    return data\n"
    content = storage.put_tree([("score.py", io.BytesIO(script))])
    code = catalog.register_anonymous_code(cast.workspace, content, by=None)
    endpoint = make_online_endpoint(cast.workspace, "churn", traffic={"blue": 100})
    return make_deployment(
        endpoint, "blue", revision={"code_version": code, "model_version": None}
    )


def words(client: Client, deployment: OnlineDeployment, tab: str) -> str:
    endpoint = deployment.endpoint
    address = reverse(
        "studio:deployment", args=[endpoint.workspace.name, endpoint.name, deployment.name]
    )
    return " ".join(client.get(f"{address}?tab={tab}").content.decode().split())


def activity(client: Client, cast: Cast) -> str:
    address = reverse("studio:activity", args=[cast.workspace.name])
    return " ".join(client.get(address).content.decode().split())


def test_each_revision_says_what_became_of_it(bob: Client, deployment: OnlineDeployment) -> None:
    found = {
        row.revision.number: (row.outcome, row.cause) for row in revision_rows(PLACE, deployment)
    }
    assert found == {3: ("failed", CAUSE), 2: ("serving", ""), 1: ("served", "")}
    text = words(bob, deployment, "revisions")
    assert text.count(CAUSE) == 1
    for word in ("failed", "serving", "served", "wanted"):
        assert f"</svg> {word} </span>" in text


@pytest.mark.parametrize(
    ("states", "outcome"),
    [
        ((), ""),
        (("Running",), "rolling out"),
        (("Canceled",), "canceled"),
        (("Failed", "Running"), "rolling out"),
        # It served; what failed later was another number of instances.
        (("Succeeded", "Failed"), "served"),
    ],
)
def test_the_outcome_of_a_revision_follows_its_operations(
    deployment: OnlineDeployment, states: tuple[str, ...], outcome: str
) -> None:
    revision = make_revision(deployment)
    for second, state in enumerate(states, start=10):
        started_at = timezone.now() + timedelta(seconds=second)
        make_operation(
            deployment, state=state, revision_number=revision.number, started_at=started_at
        )
    newest = revision_rows(PLACE, deployment)[0]
    assert (newest.revision, newest.outcome) == (revision, outcome)


def test_going_back_says_that_the_model_is_loaded_again(
    alice: Client, deployment: OnlineDeployment
) -> None:
    text = words(alice, deployment, "overview")
    assert "Go back to revision 2 (loads its model again)" in text


def test_activity_tells_only_what_a_scaling_changed(
    alice: Client, cast: Cast, runnable: OnlineDeployment
) -> None:
    scale_deployment(runnable, 2, by=cast.alice)
    text = activity(alice, cast)
    assert "<dt>instances</dt> <dd> <del>1</del>" in text
    assert "<ins>2</ins>" in text
    assert "<dt>revision</dt>" not in text


def test_an_activity_whose_operation_failed_is_marked_and_a_later_one_is_not(
    alice: Client, cast: Cast, runnable: OnlineDeployment
) -> None:
    blue = runnable
    scale_deployment(blue, 2, by=cast.alice)
    Operation.objects.filter(deployment=blue).update(state="Failed")
    assert activity(alice, cast).count("</svg> Failed </span>") == 1
    OnlineDeployment.objects.filter(pk=blue.pk).update(state="Succeeded")
    blue.refresh_from_db()
    scale_deployment(blue, 3, by=cast.alice)
    assert activity(alice, cast).count("</svg> Failed </span>") == 1


def test_outcomes_of_a_page_of_activities_are_one_query(
    alice: Client, cast: Cast, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    endpoint = make_online_endpoint(cast.workspace, "churn", deployments={"blue": 100})
    blue = endpoint.deployments.get()
    for _ in range(10):
        make_operation(blue, kind="update", state="Failed")
        record(cast.workspace, "update", blue, by=cast.alice, endpoint_name="churn")
    address = reverse("studio:activity", args=[cast.workspace.name])
    alice.get(address, headers=PART)
    with django_assert_num_queries(8):
        assert alice.get(address, headers=PART).content.decode().count("Failed") == 10
