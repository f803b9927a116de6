"""Builds of environments in the studio: begun on the environment's page, followed, canceled, kept."""

from __future__ import annotations

import pytest
from django.test import Client

from deployments.failures import Failure
from deployments.models import EnvironmentBuild
from tests.factories import Cast, make_environment
from tests.studio.test_deployment_page import HTMX
from workspaces.models import EnvironmentVersion


@pytest.fixture
def version(cast: Cast) -> EnvironmentVersion:
    return make_environment(cast.workspace)


def url(cast: Cast, rest: str = "") -> str:
    return f"/w/{cast.workspace.name}/environments/sklearn{rest}"


def test_a_build_is_begun_followed_and_canceled(
    alice: Client, cast: Cast, version: EnvironmentVersion
) -> None:
    page = alice.get(url(cast)).content.decode()
    assert "Build now" in page
    assert "None yet." in page
    answer = alice.post(url(cast, "/build"), {"version": "1"})
    build = EnvironmentBuild.objects.get()
    there = url(cast, f"/builds/{build.pk}")
    assert (answer.status_code, answer.headers["Location"]) == (303, there)
    shown = alice.get(there).content.decode()
    assert "Waiting for the worker." in shown
    assert 'hx-trigger="every 1s, live:now"' in shown
    assert "Cancel build" in shown
    assert alice.get(there, headers=HTMX).status_code == 200
    alice.post(f"{there}/cancel")
    assert EnvironmentBuild.objects.get().cancel_requested
    EnvironmentBuild.objects.update(state="Canceled")
    assert alice.get(there, headers=HTMX).status_code == 286
    assert (
        "is Canceled"
        in alice.get(alice.post(f"{there}/cancel").headers["Location"]).content.decode()
    )
    assert alice.post(url(cast, "/build"), {"version": "9"}).status_code == 404


def test_what_was_built_and_what_failed_is_kept(
    alice: Client, cast: Cast, version: EnvironmentVersion
) -> None:
    failure = Failure("ImageBuildFailure", "Build environment", "numpy 9 does not exist.")
    bad = EnvironmentBuild.objects.create(
        environment_version=version, state="Failed", failure=failure.as_dict(), log="resolving\n"
    )
    good = EnvironmentBuild.objects.create(
        environment_version=version,
        state="Succeeded",
        runtime="docker",
        image="sha256:" + "ab" * 32,
        python_version="3.11.9",
        size_bytes=2**30,
    )
    page = alice.get(url(cast)).content.decode()
    for shown in ("numpy 9 does not exist.", "3.11.9", "1\u202fGiB"):
        assert shown in page
    assert f"/builds/{good.pk}" in page
    assert "resolving" in alice.get(url(cast, f"/builds/{bad.pk}")).content.decode()
    assert alice.get(url(cast, f"/builds/{bad.pk}/log")).content == b"resolving\n"
    assert "sha256:abab" in alice.get(url(cast, f"/builds/{good.pk}")).content.decode()


def test_a_reader_sees_builds_without_logs_or_buttons(
    bob: Client, cast: Cast, version: EnvironmentVersion
) -> None:
    build = EnvironmentBuild.objects.create(environment_version=version, state="Succeeded")
    page = bob.get(url(cast)).content.decode()
    assert "Succeeded" in page
    assert f"/builds/{build.pk}" not in page
    assert "Build now" not in page
    assert bob.get(url(cast, f"/builds/{build.pk}")).status_code == 403
