"""The page “Debug” of a deployment: what it shows in each state, and who may start and stop a session."""

from __future__ import annotations

import html
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from deployments import installation, staging, tasks
from deployments.environments import BuildFailed, BuildFailure
from deployments.models import DebugSession, OnlineDeployment
from deployments.runtimes.fake import FakeRuntime
from tests.factories import Cast
from tests.studio.test_code_part import ask, folds_of
from tests.studio.test_deployment_page import HTMX, own_store, page, runnable, url
from workspaces.models import Activity, EnvironmentVersion

__all__ = ["own_store"]


@pytest.fixture
def deployment(cast: Cast) -> OnlineDeployment:
    deployment = runnable(cast)
    # One that is built without a network.
    EnvironmentVersion.objects.update(conda_file="dependencies: [python]")
    return deployment


@pytest.fixture
def runtime(settings: Settings, tmp_path: Path) -> Iterator[FakeRuntime]:
    settings.DEPLOYMENT_RUNTIME = "fake"
    settings.DEPLOYMENTS_ROOT = tmp_path / "deployments"
    installation.forget_runtimes()
    runtime = installation.runtime()
    assert isinstance(runtime, FakeRuntime)
    yield runtime
    installation.forget_runtimes()


def text_of(client: Client, cast: Cast) -> str:
    answer = client.get(url(cast, "/debug"))
    assert answer.status_code == 200
    return html.unescape(answer.content.decode())


def session_of(deployment: OnlineDeployment, state: str, **fields: object) -> DebugSession:
    return DebugSession.objects.create(
        **{
            "deployment": deployment,
            "revision": deployment.serving_revision,
            "name": "churn-blue-debug",
            "state": state,
            "address": "unix:/x.sock",
            "debug_host": "127.0.0.1",
            "debug_port": 41000,
            "expires_at": timezone.now() + timedelta(hours=2, seconds=30),
            **fields,
        }
    )


def test_only_who_may_write_sees_the_button_and_the_page(
    alice: Client, bob: Client, charlie: Client, cast: Cast, deployment: OnlineDeployment
) -> None:
    session_of(deployment, "Running")
    assert url(cast, "/debug") in page(alice, cast)
    assert url(cast, "/debug") not in page(bob, cast)
    for reader, status in ((bob, 403), (charlie, 404)):
        for answer in (
            reader.get(url(cast, "/debug")),
            reader.post(url(cast, "/debug"), {"hours": "1"}),
            reader.post(url(cast, "/debug/stop")),
        ):
            assert answer.status_code == status
            assert "41000" not in answer.content.decode()
    assert DebugSession.objects.get().state == "Running"


def test_a_session_is_started_followed_and_stopped(
    alice: Client, cast: Cast, deployment: OnlineDeployment, runtime: FakeRuntime
) -> None:
    assert "Start debug session" in text_of(alice, cast)
    answer = alice.post(url(cast, "/debug"), {"hours": "3"})
    assert (answer.status_code, answer.headers["Location"]) == (303, url(cast, "/debug"))
    session = DebugSession.objects.get()
    left = session.expires_at - timezone.now()
    assert timedelta(hours=2, minutes=59) < left <= timedelta(hours=3)
    starting = text_of(alice, cast)
    assert 'hx-trigger="every 1s, live:now"' in starting
    assert "ssh -N" not in starting
    DebugSession.objects.update(due_at=timezone.now())
    tasks.advance_debug_session(session.pk)
    assert session.name in runtime.running()
    followed = alice.get(url(cast, "/debug"), headers=HTMX)
    assert followed.status_code == 286, "nothing more to ask for"
    assert "ssh -N -L 5678:127.0.0.1:" in html.unescape(followed.content.decode())
    assert alice.post(url(cast, "/debug/stop")).status_code == 303
    assert DebugSession.objects.get().state == "Stopping"
    DebugSession.objects.update(due_at=timezone.now())
    tasks.advance_debug_session(session.pk)
    assert session.name not in runtime.running()
    gone = alice.get(url(cast, "/debug"), headers=HTMX)
    assert gone.headers["HX-Redirect"] == url(cast, "/debug")
    assert "The debug session is over." in text_of(alice, cast)
    verbs = Activity.objects.order_by("pk").values_list("verb", flat=True)
    assert [verb for verb in verbs if "debug" in verb] == [
        "start debug session",
        "stop debug session",
    ]


