"""Bounds and clocks: who waits, who is refused, and what is cut."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.inference_server import scripts
from tests.inference_server.serving import (
    OTHER_SERVER,
    Reply,
    Serve,
    Served,
    until,
    wait_until_healthy,
)

pytestmark = pytest.mark.skipif(bool(OTHER_SERVER), reason="beyond the contract")

# Runs until the test lets it go on: no sleeping and hoping.
GATED = """
import json, os, time

def init():
    pass

def run(data):
    what = json.loads(data)
    if what.get("began"):
        open(what["began"], "w").close()
    while what.get("gate") and not os.path.exists(what["gate"]):
        time.sleep(0.002)
    return os.getpid()
"""
# Holds the interpreter in C code, where no alarm is noticed.
STUCK = """
import ctypes, json, os, signal

def init():
    pass

def run(data):
    if json.loads(data) == "stuck":
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
        ctypes.PyDLL(None).sleep(60)
    return os.getpid()
"""


class Gate:
    """Requests that stay in run() until `open()`."""

    def __init__(self, served: Served, folder: Path) -> None:
        self.served = served
        self.path = folder / "gate"
        self.folder = folder
        self.threads = ThreadPoolExecutor(64)
        self.count = 0
        self.last_began = folder

    def send(self) -> "Future[Reply]":
        self.count += 1
        self.last_began = self.folder / f"began-{self.count}"
        body = {"gate": str(self.path), "began": str(self.last_began)}
        return self.threads.submit(self.served.post_json, body)

    def send_and_wait_until_it_runs(self) -> "Future[Reply]":
        future = self.send()
        until(self.last_began.exists, 10, "start of run()")
        return future

    def open(self) -> None:
        self.path.touch()


@pytest.fixture
def gate(start: Serve, tmp_path: Path) -> Callable[..., Gate]:
    def build(*flags: str, **more: Any) -> Gate:
        served = start(GATED, *flags, **more)
        wait_until_healthy(served)
        return Gate(served, tmp_path)

    return build


def test_a_full_queue_answers_429_and_nobody_hangs(gate: Callable[..., Gate]) -> None:
    gated = gate("--max_queue", "3")
    first = gated.send_and_wait_until_it_runs()
    others = [gated.send() for _ in range(10)]
    until(lambda: sum(future.done() for future in others) == 7, 10, "seven refusals")
    refused = [future.result() for future in others if future.done()]
    assert {reply.status for reply in refused} == {429}
    assert {reply.header("retry-after") for reply in refused} == {"1"}
    assert "too many pending requests" in refused[0].message
    assert gated.served.call("GET", "/", timeout=1).status == 200
    gated.open()
    assert first.result().status == 200
    assert sum(future.result().status == 200 for future in others) == 3


def test_who_waits_too_long_gets_429(gate: Callable[..., Gate]) -> None:
    gated = gate("--max_queue_wait_ms", "100")
    first = gated.send_and_wait_until_it_runs()
    second = gated.send().result()
    assert (second.status, second.header("retry-after")) == (429, "1")
    gated.open()
    assert first.result().status == 200


def test_fewer_may_run_than_there_are_workers(gate: Callable[..., Gate]) -> None:
    gated = gate("--worker_count", "2", "--max_concurrent_requests", "1", "--max_queue", "1")
    gated.served.wait_for_status(ready_workers=2)
    first = gated.send_and_wait_until_it_runs()
    second, third = gated.send(), gated.send()
    until(lambda: second.done() or third.done(), 10, "a refusal")
    gated.open()
    assert first.result().status == 200
    assert sorted([second.result().status, third.result().status]) == [200, 429]


def test_a_request_over_its_time_gets_408_and_the_worker_is_free_again(
    gate: Callable[..., Gate],
) -> None:
    gated = gate("--request_timeout_ms", "300")
    pid = gated.served.post_json({}).json()
    reply = gated.send().result()
    assert reply.status == 408
    assert reply.message == "The deployment did not answer within 300 ms."
    assert gated.served.post_json({}).json() == pid


def test_the_time_in_the_queue_counts(gate: Callable[..., Gate]) -> None:
    gated = gate("--request_timeout_ms", "400", "--max_queue_wait_ms", "0")
    replies = [future.result() for future in [gated.send() for _ in range(4)]]
    assert [reply.status for reply in replies] == [408] * 4


def test_code_that_feels_no_alarm_is_cut_and_a_fresh_worker_serves(start: Serve) -> None:
    served = start(STUCK, environment={"SCORING_TIMEOUT_MS": "200"})
    wait_until_healthy(served)
    pid = served.post_json(1).json()
    with ThreadPoolExecutor(2) as threads:
        stuck = threads.submit(served.post_json, "stuck")
        until(
            lambda: not stuck.done() and served.call("GET", "/", timeout=1).status == 200,
            5,
            "health",
        )
        assert stuck.result().status == 502
    assert served.post_json(1).json() != pid
    assert served.status["restarts"] == 1


def test_a_silent_worker_is_replaced_after_worker_timeout(start: Serve) -> None:
    served = start(STUCK, environment={"WORKER_TIMEOUT": "1"})
    wait_until_healthy(served)
    assert served.post_json("stuck").status == 502
    assert served.post_json(1).status == 200


def test_a_quick_request_is_not_kept_behind_a_slow_one(gate: Callable[..., Gate]) -> None:
    gated = gate("--worker_count", "2", "--depth", "4")
    gated.served.wait_for_status(ready_workers=2)
    slow = gated.send_and_wait_until_it_runs()
    pids = {gated.served.post_json({}).json() for _ in range(20)}
    assert len(pids) == 1
    gated.open()
    assert slow.result().json() not in pids


def test_what_was_handed_to_a_worker_that_turns_slow_goes_to_another(
    gate: Callable[..., Gate],
) -> None:
    gated = gate("--worker_count", "2", "--depth", "8")
    gated.served.wait_for_status(ready_workers=2)
    slow = gated.send_and_wait_until_it_runs()
    with ThreadPoolExecutor(16) as threads:
        answers = [threads.submit(gated.served.post_json, {}) for _ in range(100)]
        assert {future.result(10).status for future in answers} == {200}
    assert not slow.done()
    gated.open()
    assert slow.result().status == 200


def test_who_hangs_up_while_waiting_is_forgotten(gate: Callable[..., Gate]) -> None:
    gated = gate("--max_queue", "1")
    first = gated.send_and_wait_until_it_runs()
    body = json.dumps({"began": str(gated.folder / "never")}).encode()
    with gated.served.connect() as waiting:
        waiting.sendall(
            b"POST /score HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        until(lambda: gated.served.post_json({}).status == 429, 5, "a full queue")
    gated.open()
    assert first.result().status == 200
    assert gated.served.post_json({}).status == 200
    assert not (gated.folder / "never").exists()


def test_health_is_quick_while_run_holds_the_interpreter(start: Serve) -> None:
    served = start(STUCK, environment={"SCORING_TIMEOUT_MS": "1500"})
    wait_until_healthy(served)
    threading.Thread(target=served.post_json, args=("stuck",), daemon=True).start()
    for _ in range(20):
        assert served.call("GET", "/", timeout=1).status == 200
        time.sleep(0.01)


def test_overload_answers_everyone_at_once(start: Serve) -> None:
    served = start(scripts.PLAIN, "--max_queue", "20", "--max_queue_wait_ms", "1000")
    wait_until_healthy(served)
    with ThreadPoolExecutor(100) as threads:
        calls = [
            threads.submit(served.post_json, {"do": "sleep", "seconds": 0.02}) for _ in range(300)
        ]
        statuses = [future.result(20).status for future in calls]
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= 21


def test_a_worker_kept_from_the_processor_gets_its_requests_again(start: Serve) -> None:
    served = start(GATED, "--depth", "8")
    wait_until_healthy(served)
    (worker,) = served.worker_pids()
    os.kill(worker, signal.SIGSTOP)
    with ThreadPoolExecutor(20) as threads:
        calls = [threads.submit(served.post_json, {}) for _ in range(20)]
        for _ in range(10):
            assert served.call("GET", "/", timeout=1).status == 200
            time.sleep(0.01)
        os.kill(worker, signal.SIGCONT)
        assert {future.result(10).status for future in calls} == {200}
