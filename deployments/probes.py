"""Liveness, readiness and startup: what follows from how an instance answers (facts 2.2.2).

Pure: `deployments.probing` asks and keeps the memory in the instance's row, `deployments.instances` acts on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from deployments.models import PROBE_DEFAULTS

# Until the first success an instance is asked this often, whatever the period: nobody waits for nothing.
EAGER_SECONDS = 1.0
# Whoever asks looks at the clock every half second, so what is nearly due is due.
SLACK_SECONDS = 0.3
NOT_READY = 503


class Kind(StrEnum):
    STARTUP = "startup"
    LIVENESS = "liveness"
    READINESS = "readiness"


@dataclass(frozen=True)
class Rule:
    """One probe: seconds and counts."""

    initial_delay: float
    period: float
    timeout: float
    success_threshold: int
    failure_threshold: int

    @classmethod
    def of(cls, stated: Mapping[str, Any]) -> Rule:
        """What was said of it, Azure's defaults for the rest."""
        return cls(**(PROBE_DEFAULTS | dict(stated)))

    @property
    def budget_seconds(self) -> float:
        """How long it may fail from the start on before something follows."""
        return self.initial_delay + self.period * self.failure_threshold


@dataclass(frozen=True)
class Rules:
    """The probes of a deployment's instances."""

    liveness: Rule
    readiness: Rule
    startup: Rule | None = None
    is_ours: bool = True
    """Whether our inference server answers, whose 503 says that `init()` still runs."""

    def of(self, kind: Kind) -> Rule | None:
        rule: Rule | None = getattr(self, kind)
        return rule

    @property
    def ready_seconds(self) -> float:
        """How long an instance may take from its start until it is ready."""
        startup = self.startup.budget_seconds if self.startup else 0.0
        return startup + self.readiness.budget_seconds

    @property
    def one_look_is_enough(self) -> bool:
        """Whether the first good answer makes an instance ready."""
        return self.startup is None and self.readiness.success_threshold == 1


@dataclass(frozen=True)
class Answer:
    """How an instance answered one request of a probe."""

    is_good: bool
    words: str = ""
    """Why it is not: `HTTP probe failed with statuscode: 502`."""
    status: int = 0
    is_late: bool = False
    """No answer in time, which may be the machine's fault."""


GOOD = Answer(is_good=True, status=200)


@dataclass(frozen=True)
class Tally:
    """The last answers of one probe, all of one kind."""

    good: int = 0
    bad: int = 0
    counted_at: float = 0.0
    failing_since: float = 0.0
    is_late: bool = False
    """All the bad ones came too late."""
    words: str = ""


@dataclass(frozen=True)
class Memory:
    """What is known of one run of an instance; times are seconds since 1970."""

    run: str
    """When the instance was started, by its runtime: another one is another run."""
    began_at: float
    address: str = ""
    """Where it is asked."""
    has_started: bool = True
    was_ready: bool = False
    is_ready: bool = False
    is_lost: bool = False
    """It has to be restarted: liveness or startup is exhausted."""
    tallies: dict[Kind, Tally] = field(default_factory=dict)

    @classmethod
    def read(cls, kept: Mapping[str, Any]) -> Memory | None:
        """From the row; None when nothing runs that could be asked."""
        if not kept:
            return None
        tallies = {Kind(kind): Tally(**tally) for kind, tally in kept["tallies"].items()}
        return cls(**{**kept, "tallies": tallies})

    def kept(self) -> dict[str, Any]:
        """For the row."""
        return asdict(self)

    def tally(self, kind: Kind) -> Tally:
        return self.tallies.get(kind, Tally())

    def why(self, kind: Kind) -> str:
        """`Liveness probe failed: HTTP probe failed with statuscode: 502 (3 times in a row).`, or empty."""
        tally = self.tally(kind)
        if not tally.bad:
            return ""
        often = "once" if tally.bad == 1 else f"{tally.bad} times in a row"
        return f"{kind.capitalize()} probe failed: {tally.words} ({often})."

    @property
    def lost_by(self) -> Kind:
        """The probe whose failures call for a restart."""
        return Kind.LIVENESS if self.has_started else Kind.STARTUP

    @property
    def is_unready_late(self) -> bool:
        """Whether it was ready and is not any more, for no other reason than late answers."""
        return self.was_ready and not self.is_ready and self.tally(Kind.READINESS).is_late


