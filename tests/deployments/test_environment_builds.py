"""Building registered environments: asked for once, done by whoever holds the lease, kept with log and result."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from deployments import environment_builds, installation, tasks
from deployments.environment_builds import cancel_build, start_build
from deployments.models import EnvironmentBuild
from tests.deployments.conftest import Factory
from workspaces import catalog
from workspaces.errors import Conflict
from workspaces.models import Activity, EnvironmentVersion

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_environments(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> None:
    settings.STAGED_ROOT = tmp_path_factory.mktemp("staged")


@pytest.fixture
def bare(make: Factory) -> EnvironmentVersion:
    return catalog.register_environment(
        make.workspace, "bare", by=make.alice, conda_file="dependencies: [python]"
    )


def work(build: EnvironmentBuild, monkeypatch: pytest.MonkeyPatch) -> EnvironmentBuild:
    """What the worker does, without a broker, until nothing of it is due."""
    monkeypatch.setattr(tasks.build_environment, "delay", lambda pk: None)
    # The thread that renews it cannot see the rows of this test's transaction.
    monkeypatch.setattr(tasks, "LEASE_SECONDS", 600)
    for _ in range(4):
        tasks.build_environment(build.pk)
    return EnvironmentBuild.objects.get(pk=build.pk)


def test_a_build_is_made_and_kept_with_its_log_and_result(
    make: Factory, bare: EnvironmentVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It says which runtime it is for; the fake one has environments like processes.
    ended = work(start_build(bare, by=make.alice), monkeypatch)
    assert (ended.state, ended.failure) == ("Succeeded", {}), ended.log
    assert ended.log
    assert ended.python_version
    assert ended.key
    assert ended.size_bytes
    assert ended.duration is not None
    assert installation.environments().find(ended.key) is not None
    again = work(start_build(bare, by=make.alice), monkeypatch)
    assert (again.state, again.was_cached) == ("Succeeded", True)
    assert again.log == "It was built before; it is used again.\n"
    verbs = Activity.objects.filter(verb="build").values_list("subject", "actor__username")
    assert list(verbs) == [("bare:1", "alice"), ("bare:1", "alice")]


def test_asked_twice_it_is_built_once(make: Factory, bare: EnvironmentVersion) -> None:
    assert start_build(bare, by=make.alice) == start_build(bare, by=None)
    assert EnvironmentBuild.objects.count() == 1


def test_what_cannot_be_built_says_why(make: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    image = catalog.register_environment(make.workspace, "image", by=None, image="registry/own:1")
    ended = work(start_build(image, by=None), monkeypatch)
    assert ended.state == "Failed"
    assert "needs the docker runtime" in ended.failure["cause"]


def test_one_that_waits_is_canceled_before_anything_is_done(
    make: Factory, bare: EnvironmentVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = start_build(bare, by=make.alice)
    cancel_build(build, by=make.alice)
    ended = work(build, monkeypatch)
    assert (ended.state, ended.log) == ("Canceled", "")
    with pytest.raises(Conflict, match="is Canceled"):
        cancel_build(ended, by=make.alice)


def test_a_worker_that_is_killed_leaves_it_to_the_next_one_and_at_last_it_fails(
    make: Factory, bare: EnvironmentVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = start_build(bare, by=None)

    class Killed(BaseException):
        """As SIGKILL: no line after it runs, but for what Python itself unwinds here."""

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(tasks.build_environment, "delay", lambda pk: None)
        patch.setattr(environment_builds, "_made", die)
        tasks.build_environment(build.pk)
        for _ in range(3):
            with pytest.raises(Killed):
                tasks.build_environment(build.pk)
            tasks.build_environment(build.pk)
            held = EnvironmentBuild.objects.get(pk=build.pk)
            assert held.state == "Running", "nobody may take it up while the lease holds"
            expired = timezone.now() - timedelta(seconds=1)
            EnvironmentBuild.objects.filter(pk=build.pk).update(lease_until=expired)
            assert build in EnvironmentBuild.objects.due()
    ended = work(build, monkeypatch)
    assert (ended.state, ended.attempts) == ("Failed", 4)
    assert "begun 3 times and never ended" in ended.failure["cause"]


def test_a_lost_lease_writes_nothing(make: Factory, bare: EnvironmentVersion) -> None:
    build = start_build(bare, by=None)
    mine = EnvironmentBuild.claim(build.pk, seconds=8)
    assert mine is not None
    EnvironmentBuild.objects.filter(pk=build.pk).update(lease_token="another")
    lost = threading.Event()
    lost.set()
    assert environment_builds.run_build(mine, lost) is None
    fresh = EnvironmentBuild.objects.get(pk=build.pk)
    assert (fresh.state, fresh.attempts, fresh.started_at) == ("Queued", 0, None)


def test_only_so_many_builds_of_a_version_are_kept(
    make: Factory, bare: EnvironmentVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment_builds, "KEPT", 3)
    for _ in range(5):
        build = start_build(bare, by=None)
        EnvironmentBuild.objects.filter(pk=build.pk).update(state="Succeeded")
    assert EnvironmentBuild.objects.count() == 3
