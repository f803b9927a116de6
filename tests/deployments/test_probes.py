"""The rules of probes by table: answers in, verdict out, no clock and no database."""

from __future__ import annotations

import json

import pytest

from deployments.probes import (
    GOOD,
    Answer,
    Kind,
    Memory,
    Rule,
    Rules,
    begun,
    first_ready,
    is_due,
    may_restart,
    note,
    stays_in_routes,
)

QUICK = {"initial_delay": 1, "period": 1, "timeout": 1, "failure_threshold": 3}
BAD = Answer(is_good=False, words="HTTP probe failed with statuscode: 502", status=502)
LATE = Answer(is_good=False, words="HTTP probe got no answer within 1 s", is_late=True)
LOADING = Answer(is_good=False, words="HTTP probe failed with statuscode: 503", status=503)


def rules(
    *,
    liveness: dict[str, int] | None = None,
    readiness: dict[str, int] | None = None,
    startup: dict[str, int] | None = None,
    is_ours: bool = True,
) -> Rules:
    return Rules(
        Rule.of(QUICK | (liveness or {})),
        Rule.of(QUICK | (readiness or {})),
        Rule.of(QUICK | startup) if startup is not None else None,
        is_ours,
    )


def new(wanted: Rules) -> Memory:
    return begun(wanted, run="r", began_at=0, address="unix:/a")


def told(memory: Memory, wanted: Rules, kind: Kind, answers: dict[float, Answer]) -> Memory:
    for now, answer in answers.items():
        memory = note(memory, wanted, kind, answer, now=now)
    return memory


def test_defaults_are_azures() -> None:
    rule = Rule.of({})
    assert (rule.initial_delay, rule.period, rule.timeout) == (10, 10, 2)
    assert (rule.success_threshold, rule.failure_threshold, rule.budget_seconds) == (1, 30, 310)
    assert Rules(rule, rule).ready_seconds == 310
    assert Rules(rule, rule, startup=Rule.of(QUICK)).ready_seconds == 314


@pytest.mark.parametrize(
    ("answers", "is_ready", "bad"),
    [
        ({2: GOOD}, True, 0),
        ({2: BAD, 3: BAD}, True, 2),
        ({2: BAD, 3: BAD, 4: BAD}, False, 3),
        ({2: BAD, 3: BAD, 4: GOOD, 5: BAD, 6: BAD}, True, 2),
        ({2: BAD, 3: BAD, 4: LATE}, False, 3),
        ({2: BAD, 2.3: BAD, 2.5: BAD}, True, 1),  # sooner than the period: counted once
        ({2: BAD, 3: BAD, 4: BAD, 5: BAD, 6: GOOD}, True, 0),
    ],
)
def test_readiness_goes_after_failures_in_a_row_and_comes_back(
    answers: dict[float, Answer], is_ready: bool, bad: int
) -> None:
    wanted = rules()
    memory = told(first_ready(new(wanted)), wanted, Kind.READINESS, answers)
    assert (memory.is_ready, memory.tally(Kind.READINESS).bad) == (is_ready, bad)
    assert not memory.is_lost


@pytest.mark.parametrize(
    ("answers", "is_ready"),
    [
        ({0.1: GOOD}, False),
        ({0.1: GOOD, 0.4: GOOD, 0.6: GOOD}, False),
        ({0.1: GOOD, 1.1: GOOD}, True),
        ({0.1: GOOD, 1.1: BAD, 2.1: GOOD}, False),
        ({0.1: GOOD, 1.1: BAD, 2.1: GOOD, 3.1: GOOD}, True),
    ],
)
def test_the_success_threshold_wants_successes_a_period_apart(
    answers: dict[float, Answer], is_ready: bool
) -> None:
    wanted = rules(readiness={"success_threshold": 2})
    assert not wanted.one_look_is_enough
    assert told(new(wanted), wanted, Kind.READINESS, answers).is_ready == is_ready


@pytest.mark.parametrize(
    ("liveness", "answers", "is_lost"),
    [
        ({}, {1: BAD, 2: BAD}, False),
        ({}, {1: BAD, 2: BAD, 3: BAD}, True),
        ({}, {1: BAD, 2: BAD, 3: GOOD, 4: BAD}, False),
        ({"failure_threshold": 1}, {1: LATE}, True),
        # Failures within the initial delay do not count.
        ({"initial_delay": 10}, {7: BAD, 8: BAD, 9: BAD}, False),
        ({"initial_delay": 10}, {10: BAD, 11: BAD, 12: BAD}, True),
        ({"period": 5}, {1: BAD, 2: BAD, 3: BAD}, False),
        ({"period": 5}, {1: BAD, 6: BAD, 11: BAD}, True),
    ],
)
def test_liveness_is_lost_after_failures_in_a_row(
    liveness: dict[str, int], answers: dict[float, Answer], is_lost: bool
) -> None:
    wanted = rules(liveness=liveness)
    assert told(new(wanted), wanted, Kind.LIVENESS, answers).is_lost == is_lost


