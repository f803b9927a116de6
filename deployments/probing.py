"""Asks instances what their probes prescribe, and remembers the answers in their rows.

One process asks (`watch`), many at a time, so that no worker waits for a hung instance. Nothing here acts: an
answer that changes what follows makes the deployment due, and the worker does the rest (`deployments.instances`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from django.db.models import Q
from django.utils import timezone

from deployments import triton
from deployments.doorbell import ring
from deployments.models import Instance, OnlineDeployment, Revision
from deployments.probes import GOOD, Answer, Kind, Memory, Rule, Rules, is_due, note

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
STATUS_LINE_BYTES = 4096
ASKED = (Instance.State.STARTING, Instance.State.HEALTHY, Instance.State.UNREADY)

Result = TypeVar("Result")


@dataclass(frozen=True)
class Route:
    """Where a probe is asked."""

    path: str = "/"
    port: int = 0
    """0: where the instance answers anyway."""


@dataclass(frozen=True)
class Plan:
    """What is asked of a revision's instances."""

    rules: Rules
    routes: dict[Kind, Route]


@dataclass(frozen=True)
class Target:
    """What is asked, and for how long an answer is waited for."""

    address: str
    path: str
    timeout_seconds: float


@dataclass(frozen=True)
class Question:
    """One request, for as many probes as it answers."""

    instance_id: int
    deployment_id: int
    run: str
    kinds: tuple[Kind, ...]
    target: Target


class Ask(Protocol):
    def __call__(
        self, address: str, path: str, *, timeout_seconds: float
    ) -> Coroutine[Any, Any, Answer]: ...


class Threaded(Protocol):
    """Runs a call that uses the database in a thread of its own."""

    def __call__(self, action: Callable[[], Result], /) -> Awaitable[Result]: ...


def rules_of(revision: Revision) -> Rules:
    """The probes of a revision, Azure's defaults filled in."""
    environment = revision.environment_version
    is_custom = environment is not None and bool(environment.inference_config)
    is_custom = is_custom or triton.runs_in_image(revision)
    return Rules(
        liveness=Rule.of(revision.liveness_probe),
        readiness=Rule.of(revision.readiness_probe),
        startup=Rule.of(revision.startup_probe) if revision.startup_probe else None,
        is_ours=not is_custom,
    )


def plan_of(revision: Revision) -> Plan:
    """Rules and routes; custom containers have their own routes (`inference_config`)."""
    environment = revision.environment_version
    config = environment.inference_config if environment is not None else {}
    liveness = _route(config, "liveness_route")
    # As the runtime's own look at it (`deployments.containers.routes`).
    readiness = _route(config, "readiness_route") if "readiness_route" in config else liveness
    if triton.runs_in_image(revision):
        liveness, readiness = Route(triton.LIVENESS_PATH), Route(triton.READINESS_PATH)
    routes = {Kind.STARTUP: liveness, Kind.LIVENESS: liveness, Kind.READINESS: readiness}
    return Plan(rules_of(revision), routes)


def targets_due(
    memory: Memory, plan: Plan, asked_at: Mapping[Kind, float], waits: set[Kind], *, now: float
) -> dict[Target, tuple[Kind, ...]]:
    """What to ask now of one instance; a probe that the same request answers is asked along when it is due soon.

    `waits` are the probes whose last question is still open.
    """
    targets: dict[Kind, Target] = {}
    for kind, route in plan.routes.items():
        rule = plan.rules.of(kind)
        if rule is not None and kind not in waits:
            address = _at_port(memory.address, route.port)
            targets[kind] = Target(address, route.path, rule.timeout)

    def due(kind: Kind, when: float) -> bool:
        return is_due(memory, plan.rules, kind, asked_at=asked_at.get(kind, 0.0), now=when)

    wanted = {target for kind, target in targets.items() if due(kind, now)}
    found: dict[Target, tuple[Kind, ...]] = {}
    for kind, target in targets.items():
        rule = plan.rules.of(kind)
        if rule is not None and target in wanted and due(kind, now + rule.period / 2):
            found[target] = (*found.get(target, ()), kind)
    return found


async def ask(address: str, path: str, *, timeout_seconds: float) -> Answer:
    """`GET path` at `unix:/a/socket` or `host:port`; 200 in time is the only good answer."""
    try:
        async with asyncio.timeout(timeout_seconds):
            status = await _status_of(address, path)
    except TimeoutError:
        words = f"HTTP probe got no answer within {timeout_seconds:g} s"
        return Answer(is_good=False, words=words, is_late=True)
    except (ConnectionRefusedError, FileNotFoundError):
        return Answer(is_good=False, words="HTTP probe failed: connection refused")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return Answer(is_good=False, words=f"HTTP probe failed: {reason}")
    if status == 200:
        return GOOD
    if status == 0:
        return Answer(is_good=False, words="HTTP probe failed: the answer is not HTTP")
    words = f"HTTP probe failed with statuscode: {status}"
    return Answer(is_good=False, words=words, status=status)


