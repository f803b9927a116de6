"""What a newcomer does: start, load the sample, score, split, look; then everything is killed, one part at a time."""

from __future__ import annotations

import collections
import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psutil
import pytest

from tests.house import House

pytestmark = [pytest.mark.real, pytest.mark.alone]

ROW = [59, 2, 32.1, 101, 157, 93.2, 38, 4, 4.86, 87]
BODY = json.dumps({"data": [ROW]}).encode()
RECOVERED_WITHIN_SECONDS = 15

# Names of all that runs, and of all rows: equal means no orphan and nothing doubled.
CENSUS = """
import json
from deployments.installation import runtime
from deployments.models import Instance, OnlineDeployment
rows = Instance.objects.all()
print(json.dumps({
    "running": sorted(runtime().owned()),
    "rows": sorted(row.name for row in rows),
    "healthy": sum(row.state == "Healthy" for row in rows),
    "states": sorted(OnlineDeployment.objects.values_list("state", flat=True)),
    "due": OnlineDeployment.objects.due().count(),
}))
"""
UPDATE = """
from dataclasses import replace
from deployments.changes import spec_of, update_deployment
from deployments.models import OnlineDeployment
for row in OnlineDeployment.objects.all():
    spec = spec_of(row)
    update_deployment(row, replace(spec, request_timeout_ms=spec.request_timeout_ms + 1), by=None)
"""


