"""What every runtime promises, run on each of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from deployments.runtimes import Phase
from tests.deployments.runtimes.stands import Stand, wait_for

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def test_what_was_never_started_is_absent(stand: Stand) -> None:
    status = stand.runtime.inspect("ep.blue.1.0")

    assert (status.phase, status.digest) == (Phase.ABSENT, "")
    assert stand.runtime.usage("ep.blue.1.0") is None
    assert list(stand.runtime.logs("ep.blue.1.0", since=LONG_AGO)) == []
    assert list(stand.runtime.owned()) == []


def test_an_instance_becomes_healthy_and_has_an_address(stand: Stand) -> None:
    spec = stand.spec()
    before = datetime.now(UTC) - timedelta(seconds=1)

    first = stand.runtime.ensure(spec)
    status = wait_for(stand.runtime, spec.name, Phase.HEALTHY)

    assert first.phase in (Phase.STARTING, Phase.HEALTHY)
    assert status.address.startswith("unix:") or status.address.endswith(":5001")
    assert status.digest == spec.digest
    assert status.started_at is not None
    assert before < status.started_at <= datetime.now(UTC)
    assert (status.code, status.reason, status.exit_code) == ("", "", None)


def test_ensuring_twice_is_success_and_starts_once(stand: Stand) -> None:
    spec = stand.spec()
    stand.runtime.ensure(spec)
    first = wait_for(stand.runtime, spec.name, Phase.HEALTHY)

    again = stand.runtime.ensure(spec)

    assert again == first


def test_many_who_ensure_at_once_start_one(stand: Stand) -> None:
    spec = stand.spec()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: stand.runtime.ensure(spec), range(6)))

    starts = {stand.runtime.inspect(spec.name).started_at for _ in range(3)}
    assert len(starts) == 1
    assert list(stand.runtime.owned()) == [spec.name]


def test_another_digest_replaces_the_instance(stand: Stand) -> None:
    spec = stand.spec()
    stand.runtime.ensure(spec)
    first = wait_for(stand.runtime, spec.name, Phase.HEALTHY)

    changed = replace(spec, environment_variables={"LEVEL": "2"})
    stand.runtime.ensure(changed)
    second = wait_for(stand.runtime, spec.name, Phase.HEALTHY)

    assert second.digest == changed.digest != first.digest
    assert second.started_at is not None and first.started_at is not None
    assert second.started_at > first.started_at
    assert list(stand.runtime.owned()) == [spec.name]


def test_a_removed_instance_is_absent_and_no_longer_owned(stand: Stand) -> None:
    spec = stand.spec()
    stand.runtime.ensure(spec)
    wait_for(stand.runtime, spec.name, Phase.HEALTHY)

    stand.runtime.remove(spec.name, grace_seconds=2)

    assert stand.runtime.inspect(spec.name).phase == Phase.ABSENT
    assert list(stand.runtime.owned()) == []


def test_removing_what_is_missing_is_success(stand: Stand) -> None:
    stand.runtime.remove("ep.blue.1.0")
    stand.runtime.remove("ep.blue.1.0", grace_seconds=1)


def test_a_failing_script_exits_with_code_reason_and_evidence(stand: Stand) -> None:
    spec = stand.failing("ep.bad.1.0")
    stand.runtime.ensure(spec)

    status = wait_for(stand.runtime, spec.name, Phase.EXITED)

    assert status.code == "UserScriptInitFailed"
    assert status.reason
    assert "ValueError: no such model" in "\n".join(status.evidence)
    assert len(status.evidence) <= 12
    assert status.exit_code == 3
    assert status.address == ""
    assert stand.runtime.usage(spec.name) is None
    assert list(stand.runtime.owned()) == [spec.name]


def test_an_exited_instance_starts_again_when_ensured(stand: Stand) -> None:
    spec = stand.failing("ep.bad.1.0")
    stand.runtime.ensure(spec)
    first = wait_for(stand.runtime, spec.name, Phase.EXITED)

    stand.runtime.ensure(spec)
    second = wait_for(stand.runtime, spec.name, Phase.EXITED)

    assert first.started_at is not None and second.started_at is not None
    assert second.started_at > first.started_at


def test_too_much_memory_is_explained_with_figures(stand: Stand) -> None:
    spec = stand.greedy("ep.greedy.1.0")
    stand.runtime.ensure(spec)

    status = wait_for(stand.runtime, spec.name, Phase.EXITED)

    assert status.code == "OutOfMemory"
    assert "limit" in status.reason
    assert "iB" in status.reason


def test_log_lines_come_in_order_from_since_on(stand: Stand) -> None:
    spec = stand.spec()
    stand.runtime.ensure(spec)
    wait_for(stand.runtime, spec.name, Phase.HEALTHY)
    stand.say(spec.name, "first of two")
    stand.say(spec.name, "second of two")

    texts = [line.text for line in stand.runtime.logs(spec.name, since=LONG_AGO)]
    future = datetime.now(UTC) + timedelta(hours=1)

    assert texts[-2:] == ["first of two", "second of two"]
    assert list(stand.runtime.logs(spec.name, since=future)) == []


def test_usage_is_told_against_the_limit(stand: Stand) -> None:
    spec = stand.spec(memory_bytes=256 * 1024**2)
    stand.runtime.ensure(spec)
    wait_for(stand.runtime, spec.name, Phase.HEALTHY)

    usage = stand.runtime.usage(spec.name)

    assert usage is not None
    assert 0 <= usage.cpu_percent <= 100
    assert 0 <= usage.memory_bytes <= usage.memory_limit_bytes == 256 * 1024**2


def test_everything_started_is_owned(stand: Stand) -> None:
    names = ["ep.blue.1.0", "ep.blue.1.1", "ep.green.7.0"]
    for name in names:
        stand.runtime.ensure(stand.spec(name))

    assert list(stand.runtime.owned()) == names