class Prober:
    """Asks all instances of the installation when it is time to."""

    def __init__(self, ask: Ask = ask, clock: Callable[[], float] = time.time) -> None:
        self._ask = ask
        self._clock = clock
        self._plans: dict[int, Plan] = {}
        self._asked_at: dict[tuple[int, str], dict[Kind, float]] = {}
        self._asks: dict[Question, asyncio.Task[Answer]] = {}

    async def step(self, threaded: Threaded) -> None:
        """Ask what is due, wait a moment for answers, and note those that are there."""
        for question in await threaded(self._due):
            target = question.target
            answer = self._ask(target.address, target.path, timeout_seconds=target.timeout_seconds)
            self._asks[question] = asyncio.create_task(answer)
        if not self._asks:
            return
        done, _ = await asyncio.wait(self._asks.values(), timeout=LOOK_SECONDS)
        answers = [
            (question, self._asks.pop(question).result())
            for question, task in list(self._asks.items())
            if task in done
        ]
        if answers:
            await threaded(lambda: self._note(answers))

    async def close(self) -> None:
        """Forget the questions that are open."""
        for task in self._asks.values():
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._asks.values(), return_exceptions=True)
        self._asks.clear()

    def _due(self) -> list[Question]:
        rows = list(
            Instance.objects.filter(state__in=ASKED)
            .exclude(probes={})
            .values_list("pk", "deployment_id", "revision_id", "probes")
        )
        self._know({revision_id for _, _, revision_id, _ in rows})
        now, still_open = self._clock(), self._open_kinds()
        asked_before, self._asked_at = self._asked_at, {}
        questions: list[Question] = []
        for instance_id, deployment_id, revision_id, kept in rows:
            memory, plan = Memory.read(kept), self._plans.get(revision_id)
            if memory is None or plan is None:
                continue
            run = (instance_id, memory.run)
            asked_at = self._asked_at[run] = asked_before.get(run, {})
            waits = {kind for kind in Kind if (*run, kind) in still_open}
            for target, kinds in targets_due(memory, plan, asked_at, waits, now=now).items():
                questions.append(Question(instance_id, deployment_id, memory.run, kinds, target))
                asked_at.update(dict.fromkeys(kinds, now))
        return questions

    def _open_kinds(self) -> set[tuple[int, str, Kind]]:
        return {
            (question.instance_id, question.run, kind)
            for question in self._asks
            for kind in question.kinds
        }

    def _know(self, revision_ids: set[int]) -> None:
        """Have the plans of these revisions, which never change, and of no others."""
        missing = revision_ids - self._plans.keys()
        found = Revision.objects.filter(pk__in=missing).select_related("environment_version")
        fresh = {revision.pk: plan_of(revision) for revision in found} if missing else {}
        self._plans = {
            pk: plan for pk, plan in (self._plans | fresh).items() if pk in revision_ids
        }

    def _note(self, answers: list[tuple[Question, Answer]]) -> None:
        now = self._clock()
        changed: set[int] = set()
        asked = {question.instance_id for question, _ in answers}
        found = Instance.objects.filter(pk__in=asked, state__in=ASKED)
        rows = {row.pk: row for row in found.only("probes", "revision_id", "name")}
        for question, answer in answers:
            row = rows.get(question.instance_id)
            memory = Memory.read(row.probes) if row is not None else None
            plan = self._plans.get(row.revision_id) if row is not None else None
            if row is None or plan is None or memory is None or memory.run != question.run:
                continue
            fresh = memory
            for kind in question.kinds:
                fresh = note(fresh, plan.rules, kind, answer, now=now)
            if fresh != memory and remember(row, fresh) and _verdict(fresh) != _verdict(memory):
                logger.info("instance %s: %s", row.name, _in_words(fresh))
                changed.add(question.deployment_id)
        for deployment_id in changed:
            _wake(deployment_id)


def remember(row: Instance, memory: Memory) -> bool:
    """Write the row's memory unless someone else did since it was read; the row then has theirs."""
    kept = memory.kept()
    if Instance.objects.filter(pk=row.pk, probes=row.probes).update(probes=kept):
        row.probes = kept
        return True
    found = Instance.objects.filter(pk=row.pk).values_list("probes", flat=True).first()
    row.probes = found or {}
    return False


def _wake(deployment_id: int) -> None:
    """Have the worker act; when the ring is lost or comes too early, the sweep sees the same."""
    now = timezone.now()
    OnlineDeployment.objects.filter(
        Q(due_at__isnull=True) | Q(due_at__gt=now), pk=deployment_id
    ).update(due_at=now)
    ring(deployment_id)


def _verdict(memory: Memory) -> tuple[bool, bool, bool]:
    return memory.has_started, memory.is_ready, memory.is_lost


def _in_words(memory: Memory) -> str:
    if memory.is_lost:
        return memory.why(memory.lost_by)
    return "ready" if memory.is_ready else memory.why(Kind.READINESS) or "started"


def _route(config: dict[str, Any], name: str) -> Route:
    stated = config.get(name) or {}
    path = str(stated.get("path") or "/")
    return Route(path if path.startswith("/") else f"/{path}", _own_port(config, stated))


def _own_port(config: dict[str, Any], stated: dict[str, Any]) -> int:
    """The probe's port where it is not the one that requests go to."""
    port = int(stated.get("port") or 0)
    scoring = int((config.get("scoring_route") or {}).get("port") or 0)
    return 0 if port == scoring else port


def _at_port(address: str, port: int) -> str:
    if not port or address.startswith("unix:"):
        return address
    return f"{address.rpartition(':')[0]}:{port}"


async def _status_of(address: str, path: str) -> int:
    """The status code; 0 when what comes is not HTTP."""
    if address.startswith("unix:"):
        opened = asyncio.open_unix_connection(address.removeprefix("unix:"))
    else:
        host, _, port = address.rpartition(":")
        opened = asyncio.open_connection(host.strip("[]"), int(port))
    reader, writer = await opened
    try:
        request = f"GET {path} HTTP/1.1\r\nHost: instance\r\nUser-Agent: portico-probe\r\n"
        writer.write(f"{request}Connection: close\r\n\r\n".encode())
        line = await reader.readline()
    except ValueError:
        return 0
    finally:
        writer.close()
    words = line[:STATUS_LINE_BYTES].split(None, 2)
    is_http = len(words) > 1 and words[0].startswith(b"HTTP/") and words[1].isdigit()
    return int(words[1]) if is_http else 0