@dataclass
class Sample:
    """The sample endpoint of a house, and a client of it."""

    house: House
    key: str = ""
    answers: collections.Counter[int] = field(default_factory=collections.Counter)

    def score(self, **headers: str) -> tuple[int, str, dict[str, str]]:
        """Status, body and headers (lower case) of one request."""
        request = urllib.request.Request(
            f"{self.house.plain_scoring_url}/diabetes/score",
            data=BODY,
            headers={
                "Authorization": f"Bearer {self.key}",
                "Content-Type": "application/json",
                **headers,
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as reply:
                return (
                    reply.status,
                    reply.read().decode(),
                    {k.lower(): v for k, v in reply.headers.items()},
                )
        except urllib.error.HTTPError as error:
            return (
                error.code,
                error.read().decode(),
                {k.lower(): v for k, v in error.headers.items()},
            )
        except OSError:
            return 0, "", {}

    def census(self) -> dict[str, Any]:
        done = self.house.run("shell", "-c", CENSUS)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return found

    def is_whole(self) -> bool:
        """Both deployments serve with one instance each, and nothing else runs."""
        try:
            seen = self.census()
        except (AssertionError, IndexError, ValueError):
            return False  # the database is on its way back
        return bool(
            seen["running"] == seen["rows"]
            and len(seen["rows"]) == seen["healthy"] == 2
            and seen["states"] == ["Succeeded", "Succeeded"]
        )

    def instance_processes(self, deployment: str) -> list[psutil.Process]:
        """I/O process first, then its workers."""
        mark = f"instances/diabetes.{deployment}."
        found = []
        for process in psutil.process_iter():
            try:
                words = " ".join(process.cmdline())
            except psutil.Error:
                continue
            if mark in words and "--entry_script" in words and str(self.house.home) in words:
                found.append(process)
        # A child that has not become another program yet still shows the words of its parent.
        first = [process for process in found if process.ppid() not in {one.pid for one in found}]
        assert len(first) == 1, [process.as_dict(["pid", "ppid", "cmdline"]) for process in found]
        return [first[0], *first[0].children(recursive=True)]


@pytest.fixture(scope="module")
def sample() -> Iterator[Sample]:
    with House() as house:
        done = house.run("sample")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "curl --cacert" in done.stdout
        yield Sample(house, printed_key(done.stdout))


def printed_key(output: str) -> str:
    return next(line.split()[1] for line in output.splitlines() if line.startswith("Key"))


@pytest.fixture
def load(sample: Sample) -> Iterator[collections.Counter[int]]:
    """A steady caller in the background; how often each status came."""
    seen: collections.Counter[int] = collections.Counter()
    done = threading.Event()

    def call() -> None:
        while not done.wait(0.02):
            seen[sample.score(**{"azureml-model-deployment": "green"})[0]] += 1

    thread = threading.Thread(target=call)
    thread.start()
    yield seen
    done.set()
    thread.join()


def test_the_model_answers_with_azures_headers(sample: Sample) -> None:
    status, body, headers = sample.score()
    assert status == 200
    assert 25 < json.loads(body)[0] < 350
    assert headers["azureml-model-deployment"] in {"blue", "green"}
    assert headers["x-ms-server-version"].startswith("azmlinfsrv/")
    assert headers["x-ms-run-function-failed"] == "False"


def test_the_split_is_about_ninety_to_ten(sample: Sample) -> None:
    seen = collections.Counter(sample.score()[2]["azureml-model-deployment"] for _ in range(300))
    # 300 draws at 10 %: outside 8..60 once in a billion runs.
    assert 8 <= seen["green"] <= 60
    assert seen["blue"] + seen["green"] == 300


def test_the_two_models_differ(sample: Sample) -> None:
    answers = {
        name: sample.score(**{"azureml-model-deployment": name})[1] for name in ("blue", "green")
    }
    assert answers["blue"] != answers["green"]


def test_loading_the_sample_twice_is_success(sample: Sample) -> None:
    again = sample.house.run("sample")
    assert again.returncode == 0
    assert sample.key in again.stdout
    assert sample.is_whole()


def test_a_request_without_the_key_is_told_how_to_get_one(sample: Sample) -> None:
    status, body, _ = sample.score(Authorization="Bearer wrong")
    assert status == 401
    assert json.loads(body)["error"]["code"] == "Unauthorized"


def test_no_process_shows_a_key(sample: Sample) -> None:
    for process in sample.house.processes():
        try:
            shown = " ".join(process.cmdline()) + str(process.environ())
        except psutil.Error:
            continue
        assert sample.key not in shown


@pytest.mark.parametrize("name", ["web", "worker", "beat", "watch", "redis", "postgres"])
def test_scoring_never_notices_that_a_part_of_the_portal_was_killed(
    sample: Sample, load: collections.Counter[int], name: str
) -> None:
    sample.house.wait_for(lambda: load[200] > 5, 10, "begin to score")
    sample.house.kill(name)
    sample.house.wait_for(
        lambda: sample.house.is_well() and sample.is_whole(),
        RECOVERED_WITHIN_SECONDS,
        f"recover {name}",
    )
    assert set(load) == {200}, load


def test_a_killed_gateway_is_back_and_answers_as_before(
    sample: Sample, load: collections.Counter[int]
) -> None:
    sample.house.kill("envoy")
    sample.house.wait_for(
        lambda: sample.score()[0] == 200, RECOVERED_WITHIN_SECONDS, "bring the gateway back"
    )
    before = load[200]
    sample.house.wait_for(lambda: load[200] > before + 20, 10, "go on scoring")
    # Nobody else could answer: connections were refused, but no request got a wrong answer.
    assert set(load) <= {0, 200}, load


@pytest.mark.parametrize("which", ["I/O process", "worker"])
def test_a_killed_instance_is_started_again(sample: Sample, which: str) -> None:
    sample.house.wait_for(sample.is_whole, RECOVERED_WITHIN_SECONDS, "settle")
    processes = sample.instance_processes("blue")
    doomed = processes[0 if which == "I/O process" else -1]
    doomed.send_signal(signal.SIGKILL)
    blue = {"azureml-model-deployment": "blue"}
    sample.house.wait_for(
        lambda: sample.score(**blue)[0] == 200 and not _same(doomed, sample), 15, "start it again"
    )
    sample.house.wait_for(sample.is_whole, RECOVERED_WITHIN_SECONDS, "settle")
    assert sample.score(**{"azureml-model-deployment": "green"})[0] == 200


@pytest.mark.parametrize("name", ["worker", "postgres", "redis", "watch"])
def test_a_rolling_update_survives_a_kill_in_its_middle(
    sample: Sample, load: collections.Counter[int], name: str
) -> None:
    done = sample.house.run("shell", "-c", UPDATE)
    assert done.returncode == 0, done.stderr
    sample.house.kill(name)
    sample.house.wait_for(sample.is_whole, 45, f"finish the update after {name} was killed")
    assert sample.census()["due"] == 0 or sample.is_whole()
    assert set(load) == {200}, load


def test_everything_stopped_but_the_gateway_and_the_instances_still_scores(sample: Sample) -> None:
    supervisor = sample.house.process
    assert supervisor is not None
    # Stopped, not killed: the supervisor cannot bring them back, as if the machine were that slow.
    parts = ("web", "worker", "beat", "watch", "postgres", "redis")
    pids = [supervisor.pid, *map(sample.house.pid, parts)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        answers = collections.Counter(sample.score()[0] for _ in range(50))
    finally:
        for pid in reversed(pids):
            os.kill(pid, signal.SIGCONT)
    assert answers == {200: 50}
    sample.house.wait_for(lambda: sample.house.is_well() and sample.is_whole(), 30, "go on")


def test_removing_the_sample_takes_everything_away(sample: Sample) -> None:
    assert sample.house.run("sample", "--remove").returncode == 0
    sample.house.wait_for(lambda: sample.score()[0] == 401, 10, "stop answering")
    sample.house.wait_for(
        lambda: sample.census()["running"] == sample.census()["rows"] == [],
        30,
        "remove the instances",
    )
    # And it can be had again: tests run in any order.
    again = sample.house.run("sample")
    sample.key = printed_key(again.stdout)
    assert sample.score()[0] == 200


def _same(doomed: psutil.Process, sample: Sample) -> bool:
    try:
        return doomed.pid in {process.pid for process in sample.instance_processes("blue")}
    except (AssertionError, psutil.Error):
        time.sleep(0.05)
        return True
