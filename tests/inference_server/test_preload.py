"""Workers forked from a process that has loaded the model: what they share, and how soon they are there."""

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.inference_server.serving import (
    OTHER_SERVER,
    Serve,
    Served,
    until,
    wait_until_healthy,
)

pytestmark = pytest.mark.skipif(bool(OTHER_SERVER), reason="beyond the contract")

MODEL_MB = 100
# As a numpy model: one large buffer, read by every call. Slow to load, too.
LARGE = f"""
import os, time

def init():
    global model, made_in
    model = bytearray(os.urandom(1 << 20)) * {MODEL_MB}
    made_in = os.getpid()
    time.sleep(0.5)

def run(data):
    if data == "kill":
        os.kill(os.getpid(), 9)
    return [made_in, os.getpid(), sum(model[::4096]) > 0]

def run_batch(inputs):
    return [run(one) for one in inputs]
"""


def memory_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [one for child in map(int, children) for one in (child, *descendants(child))]


def serving_pids(served: Served) -> set[int]:
    with ThreadPoolExecutor(16) as threads:
        replies = list(threads.map(lambda number: served.call(body="x").json(), range(200)))
    assert all(reply[2] for reply in replies)
    return {reply[1] for reply in replies}


def test_four_workers_share_one_model(start: Serve) -> None:
    served = start(LARGE, "--worker_count", "4", environment={"WORKER_PRELOAD": "true"})
    wait_until_healthy(served)
    served.wait_for_status(ready_workers=4)
    serving_pids(served)
    everyone = [served.process.pid, *descendants(served.process.pid)]
    assert len(everyone) == 6
    taken = sum(map(memory_kb, everyone)) / 1024
    # A Python process of its own takes 10 to 20 MB, which is much beside so small a model.
    assert taken < 1.3 * MODEL_MB + 6 * 20
    assert taken < 0.6 * 4 * MODEL_MB


def test_a_forked_worker_does_not_load_the_model_again(start: Serve) -> None:
    served = start(LARGE, environment={"WORKER_PRELOAD": "true"})
    wait_until_healthy(served)
    made_in, before, _ = served.call(body="x").json()
    for _ in range(3):
        began = time.monotonic()
        assert served.call(body="kill").status == 502
        again, after, _ = served.call(body="x").json()
        took = time.monotonic() - began
        assert again == made_in
        assert after != before
        before = after
        if took < 0.5:
            break  # less than init() alone takes; the second and third wait out their pauses
    else:
        pytest.fail("no replacement was quicker than init()")


def test_requests_wait_for_the_forked_replacement(start: Serve) -> None:
    served = start(LARGE, environment={"WORKER_PRELOAD": "true", "PORTICO_MAX_BATCH": "1"})
    wait_until_healthy(served)
    with ThreadPoolExecutor(16) as threads:
        sent = [
            threads.submit(served.call, body="kill" if number == 20 else "x")
            for number in range(60)
        ]
        statuses = [one.result().status for one in sent]
    assert sorted(statuses) == [200] * 59 + [502]


def test_the_end_of_the_preloaded_process_ends_its_workers_and_all_come_back(
    start: Serve,
) -> None:
    served = start(LARGE, "--worker_count", "2", environment={"WORKER_PRELOAD": "true"})
    wait_until_healthy(served)
    served.wait_for_status(ready_workers=2)
    (parent,) = served.worker_pids()
    before = serving_pids(served)
    os.kill(parent, signal.SIGKILL)
    until(lambda: set(served.worker_pids()) - {parent}, 10, "a new parent")
    wait_until_healthy(served)
    assert not before & serving_pids(served)
    assert json.loads((served.folder / "status.json").read_text())["restarts"] >= 1
