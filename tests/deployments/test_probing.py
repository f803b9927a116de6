"""Probes and what follows from them: out of the routes, back again, restarted, failed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.utils import timezone

from deployments import instances, provisioning
from deployments.models import Instance, OnlineDeployment
from deployments.probes import GOOD, Answer, Kind, Memory
from deployments.probing import Prober, ask, plan_of
from deployments.runtimes.fake import HANGS, FakeRuntime
from tests.deployments.conftest import Factory, advance_once, advance_until
from tests.deployments.test_provisioning import DONE, addresses

QUICK = {"initial_delay": 1, "period": 1, "timeout": 1, "failure_threshold": 2}
SLOW = {"initial_delay": 1, "period": 1, "timeout": 1, "failure_threshold": 1000}
BAD = Answer(is_good=False, words="HTTP probe failed with statuscode: 502", status=502)
LATE = Answer(is_good=False, words="HTTP probe got no answer within 1 s", is_late=True)

Result = TypeVar("Result")


class Watch:
    """The prober with a clock of its own, instances that answer as they are told, and no network."""

    def __init__(self) -> None:
        self.now = timezone.now().timestamp() + 2
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, str, float]] = []
        self.prober = Prober(ask=self._ask, clock=lambda: self.now)

    def answers_with(self, answer: Answer, *rows: Instance) -> None:
        for row in rows:
            self.answers[f"unix:/fake/{row.name}.sock"] = answer

    def look(self, times: int = 1) -> None:
        """So many looks, a second apart."""
        for _ in range(times):
            # Never before the instances' own start, which is by the real clock.
            self.now = max(self.now + 1, timezone.now().timestamp() + 2)
            async_to_sync(self.prober.step)(self._threaded)

    async def _ask(self, address: str, path: str, *, timeout_seconds: float) -> Answer:
        self.asked.append((address, path, timeout_seconds))
        return self.answers.get(address, GOOD)

    async def _threaded(self, action: Callable[[], Result]) -> Result:
        return await sync_to_async(action)()


@pytest.fixture
def watch() -> Watch:
    return Watch()


def rows(deployment: OnlineDeployment) -> list[Instance]:
    return list(Instance.objects.filter(deployment=deployment).order_by("number"))


def swept(deployment: OnlineDeployment) -> None:
    """What the sweep and the worker do, without a bell."""
    for pk in provisioning.sweep():
        advance_once(OnlineDeployment(pk=pk))


@pytest.mark.django_db
def test_an_unready_instance_leaves_the_routes_and_comes_back(make: Factory, watch: Watch) -> None:
    deployment = make.deployment(instance_count=2, readiness_probe=QUICK, liveness_probe=SLOW)
    deployment = advance_until(deployment, *DONE)
    one, two = rows(deployment)
    both = addresses(deployment)
    watch.answers_with(BAD, one)
    watch.look()
    swept(deployment)
    assert addresses(deployment) == both, "one failure is fewer than the threshold"
    watch.look()
    swept(deployment)
    assert addresses(deployment) == [two.address]
    one.refresh_from_db()
    assert (one.state, one.code) == ("Unready", "ResourceNotReady")
    assert one.reason.startswith("Readiness probe failed: HTTP probe failed with statuscode: 502")
    assert provisioning.sweep() == [], "nothing is left to do while it stays so"
    watch.answers_with(GOOD, one)
    watch.look()
    swept(deployment)
    assert addresses(deployment) == both
    one.refresh_from_db()
    assert (one.state, one.reason, one.restarts) == ("Healthy", "", 0)


@pytest.mark.django_db
def test_instances_that_answer_well_cost_one_request_a_period_and_no_write(
    make: Factory, watch: Watch
) -> None:
    advance_until(make.deployment(instance_count=3), *DONE)
    watch.look(times=12)
    before = list(Instance.objects.values_list("probes", flat=True))
    asked = len(watch.asked)
    watch.look(times=30)
    # Liveness and readiness have the same route, so one request answers both.
    assert len(watch.asked) - asked == 9
    assert list(Instance.objects.values_list("probes", flat=True)) == before
    assert provisioning.sweep() == []


@pytest.mark.django_db
def test_late_answers_never_take_the_last_instance_out(make: Factory, watch: Watch) -> None:
    deployment = make.deployment(instance_count=3, readiness_probe=QUICK, liveness_probe=SLOW)
    deployment = advance_until(deployment, *DONE)
    watch.answers_with(LATE, *rows(deployment))
    watch.look(times=5)
    swept(deployment)
    assert len(addresses(deployment)) == 2
    kept = Instance.objects.filter(state="Healthy", doubted_at__isnull=False)
    assert "no answer within 1 s" in kept[0].reason
    assert provisioning.sweep() == []
    watch.answers_with(GOOD, *rows(deployment))
    watch.look()
    swept(deployment)
    assert len(addresses(deployment)) == 3
    assert not Instance.objects.exclude(doubted_at=None, reason="").exists()


@pytest.mark.django_db
def test_wrong_answers_take_even_the_last_instance_out(make: Factory, watch: Watch) -> None:
    deployment = make.deployment(readiness_probe=QUICK, liveness_probe=SLOW)
    deployment = advance_until(deployment, *DONE)
    watch.answers_with(BAD, *rows(deployment))
    watch.look(times=3)
    swept(deployment)
    assert addresses(deployment) == []


@pytest.mark.django_db
def test_an_instance_whose_liveness_is_exhausted_is_restarted_with_growing_pauses(
    make: Factory, watch: Watch, runtime: FakeRuntime
) -> None:
    deployment = advance_until(make.deployment(liveness_probe=QUICK), *DONE)
    [row] = rows(deployment)
    watch.answers_with(BAD, row)
    pauses = []
    for restarts in range(1, 5):
        runtime.say(row.name, f"line of start {restarts}")
        watch.look(times=3)
        swept(deployment)
        row.refresh_from_db()
        assert (row.state, row.restarts) == ("Exited", restarts)
        assert row.code == "ResourceNotReady"
        assert row.reason.startswith(
            "Liveness probe failed: HTTP probe failed with statuscode: 502"
        )
        assert f"line of start {restarts}" in row.evidence
        assert addresses(deployment) == []
        pauses.append((row.start_after - timezone.now()).total_seconds())
        if restarts > 1:
            advance_once(deployment)
            assert runtime.starts(row.name) == restarts, "not before the pause is over"
        Instance.objects.update(start_after=timezone.now())
        for _ in range(2):
            advance_once(deployment)
        assert runtime.starts(row.name) == restarts + 1
        assert len(addresses(deployment)) == 1
    assert pauses == sorted(pauses)
    assert pauses[0] <= 0 < 1 < pauses[1] < pauses[2] < pauses[3]
    assert OnlineDeployment.objects.get().state == "Succeeded"


@pytest.mark.django_db
def test_an_instance_that_lived_well_before_it_hung_is_restarted_at_once(
    make: Factory, watch: Watch
) -> None:
    deployment = advance_until(make.deployment(liveness_probe=QUICK), *DONE)
    [row] = rows(deployment)
    Instance.objects.update(restarts=4, ready_at=timezone.now() - timedelta(minutes=5))
    watch.answers_with(BAD, row)
    watch.look(times=3)
    swept(deployment)
    row.refresh_from_db()
    assert row.restarts == 1
    assert row.start_after <= timezone.now()


@pytest.mark.django_db
def test_late_answers_restart_one_after_the_other(make: Factory, watch: Watch) -> None:
    deployment = make.deployment(instance_count=3, liveness_probe=QUICK)
    deployment = advance_until(deployment, *DONE)
    watch.answers_with(LATE, *rows(deployment))
    watch.look(times=3)
    swept(deployment)
    assert [row.state for row in rows(deployment)].count("Exited") == 1
    assert len(addresses(deployment)) == 2


@pytest.mark.parametrize("answer", [BAD, LATE])
@pytest.mark.django_db
def test_liveness_that_fails_again_and_again_fails_the_creation_with_its_words(
    make: Factory, watch: Watch, runtime: FakeRuntime, answer: Answer
) -> None:
    runtime.plan("", HANGS)
    deployment = make.deployment(liveness_probe=QUICK)
    for _ in range(12):
        advance_once(deployment)
        watch.answers_with(answer, *rows(deployment))
        watch.look(times=3)
        Instance.objects.update(start_after=timezone.now())
        if OnlineDeployment.objects.get().state == "Failed":
            break
    failure = OnlineDeployment.objects.get().failure
    assert failure["code"] == "ResourceNotReady"
    assert f"Liveness probe failed: {answer.words}" in failure["cause"]


@pytest.mark.django_db
def test_one_that_never_becomes_ready_fails_with_what_its_probe_said(
    make: Factory, watch: Watch, runtime: FakeRuntime
) -> None:
    runtime.plan("", HANGS)
    deployment = make.deployment(readiness_probe=QUICK)
    for _ in range(4):
        advance_once(deployment)
    watch.answers_with(BAD, *rows(deployment))
    watch.look(times=3)
    operation = deployment.operations.get()
    operation.phases.filter(name="Load model").update(deadline_at=timezone.now())
    failure = advance_until(deployment, *DONE).failure
    assert "Readiness probe failed: HTTP probe failed with statuscode: 502" in failure["cause"]


@pytest.mark.django_db
def test_a_success_threshold_above_one_is_waited_for(make: Factory, watch: Watch) -> None:
    probe = QUICK | {"success_threshold": 3}
    deployment = make.deployment(readiness_probe=probe)
    for _ in range(8):
        advance_once(deployment)
    assert OnlineDeployment.objects.get().state == "Creating"
    watch.look(times=2)
    advance_once(deployment)
    assert OnlineDeployment.objects.get().state == "Creating"
    watch.look(times=1)
    assert advance_until(deployment, *DONE).state == "Succeeded"


@pytest.mark.django_db
def test_a_restarted_instance_is_judged_anew(
    make: Factory, watch: Watch, runtime: FakeRuntime
) -> None:
    deployment = make.deployment(liveness_probe=QUICK, readiness_probe=SLOW)
    deployment = advance_until(deployment, *DONE)
    [row] = rows(deployment)
    watch.answers_with(BAD, row)
    watch.look()
    runtime.crash(row.name)
    for _ in range(2):
        advance_once(deployment)
    watch.look()
    memory = Memory.read(Instance.objects.get().probes)
    assert memory is not None
    assert memory.tally(Kind.LIVENESS).bad == 1
    assert not memory.is_lost


@pytest.mark.django_db
def test_an_answer_to_an_earlier_start_counts_for_nothing(
    make: Factory, watch: Watch, runtime: FakeRuntime
) -> None:
    deployment = advance_until(make.deployment(liveness_probe=QUICK), *DONE)
    [row] = rows(deployment)
    watch.now += 60
    questions = watch.prober._due()
    runtime.crash(row.name)
    for _ in range(2):
        advance_once(deployment)
    before = Instance.objects.get().probes
    watch.prober._note([(question, BAD) for question in questions])
    assert Instance.objects.get().probes == before


@pytest.mark.django_db
def test_instances_from_before_probes_were_asked_keep_serving_and_are_asked(
    make: Factory, watch: Watch
) -> None:
    deployment = advance_until(make.deployment(), *DONE)
    before = addresses(deployment)
    Instance.objects.update(probes={})
    swept(deployment)
    assert addresses(deployment) == before
    watch.look(times=11)
    assert watch.asked


@pytest.mark.django_db
def test_the_sweep_looks_at_no_instance_one_by_one(
    make: Factory, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance_until(make.deployment(instance_count=3), *DONE)

    def inspect(name: str) -> None:
        raise AssertionError(f"{name} was inspected")

    monkeypatch.setattr(runtime, "inspect", inspect)
    [deployment] = OnlineDeployment.objects.all()
    assert not instances.needs_attention(deployment, instances.Running())


@pytest.mark.django_db
def test_a_custom_container_is_asked_at_its_own_routes(make: Factory) -> None:
    deployment = make.deployment()
    revision = deployment.revision
    assert revision is not None and revision.environment_version is not None
    revision.environment_version.inference_config = {
        "liveness_route": {"path": "/alive", "port": 9000},
        "readiness_route": {"path": "/ready", "port": 8080},
        "scoring_route": {"path": "/predict", "port": 8080},
    }
    plan = plan_of(revision)
    told = {kind: (route.path, route.port) for kind, route in plan.routes.items()}
    assert told == {
        Kind.STARTUP: ("/alive", 9000),
        Kind.LIVENESS: ("/alive", 9000),
        Kind.READINESS: ("/ready", 0),
    }
    assert not plan.rules.is_ours
    # Who tells one route alone is asked there for both.
    del revision.environment_version.inference_config["readiness_route"]
    readiness = plan_of(revision).routes[Kind.READINESS]
    assert (readiness.path, readiness.port) == ("/alive", 9000)


ANSWERS = [
    (b"HTTP/1.1 200 OK\r\n\r\n", True, ""),
    (b"HTTP/1.0 502 Bad\r\n\r\n", False, "HTTP probe failed with statuscode: 502"),
    (b"HTTP/1.1 204 No Content\r\n\r\n", False, "HTTP probe failed with statuscode: 204"),
    (b"SSH-2.0-x\r\n", False, "HTTP probe failed: the answer is not HTTP"),
    (b"x" * 200_000, False, "HTTP probe failed: the answer is not HTTP"),
    (b"", False, "HTTP probe failed: the answer is not HTTP"),
    (None, False, "HTTP probe got no answer within 0.2 s"),
]


@pytest.mark.real
@pytest.mark.parametrize(("reply", "is_good", "words"), ANSWERS)
def test_only_200_in_time_is_good(
    tmp_path: Path, reply: bytes | None, is_good: bool, words: str
) -> None:
    path = tmp_path / "s"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            request = await reader.readuntil(b"\r\n\r\n")
            assert request.startswith(b"GET /live?x=1 HTTP/1.1\r\n")
            if reply is None:
                await asyncio.sleep(5)
            else:
                writer.write(reply)
                await writer.drain()
        writer.close()

    async def talk() -> Answer:
        server = await asyncio.start_unix_server(serve, path)
        async with asyncio.timeout(5):
            answer = await ask(f"unix:{path}", "/live?x=1", timeout_seconds=0.2)
        server.close()
        return answer

    answer = asyncio.run(talk())
    assert (answer.is_good, answer.words) == (is_good, words)
    assert answer.is_late == (reply is None)


@pytest.mark.real
@pytest.mark.parametrize(
    "address", ["unix:/nowhere/to/be/found", "127.0.0.1:1", "[::1]:1", "nonsense"]
)
def test_where_nothing_listens_the_probe_fails_at_once(address: str) -> None:
    answer = asyncio.run(ask(address, "/", timeout_seconds=2))
    assert not answer.is_good
    assert not answer.is_late
