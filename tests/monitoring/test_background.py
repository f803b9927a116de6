"""What watch keeps in the database besides figures of requests."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib import admin
from django.db import OperationalError
from django.utils import timezone

from deployments.models import Instance
from deployments.runtimes import InstanceSpec
from deployments.runtimes.fake import FakeRuntime
from endpoints.gateway import publish
from endpoints.gateway.resources import ROUTES
from endpoints.gateway.store import ResourceStore
from endpoints.gateway.xds import Rejection
from endpoints.models import OnlineEndpoint
from monitoring import heartbeat, usage
from monitoring.gateway import Changes, Gateway, GatewayRows, load_snapshot, note_rejection
from monitoring.models import GatewayRejection, Heartbeat, UsageMinute
from monitoring.tasks import worker_heartbeat
from monitoring.watch import Lane, Supervisor
from tests.factories import make_deployment, make_online_endpoint

pytestmark = pytest.mark.django_db


# Signs of life ----------------------------------------------------------------------------------------


def test_whoever_gives_no_sign_of_life_is_named() -> None:
    assert [silence.name for silence in heartbeat.silent()] == ["watch", "worker"]
    heartbeat.beat(heartbeat.WATCH, {"usage": "disk full"})
    worker_heartbeat()
    assert heartbeat.silent() == []
    assert heartbeat.faults() == {"usage": "disk full"}
    long_ago = timezone.now() - timedelta(minutes=5)
    Heartbeat.objects.filter(name="worker").update(at=long_ago)
    assert heartbeat.silent() == [heartbeat.Silence("worker", long_ago)]


def test_a_job_that_fails_is_begun_again_and_known_until_it_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("monitoring.watch.FIRST_PAUSE_SECONDS", 0.0)
    failures: list[BaseException] = [OperationalError("no\ndatabase"), ValueError("bug")]
    seen: list[dict[str, str]] = []

    class Enough(BaseException):
        """Ends the job, which would go on for ever."""

    async def scenario() -> None:
        supervisor, lane = Supervisor(), Lane("test")

        def step() -> bool:
            seen.append(dict(supervisor.faults))
            if failures:
                raise failures.pop(0)
            if len(seen) == 5:
                raise Enough
            return True

        with contextlib.suppress(Enough):
            await supervisor.repeat("job", lane, step, seconds=0)
        await lane.end()

    asyncio.run(scenario())
    assert seen == [{}, {"job": "no database"}, {"job": "ValueError: bug"}, {}, {}]


# Usage ------------------------------------------------------------------------------------------------


def test_every_running_instance_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = make_deployment(make_online_endpoint(name="iris"), instance_count=3)
    runtime = FakeRuntime()
    monkeypatch.setattr(usage, "runtime_of", lambda revision: runtime)
    first, second, _ = (instance.name for instance in deployment.instances.all())
    for name, memory_gib in ((first, 1), (second, 2)):
        runtime.ensure(InstanceSpec(name, 1, None, "", None, None, memory_bytes=4 * 1024**3))
        runtime.use(name, cpu_percent=40, memory_bytes=memory_gib * 1024**3)
    assert usage.collect() == 2
    runtime.use(first, cpu_percent=80, memory_bytes=3 * 1024**3)
    deployment.instances.filter(name=second).update(state=Instance.State.EXITED)
    assert usage.collect() == 1
    rows = UsageMinute.objects.filter(instance_name=first)
    assert sum(row.samples for row in rows) == 2
    assert sum(row.cpu_sum for row in rows) == 120
    assert max(row.memory_max for row in rows) == 75
    assert min(row.memory_min for row in rows) == 25


# The gateway ------------------------------------------------------------------------------------------


def known(store: ResourceStore) -> set[str]:
    return {name for name in ("iris", "rose", "broken") if store.get((ROUTES, name)) is not None}


class Control:
    """The rows, and what Envoy would be told of them."""

    def __init__(self) -> None:
        self.rows = GatewayRows()
        self.store = ResourceStore()
        self.read: list[set[str]] = []
        self.gateway = Gateway(self.store, self._look)

    async def _look(self, rung: object) -> Changes:
        changes = self.changes
        self.read.append(set(changes.resources))
        return changes

    def update(self, *rung: int) -> None:
        self.changes = self.rows.look(rung)

        async def scenario() -> None:
            self.rows.known = await self.gateway.update(rung)

        asyncio.run(scenario())


def test_only_what_changed_is_read_again_and_what_is_gone_is_taken_out() -> None:
    iris, rose = make_online_endpoint(name="iris"), make_online_endpoint(name="rose")
    control = Control()
    control.update()
    assert known(control.store) == {"iris", "rose"}
    control.update()
    publish.touch(iris)
    control.update()
    control.update(rose.pk)
    assert control.read == [{"iris", "rose"}, set(), {"iris"}, {"rose"}]
    OnlineEndpoint.objects.filter(pk=iris.pk).delete()
    control.update()
    assert known(control.store) == {"rose"}


def test_a_name_that_is_given_again_is_not_taken_out() -> None:
    first = make_online_endpoint(name="iris")
    control = Control()
    control.update()
    workspace = first.workspace
    first.delete()
    make_online_endpoint(workspace, "iris")
    control.update()
    assert known(control.store) == {"iris"}


def test_one_endpoint_that_cannot_be_read_does_not_keep_the_others_out() -> None:
    make_online_endpoint(name="iris")
    broken = make_online_endpoint(name="broken")
    OnlineEndpoint.objects.filter(pk=broken.pk).update(primary_key_sealed="nonsense")
    control = Control()
    control.update()
    assert known(control.store) == {"iris"}


def test_a_refusal_is_kept_until_the_endpoint_changes() -> None:
    iris = make_online_endpoint(name="iris")
    control = Control()
    control.update()
    for message in ("bad weight", "bad weight still"):
        note_rejection(Rejection("iris", ROUTES, "iris", message))
    assert [row.message for row in GatewayRejection.objects.all()] == ["bad weight still"]
    control.update()
    assert GatewayRejection.objects.exists()
    publish.touch(iris)
    control.update()
    assert not GatewayRejection.objects.exists()


@pytest.mark.parametrize("content", [b"nonsense\n", b'{"endpoint": "iris"}\n', b"[]\n"])
def test_a_damaged_snapshot_is_passed_over(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "snapshot.jsonl"
    path.write_bytes(content)
    assert load_snapshot(ResourceStore(path)) == 0


def test_the_admin_shows_and_changes_nothing() -> None:
    for model in (Heartbeat, GatewayRejection):
        assert admin.site.is_registered(model)