def test_it_says_how_to_attach_and_how_long_it_lasts(
    alice: Client, cast: Cast, deployment: OnlineDeployment
) -> None:
    session = session_of(deployment, "Running")
    text = text_of(alice, cast)
    for shown in (
        "ssh -N -L 5678:127.0.0.1:41000",
        '"type": "debugpy"',
        '"remoteRoot": "',
        "azureml-model-deployment: blue.debug",
        "curl --request POST",
        "in 2 h",
        "Give it this time",
    ):
        assert shown in text
    assert "--max-time" not in text, "a breakpoint may take its time"
    alice.post(url(cast, "/debug"), {"hours": "8"})
    before = session.expires_at
    session.refresh_from_db()
    assert session.expires_at > before + timedelta(hours=5)


def test_a_script_that_failed_says_why_and_is_started_again(
    alice: Client, cast: Cast, deployment: OnlineDeployment
) -> None:
    session_of(
        deployment, "Failed", code="UserScriptInitFailed", reason="No file.", evidence=["KeyError"]
    )
    text = text_of(alice, cast)
    for shown in ("UserScriptInitFailed", "No file.", "KeyError", "Start again", "Remove"):
        assert shown in text
    assert "ssh -N" not in text
    assert "HX-Redirect" in alice.get(url(cast, "/debug"), headers=HTMX).headers
    alice.post(url(cast, "/debug"), {"hours": "1"})
    assert DebugSession.objects.get().state == "Starting"


def test_what_cannot_be_debugged_says_why(
    alice: Client, cast: Cast, deployment: OnlineDeployment
) -> None:
    deployment.revisions.update(code_version=None)
    assert url(cast, "/debug") not in page(alice, cast)
    text = text_of(alice, cast)
    assert "no scoring script" in text
    assert "Start debug session" not in text
    OnlineDeployment.objects.update(serving_revision=None)
    assert "nothing that serves" in text_of(alice, cast)
    alice.post(url(cast, "/debug"), {"hours": "1"})
    assert not DebugSession.objects.exists()


@pytest.mark.parametrize("hours", ["", "0", "9", "1.5", "\N{SUPERSCRIPT TWO}", "many"])
def test_hours_that_cannot_be_start_nothing(
    alice: Client, cast: Cast, deployment: OnlineDeployment, hours: str
) -> None:
    answer = alice.post(url(cast, "/debug"), {"hours": hours})
    assert answer.status_code == 303
    assert "lasts from 1 to 8 hours" in text_of(alice, cast)
    assert not DebugSession.objects.exists()


def test_the_code_follows_the_hours(
    alice: Client, cast: Cast, deployment: OnlineDeployment
) -> None:
    asked = ask(alice, url(cast, "/debug"), hours="4")
    assert "start-debug" in asked["cli"]
    assert "--minutes 240" in asked["cli"]
    assert '"minutes": 240' in asked["rest"]
    session_of(deployment, "Running")
    stopping = folds_of(alice.get(url(cast, "/debug")))["stop-code"]
    assert "stop-debug" in stopping["cli"]
    assert "--request DELETE" in stopping["rest"]


def test_a_session_whose_environment_is_gone_says_why(
    alice: Client,
    cast: Cast,
    deployment: OnlineDeployment,
    runtime: FakeRuntime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gone(*_: object) -> None:
        raise BuildFailed(BuildFailure("ImageBuildFailure", "The package index is away."))

    session = session_of(deployment, "Starting", due_at=timezone.now())
    monkeypatch.setattr(staging, "instance_spec", gone)
    tasks.advance_debug_session(session.pk)
    assert DebugSession.objects.get().state == "Failed"
    assert "The package index is away." in text_of(alice, cast)
