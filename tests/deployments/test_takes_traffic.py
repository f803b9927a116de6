"""The wish to take all live traffic once ready: kept in the row, granted once, and only where nothing is live."""

from __future__ import annotations

import pytest

from deployments.changes import create_deployment, retry
from deployments.models import OnlineDeployment
from deployments.runtimes.fake import FAILS, FakeRuntime, Plan
from endpoints.models import OnlineEndpoint
from endpoints.traffic import set_traffic
from tests.deployments.conftest import Factory, advance_until

pytestmark = pytest.mark.django_db

DONE = ("Succeeded", "Failed")


def wishing(make: Factory, endpoint: OnlineEndpoint, name: str = "blue") -> OnlineDeployment:
    return create_deployment(
        endpoint, make.spec(name=name), by=make.alice, takes_traffic_when_ready=True
    )


def traffic_of(deployment: OnlineDeployment) -> dict[str, int]:
    return dict(OnlineEndpoint.objects.get(pk=deployment.endpoint_id).traffic)


def test_it_gets_all_traffic_when_it_has_succeeded(make: Factory) -> None:
    deployment = advance_until(wishing(make, make.endpoint()), *DONE)
    assert deployment.state == "Succeeded", deployment.failure
    assert traffic_of(deployment) == {"blue": 100}
    row = deployment.endpoint.workspace.activities.get(verb="update traffic")
    assert row.actor == make.alice
    assert not OnlineDeployment.objects.get(pk=deployment.pk).takes_traffic_when_ready


def test_without_the_wish_it_gets_none(make: Factory) -> None:
    deployment = advance_until(make.deployment(), *DONE)
    assert deployment.state == "Succeeded"
    assert traffic_of(deployment) == {}


def test_what_is_live_by_then_keeps_its_traffic(make: Factory) -> None:
    endpoint = make.endpoint()
    blue = advance_until(make.deployment(endpoint, name="blue"), *DONE)
    green = wishing(make, endpoint, "green")
    set_traffic(endpoint, {"blue": 100}, by=make.alice)
    green = advance_until(green, *DONE)
    assert green.state == "Succeeded"
    assert traffic_of(blue) == {"blue": 100}


def test_a_failed_one_takes_it_after_a_retry_that_succeeds(
    make: Factory, runtime: FakeRuntime
) -> None:
    runtime.plan("", FAILS)
    deployment = advance_until(wishing(make, make.endpoint()), *DONE)
    assert deployment.state == "Failed"
    assert traffic_of(deployment) == {}
    runtime.plan("", Plan())
    retry(deployment, by=make.alice)
    deployment = advance_until(deployment, *DONE)
    assert deployment.state == "Succeeded", deployment.failure
    assert traffic_of(deployment) == {"blue": 100}


def test_traffic_that_is_switched_off_later_stays_off(make: Factory) -> None:
    deployment = advance_until(wishing(make, make.endpoint()), *DONE)
    set_traffic(deployment.endpoint, {}, by=make.alice)
    retried = OnlineDeployment.objects.get(pk=deployment.pk)
    retried.move("Updating", due_at=retried.created_at)
    retried.operations.create(kind="update", revision_number=1)
    again = advance_until(retried, *DONE)
    assert again.state == "Succeeded"
    assert traffic_of(again) == {}