def test_what_is_lost_says_why_as_azure_does() -> None:
    wanted = rules()
    memory = told(new(wanted), wanted, Kind.LIVENESS, {1: BAD, 2: BAD, 3: BAD})
    assert memory.why(memory.lost_by) == (
        "Liveness probe failed: HTTP probe failed with statuscode: 502 (3 times in a row)."
    )
    assert memory.why(Kind.READINESS) == ""


def test_while_init_runs_our_own_servers_503_is_no_failure_of_liveness() -> None:
    answers = {1.0: LOADING, 2.0: LOADING, 3.0: LOADING}
    ours = rules(readiness={"failure_threshold": 60})
    assert not told(new(ours), ours, Kind.LIVENESS, answers).is_lost
    # Longer than readiness allows is too long, and one that was ready has loaded its model.
    after = {time + 61: answer for time, answer in answers.items()}
    assert told(new(ours), ours, Kind.LIVENESS, after).is_lost
    assert told(first_ready(new(ours)), ours, Kind.LIVENESS, answers).is_lost
    foreign = rules(is_ours=False)
    assert told(new(foreign), foreign, Kind.LIVENESS, answers).is_lost


def test_a_startup_probe_holds_the_others_back() -> None:
    wanted = rules(startup={"failure_threshold": 5})
    memory = new(wanted)
    assert not memory.has_started
    for kind in (Kind.LIVENESS, Kind.READINESS):
        assert not is_due(memory, wanted, kind, asked_at=0, now=50)
        assert note(memory, wanted, kind, BAD, now=50) is memory
    memory = told(memory, wanted, Kind.STARTUP, {1: BAD, 2: BAD, 3: GOOD})
    assert memory.has_started
    assert not is_due(memory, wanted, Kind.STARTUP, asked_at=0, now=50)
    assert is_due(memory, wanted, Kind.LIVENESS, asked_at=0, now=50)
    assert told(memory, wanted, Kind.READINESS, {4: GOOD}).is_ready


def test_a_startup_probe_that_is_exhausted_calls_for_a_restart() -> None:
    wanted = rules(startup={"failure_threshold": 2})
    memory = told(new(wanted), wanted, Kind.STARTUP, {1: BAD, 2: BAD})
    assert memory.is_lost
    assert memory.why(memory.lost_by).startswith("Startup probe failed: ")


@pytest.mark.parametrize(
    ("kind", "is_ready", "asked_at", "now", "due"),
    [
        (Kind.READINESS, False, 0, 0.5, False),
        (Kind.READINESS, False, 0, 1, True),  # asked eagerly until it is ready
        (Kind.READINESS, False, 5, 6, True),
        (Kind.READINESS, True, 5, 6, False),
        (Kind.READINESS, True, 5, 15, True),
        (Kind.LIVENESS, True, 0, 9, False),  # within the initial delay
        (Kind.LIVENESS, True, 0, 10, True),
        (Kind.LIVENESS, True, 12, 21, False),
        (Kind.LIVENESS, True, 12, 22, True),
        (Kind.STARTUP, False, 0, 100, False),  # there is none
    ],
)
def test_probes_are_asked_at_their_period(
    kind: Kind, is_ready: bool, asked_at: float, now: float, due: bool
) -> None:
    usual = Rules(Rule.of({}), Rule.of({}))
    memory = first_ready(new(usual)) if is_ready else new(usual)
    assert is_due(memory, usual, kind, asked_at=asked_at, now=now) == due


def test_answers_that_change_nothing_change_no_memory() -> None:
    wanted = rules()
    memory = told(new(wanted), wanted, Kind.READINESS, {1: GOOD})
    assert note(memory, wanted, Kind.READINESS, GOOD, now=2) is memory
    lost = told(memory, wanted, Kind.LIVENESS, {1: BAD, 2: BAD, 3: BAD})
    assert note(lost, wanted, Kind.LIVENESS, GOOD, now=4) is lost


def test_a_memory_is_kept_as_json() -> None:
    wanted = rules(startup={})
    memory = told(new(wanted), wanted, Kind.STARTUP, {1: BAD, 2: LATE})
    assert Memory.read(json.loads(json.dumps(memory.kept()))) == memory
    assert Memory.read({}) is None


@pytest.mark.parametrize(
    ("late", "count", "stay"),
    [
        ([], 3, set()),
        ([("a", False)], 1, {"a"}),
        ([("a", True)], 1, {"a"}),
        ([("a", False)], 2, set()),
        ([("a", False), ("b", False)], 2, {"b"}),
        ([("a", False), ("b", True)], 2, {"a"}),  # the one that is out stays out
        ([("a", False), ("b", False), ("c", False), ("d", False)], 4, {"c", "d"}),
    ],
)
def test_late_answers_take_at_most_half_of_the_instances_out(
    late: list[tuple[str, bool]], count: int, stay: set[str]
) -> None:
    assert stays_in_routes(late, instance_count=count) == stay


@pytest.mark.parametrize(
    ("late", "down", "at_once", "restarted"),
    [
        (["b", "a"], 0, 1, {"a"}),
        (["b", "a"], 1, 1, set()),
        (["a", "b", "c"], 0, 2, {"a", "b"}),
    ],
)
def test_late_answers_restart_few_at_once(
    late: list[str], down: int, at_once: int, restarted: set[str]
) -> None:
    assert may_restart(late, down=down, at_once=at_once) == restarted
