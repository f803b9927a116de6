"""Debug sessions: one instance more, in no split, reached by its name, gone when its time is over."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from deployments import debugging, provisioning, tasks
from deployments.changes import delete_deployment, reserved_cores
from deployments.models import DebugSession, InstanceSpan, OnlineDeployment
from deployments.runtimes import InstanceStatus, Phase
from deployments.runtimes.fake import HANGS, FakeRuntime
from deployments.tidying import images_in_use
from deployments.usages import usages_of
from endpoints.gateway.publish import route_of
from endpoints.models import Upstream
from endpoints.traffic import set_traffic
from tests.deployments.conftest import Factory, advance_once, advance_until
from tests.deployments.test_provisioning import DONE
from workspaces.errors import Conflict, NotFound, UserError
from workspaces.models import Activity

pytestmark = pytest.mark.django_db


def served(make: Factory) -> OnlineDeployment:
    return advance_until(make.deployment(), *DONE)


def look(session: DebugSession) -> DebugSession | None:
    """One look of the worker; the session after it, if it is still there."""
    DebugSession.objects.filter(pk=session.pk).update(due_at=timezone.now())
    tasks.advance_debug_session(session.pk)
    return DebugSession.objects.filter(pk=session.pk).first()


def running(make: Factory, deployment: OnlineDeployment) -> DebugSession:
    session = look(debugging.start(deployment, by=make.alice))
    assert session is not None and session.state == "Running", session
    return session


def pass_its_time(session: DebugSession) -> None:
    DebugSession.objects.filter(pk=session.pk).update(expires_at=timezone.now())


def upstream(session: DebugSession) -> Upstream:
    return Upstream.objects.get(deployment_name=session.upstream_name)


def test_requests_that_name_it_reach_it_and_no_others(make: Factory, runtime: FakeRuntime) -> None:
    deployment = served(make)
    session = running(make, deployment)
    assert session.upstream_name == "blue.debug"
    assert session.name in runtime.running()
    (route,) = [
        one for one in route_of(deployment.endpoint).deployments if one.name == "blue.debug"
    ]
    assert (route.weight, route.mirror_percent) == (0, 0)
    assert route.addresses == (session.address,)
    assert route.request_timeout_ms == 8 * 3600 * 1000
    usual = Upstream.objects.get(deployment_name="blue")
    assert session.address not in usual.addresses
    assert (session.debug_host, session.debug_port > 0) == ("127.0.0.1", True)
    with pytest.raises(UserError, match=r"blue\.debug"):
        set_traffic(deployment.endpoint, {"blue.debug": 100}, by=make.alice)


def test_the_instances_of_the_deployment_are_none_the_wiser(
    make: Factory, runtime: FakeRuntime
) -> None:
    deployment = served(make)
    session = running(make, deployment)
    assert provisioning.sweep() == []
    assert session.name in runtime.running(), "it is no orphan"
    assert deployment.instances.count() == 1
    spans = InstanceSpan.objects.filter(ended_at__isnull=True)
    assert {span.instance_name for span in spans} == {
        session.name,
        deployment.instances.get().name,
    }


def test_it_goes_when_its_time_is_over(make: Factory, runtime: FakeRuntime) -> None:
    deployment = served(make)
    session = running(make, deployment)
    pass_its_time(session)
    assert look(session) is None
    assert session.name not in runtime.running()
    assert not Upstream.objects.filter(deployment_name="blue.debug").exists()
    assert not InstanceSpan.objects.filter(
        instance_name=session.name, ended_at__isnull=True
    ).exists()
    assert provisioning.sweep() == []


def test_the_sweep_alone_finds_what_is_due(make: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    session = debugging.start(served(make), by=make.alice)
    handed: list[int] = []
    monkeypatch.setattr(tasks.advance_debug_session, "delay", handed.append)
    tasks.sweep()
    assert handed == [session.pk]


def test_stopping_twice_is_success(make: Factory, runtime: FakeRuntime) -> None:
    deployment = served(make)
    session = running(make, deployment)
    for _ in range(2):
        debugging.stop(deployment, by=make.alice)
    with pytest.raises(Conflict, match="being removed"):
        debugging.start(deployment, by=make.alice)
    assert look(session) is None
    assert session.name not in runtime.running()
    debugging.stop(deployment, by=make.alice)
    with pytest.raises(NotFound, match="no debug session"):
        debugging.find(deployment)
    verbs = Activity.objects.filter(verb__endswith="debug session").values_list("verb", flat=True)
    assert sorted(verbs) == ["start debug session", "stop debug session"]


def test_starting_again_gives_it_more_time(make: Factory) -> None:
    deployment = served(make)
    session = running(make, deployment)
    again = debugging.start(deployment, by=make.alice, lasts=timedelta(hours=8))
    assert again.pk == session.pk
    assert again.expires_at - timezone.now() > timedelta(hours=7)
    for lasts in (timedelta(seconds=59), timedelta(hours=8, seconds=1)):
        with pytest.raises(UserError, match="one minute to eight hours"):
            debugging.start(deployment, by=make.alice, lasts=lasts)


def test_a_deployment_takes_its_session_along(make: Factory, runtime: FakeRuntime) -> None:
    deployment = served(make)
    session = running(make, deployment)
    set_traffic(deployment.endpoint, {}, by=make.alice)
    delete_deployment(deployment, by=make.alice)
    advance_once(deployment)
    assert not DebugSession.objects.filter(pk=session.pk).exists()
    assert session.name not in runtime.running()


def test_one_that_cannot_start_tells_why_and_holds_nothing(
    make: Factory, runtime: FakeRuntime
) -> None:
    deployment = served(make)
    session = running(make, deployment)
    runtime.crash(session.name, reason="It ran out of memory.")
    failed = look(session)
    assert failed is not None
    assert (failed.state, failed.reason) == ("Failed", "It ran out of memory.")
    assert session.name not in runtime.running()
    assert not Upstream.objects.filter(deployment_name="blue.debug").exists()
    # Started again, it begins anew.
    again = look(debugging.start(deployment, by=make.alice))
    assert again is not None
    assert (again.state, again.reason) == ("Running", "")


def test_an_engine_that_is_away_for_a_moment_is_asked_again(
    make: Factory, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = debugging.start(served(make), by=make.alice)
    away = InstanceStatus(Phase.EXITED, code="InternalServerError", reason="It does not answer.")
    with monkeypatch.context() as patch:
        patch.setattr(FakeRuntime, "ensure", lambda house, spec: away)
        waiting = look(session)
    assert waiting is not None
    assert (waiting.state, waiting.reason) == ("Starting", "It does not answer.")
    ready = look(session)
    assert ready is not None
    assert (ready.state, ready.reason) == ("Running", "")


def test_what_a_killed_worker_left_is_taken_up(make: Factory, runtime: FakeRuntime) -> None:
    deployment = served(make)
    session = debugging.start(deployment, by=make.alice)
    runtime.plan(session.name, HANGS)
    assert DebugSession.claim(session.pk, seconds=60) is not None
    tasks.advance_debug_session(session.pk)
    assert session.name not in runtime.running(), "somebody else has the lease"
    DebugSession.objects.filter(pk=session.pk).update(lease_until=timezone.now())
    waiting = look(session)
    assert waiting is not None
    assert waiting.state == "Starting"
    runtime.hang(session.name, forever=False)
    ready = look(session)
    assert ready is not None
    assert ready.state == "Running"
    assert runtime.starts(session.name) == 1


def test_a_clean_stop_ends_it_and_the_next_start_runs_it_again(
    make: Factory, runtime: FakeRuntime
) -> None:
    session = running(make, served(make))
    provisioning.stop_all_instances()
    assert session.name not in runtime.running()
    assert upstream(session).addresses == []
    look(session)
    again = look(session)
    assert again is not None
    assert again.state == "Running"
    assert upstream(session).addresses == [again.address]


def test_the_image_of_what_is_debugged_is_in_use(make: Factory) -> None:
    deployment = served(make)
    session = running(make, deployment)
    session.revision.image = "sha256:old"
    session.revision.save()
    deployment.serving_revision = deployment.revision = make.deployment(name="green").revision
    deployment.save()
    assert images_in_use() == {"sha256:old"}


def test_its_cores_count(make: Factory) -> None:
    deployment = served(make)
    mine = OnlineDeployment.objects.filter(pk=deployment.pk)
    before = reserved_cores(mine)
    limit = make.workspace.quotas.create(resource="cores", limit=before + 1)
    with pytest.raises(UserError, match="cores"):
        debugging.start(deployment, by=make.alice)
    limit.limit += 1
    limit.save()
    debugging.start(deployment, by=make.alice)
    assert reserved_cores(mine) == before + 2
    (cores,) = [
        one for one in usages_of([make.workspace])[make.workspace.pk] if one.resource == "cores"
    ]
    assert cores.used == before + 2


def test_what_cannot_be_debugged_says_so(make: Factory) -> None:
    waiting = make.deployment()
    with pytest.raises(Conflict, match="nothing that serves"):
        debugging.start(waiting, by=make.alice)
    calling = advance_until(
        make.deployment(name="green", environment_variables={"AZUREML_DEBUG_PORT": "5678"}), *DONE
    )
    with pytest.raises(UserError, match="connects to a debugger already"):
        debugging.start(calling, by=make.alice)
