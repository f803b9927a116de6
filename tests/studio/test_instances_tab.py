"""The tabs “Instances” and “Build log” of a deployment: what they show, and who may restart, drain and read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone

from deployments.failures import Failure
from deployments.models import Instance, OnlineDeployment, Phase
from monitoring.rollups import UsageKey, add_usage, minute_of
from tests.factories import Cast, make_deployment, make_online_endpoint, make_operation
from tests.studio.test_deployment_page import HTMX, page, url
from workspaces.models import Activity

IMAGE = "sha256:" + "0123456789abcdef" * 4


@pytest.fixture
def deployment(cast: Cast) -> OnlineDeployment:
    endpoint = make_online_endpoint(cast.workspace, "churn")
    return make_deployment(endpoint, "blue", instance_count=2, revision={"image": IMAGE})


def test_an_instance_shows_its_restarts_its_reason_and_when_it_starts_next(
    alice: Client, cast: Cast, deployment: OnlineDeployment
) -> None:
    reason = "Liveness probe failed: HTTP probe failed with statuscode: 502 (3 times in a row)."
    start_after = timezone.now() + timedelta(seconds=16)
    deployment.instances.update(
        state="Exited", restarts=4, reason=reason, start_after=start_after, evidence=["one line"]
    )
    text = page(alice, cast, "?tab=instances")
    assert reason in text
    assert "Next start:" in text
    assert f"{start_after:%Y-%m-%dT%H:%M:%S}" in text
    deployment.instances.update(state="Unready", restarts=0)
    text = page(alice, cast, "?tab=instances")
    assert "Unready" in text
    assert "Next start:" not in text


def test_it_shows_where_an_instance_runs_what_it_uses_and_how_it_ended_last(
    bob: Client, cast: Cast, deployment: OnlineDeployment
) -> None:
    one, two = deployment.instances.all()
    ended = {
        "at": (timezone.now() - timedelta(hours=2)).isoformat(),
        "code": "OutOfMemory",
        "reason": "Killed at 2.0 GiB, limit 2.0 GiB.",
        "evidence": ["MemoryError"],
        "exit_code": 137,
    }
    deployment.revisions.update(runtime="docker")
    Instance.objects.filter(pk=one.pk).update(
        node="gpu-box", address="10.201.0.2:5001", last_exit=ended
    )
    Instance.objects.filter(pk=two.pk).update(is_leaving=True)
    add_usage({UsageKey(minute_of(datetime.now(UTC)), "churn", "blue", one.name): (12.5, 50.0)})
    text = page(bob, cast, "?tab=instances")
    for shown in ("gpu-box", "container", "OutOfMemory", ended["reason"], "Exit code 137"):
        assert str(shown) in text
    summary = text.partition("Ended <")[2].partition("</summary>")[0]
    assert ended["reason"] in summary and "OutOfMemory" not in summary
    assert f'title="{IMAGE}">0123456789ab<' in text
    assert 'title="10.201.0.2:5001">in its own network on this machine<' in text
    assert "7\u202fGiB" in text, "half of its 14 GiB"
    assert "a fresh one takes its place" in text
    assert "/restart" not in text, "a reader has no buttons"
    Instance.objects.filter(pk=one.pk).update(address="10.0.0.7:32768")
    assert "by a port of the engine&#x27;s host" in page(bob, cast, "?tab=instances")


def test_the_tab_asks_again_while_it_is_open_also_when_all_is_well(
    alice: Client, cast: Cast, deployment: OnlineDeployment
) -> None:
    assert 'hx-trigger="every 5s, live:now"' in page(alice, cast, "?tab=instances")
    assert alice.get(url(cast, "?tab=instances"), headers=HTMX).status_code == 200
    OnlineDeployment.objects.update(state="Updating")
    text = page(alice, cast, "?tab=instances")
    assert 'hx-trigger="every 1s, live:now"' in text
    assert "/restart" not in text, "not while an operation runs"


@pytest.mark.parametrize(
    ("what", "word", "alone"),
    [
        ("restart", "starts again in its place", "requests are answered 503"),
        ("drain", "a fresh one, with the next free number", "starts beside it"),
    ],
)
def test_the_question_says_what_happens_and_the_answer_does_it(
    alice: Client, cast: Cast, deployment: OnlineDeployment, what: str, word: str, alone: str
) -> None:
    one, two = deployment.instances.all()
    asked = url(cast, f"/instances/{one.name}/{what}")
    text = alice.get(asked).content.decode()
    assert word in text
    assert alone not in text
    assert f"portico ml online-deployment {what}-instance --yes" in text
    assert "<html" not in alice.get(asked, headers=HTMX).content.decode()
    Instance.objects.filter(pk=two.pk).update(state="Starting")
    assert alone in alice.get(asked).content.decode()
    answer = alice.post(asked)
    assert (answer.status_code, answer.headers["Location"]) == (303, url(cast, "?tab=instances"))
    one.refresh_from_db()
    assert (one.is_leaving, one.restart_requested_at is None) == (what == "drain", what == "drain")
    assert Activity.objects.get().verb == f"{what} instance"


def test_what_cannot_be_done_now_is_said(
    alice: Client, cast: Cast, deployment: OnlineDeployment
) -> None:
    OnlineDeployment.objects.update(state="Updating")
    answer = alice.post(url(cast, "/instances/1/drain"))
    assert "is Updating" in page(alice, cast, "?tab=instances")
    assert answer.status_code == 303
    assert alice.get(url(cast, "/instances/7/drain")).status_code == 404


def built(deployment: OnlineDeployment, log: str, **fields: object) -> Phase:
    operation = make_operation(deployment, **fields)
    return Phase.objects.create(
        operation=operation,
        name=Phase.Name.BUILD_ENVIRONMENT,
        state=operation.state,
        started_at=operation.started_at,
        ended_at=operation.ended_at,
        log=log,
    )


def test_the_build_log_is_that_of_the_newest_build_and_earlier_ones_are_a_link_away(
    alice: Client, cast: Cast, deployment: OnlineDeployment
) -> None:
    assert "Nothing was built yet" in page(alice, cast, "?tab=build")
    first = built(deployment, "Resolving the first\n", revision_number=1)
    failure = Failure("ImageBuildFailure", Phase.Name.BUILD_ENVIRONMENT, "numpy 9 is not there.")
    built(
        deployment,
        "".join(f"line {number}\n" for number in range(3000)),
        state="Failed",
        revision_number=2,
        failure=failure.as_dict(),
    )
    text = page(alice, cast, "?tab=build")
    assert "line 2999" in text
    assert "line 999\n" not in text
    assert "The last lines; the download has all of them." in text
    assert "numpy 9 is not there." in text
    assert f"?tab=build&amp;build={first.pk}" in text
    earlier = page(alice, cast, f"?tab=build&build={first.pk}")
    assert "Resolving the first" in earlier
    assert "numpy 9" not in earlier
    file = alice.get(url(cast, "/build-log"))
    assert file.content.startswith(b"line 0\n")
    assert "churn-blue-revision-2-build.log" in file.headers["Content-Disposition"]


@pytest.mark.parametrize("build", ["0", "nonsense", "99999999999999999999"])
def test_a_build_that_is_not_there(
    alice: Client, cast: Cast, deployment: OnlineDeployment, build: str
) -> None:
    assert "Build log" in page(alice, cast, f"?tab=build&build={build}")


def test_a_build_that_runs_is_followed(
    alice: Client, cast: Cast, deployment: OnlineDeployment
) -> None:
    OnlineDeployment.objects.update(state="Updating")
    built(deployment, "Downloading\n", state="Running", ended_at=None)
    text = page(alice, cast, "?tab=build")
    assert "Downloading" in text
    assert 'hx-trigger="every 1s, live:now"' in text


def test_a_reader_reads_no_build_log(
    bob: Client, cast: Cast, deployment: OnlineDeployment
) -> None:
    built(deployment, "secret index\n")
    assert "tab=build" not in page(bob, cast)
    assert 'id="build-log"' not in page(bob, cast, "?tab=build")
    assert bob.get(url(cast, "/build-log")).status_code == 403


@pytest.mark.parametrize("where", ["", "?tab=revisions", "endpoint"])
def test_what_a_deployment_runs_as_is_told_wherever_it_matters(
    bob: Client, cast: Cast, deployment: OnlineDeployment, where: str
) -> None:
    deployment.revisions.update(runtime="docker")
    there = url(cast).partition("/deployments")[0] if where == "endpoint" else url(cast, where)
    text = bob.get(there).content.decode()
    assert "container" in text
    assert f'title="{IMAGE}">0123456789ab<' in text