def begun(rules: Rules, *, run: str, began_at: float, address: str) -> Memory:
    """The memory of an instance that was just started."""
    return Memory(run, began_at, address, has_started=rules.startup is None)


def is_due(memory: Memory, rules: Rules, kind: Kind, *, asked_at: float, now: float) -> bool:
    """Whether this probe is to be asked now, when it was last asked at `asked_at` (0: never)."""
    rule = rules.of(kind)
    if rule is None or memory.is_lost or not memory.address:
        return False
    if (kind == Kind.STARTUP) == memory.has_started:
        return False
    if kind == Kind.LIVENESS and now < memory.began_at + rule.initial_delay:
        return False
    is_eager = kind == Kind.STARTUP or (kind == Kind.READINESS and not memory.was_ready)
    period = min(rule.period, EAGER_SECONDS) if is_eager else rule.period
    return now - asked_at >= period - SLACK_SECONDS


def note(memory: Memory, rules: Rules, kind: Kind, answer: Answer, *, now: float) -> Memory:
    """The memory after one more answer; the same object when nothing changes."""
    rule = rules.of(kind)
    if rule is None or memory.is_lost or (kind == Kind.STARTUP) == memory.has_started:
        return memory
    if not answer.is_good and _is_early(memory, rules, rule, kind, answer, now):
        return memory
    before = memory.tally(kind)
    tally = _count(before, rule, answer, now)
    if tally is before:
        return memory
    fresh = replace(memory, tallies={**memory.tallies, kind: tally})
    is_reached = tally.good >= rule.success_threshold
    is_exhausted = tally.bad >= rule.failure_threshold
    if kind == Kind.READINESS:
        if is_reached:
            return replace(fresh, is_ready=True, was_ready=True)
        return replace(fresh, is_ready=False) if is_exhausted else fresh
    if is_exhausted:
        return replace(fresh, is_lost=True)
    return replace(fresh, has_started=True) if kind == Kind.STARTUP and is_reached else fresh


def first_ready(memory: Memory) -> Memory:
    """Ready by the first look, which was a runtime's own."""
    return replace(memory, is_ready=True, was_ready=True)


def stays_in_routes(late: Iterable[tuple[str, bool]], *, instance_count: int) -> set[str]:
    """Which of the instances that answer too late stay in the routes all the same.

    `late` are names, and whether each is out already. A machine that is short of processor time answers every
    probe late: then at most half of the instances may leave the routes for it, so never the last one.
    """
    ordered = sorted(late, key=lambda item: (not item[1], item[0]))
    return {name for name, _ in ordered[instance_count // 2 :]}


def may_restart(late: Sequence[str], *, down: int, at_once: int) -> set[str]:
    """Which of the instances that are lost by late answers are restarted now, when `down` do not serve anyway."""
    return set(sorted(late)[: max(0, at_once - down)])


def _is_early(
    memory: Memory, rules: Rules, rule: Rule, kind: Kind, answer: Answer, now: float
) -> bool:
    """Whether a bad answer does not count yet."""
    if now < memory.began_at + rule.initial_delay:
        return True
    is_loading = rules.is_ours and answer.status == NOT_READY and not memory.was_ready
    # How long init() may take is for the readiness probe to say.
    return kind == Kind.LIVENESS and is_loading and now < memory.began_at + rules.ready_seconds


def _count(tally: Tally, rule: Rule, answer: Answer, now: float) -> Tally:
    """One more answer of the same kind, or the first of the other; between two that count lies a period."""
    is_soon = now - tally.counted_at < rule.period - SLACK_SECONDS
    if answer.is_good:
        if tally.good >= rule.success_threshold or (tally.good and is_soon):
            return tally
        return Tally(good=tally.good + 1, counted_at=now)
    if is_soon and tally.bad:
        return tally
    if not tally.bad:
        return Tally(
            bad=1, counted_at=now, failing_since=now, is_late=answer.is_late, words=answer.words
        )
    return replace(
        tally,
        bad=tally.bad + 1,
        counted_at=now,
        is_late=tally.is_late and answer.is_late,
        words=answer.words,
    )
