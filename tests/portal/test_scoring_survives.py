"""Scoring goes on while the control plane is replaced, crashes, or stops."""

from __future__ import annotations

import json
import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.house import House

pytestmark = [pytest.mark.real, pytest.mark.alone]

SCORE = """
import json, time

def init():
    pass

def run(text):
    seconds = json.loads(text)["seconds"]
    time.sleep(seconds)
    return seconds
"""
DEPLOY = """
from pathlib import Path
from deployments.changes import create_deployment
from deployments.specs import DeploymentSpec
from endpoints.changes import EndpointSpec, create_endpoint
from endpoints.keys import keys_of
from endpoints.traffic import set_traffic
from workspaces import catalog, storage
from workspaces.models import Workspace
from workspaces.setup import administrator

by, workspace = administrator(), Workspace.objects.get()
code = catalog.register_code(
    workspace, "sleeper", storage.put_folder(Path({code!r})), version="1", by=by
)
endpoint = create_endpoint(workspace, EndpointSpec(name="sleeper"), by=by)
spec = DeploymentSpec(
    name="blue", code=code, scoring_script="score.py", request_timeout_ms=20_000,
    max_queue_wait_ms=20_000, max_concurrent_requests_per_instance=20,
    instance_type="Standard_DS1_v2",
)
create_deployment(endpoint, spec, by=by)
print(keys_of(endpoint).primary)
"""
TRAFFIC = """
from endpoints.models import OnlineEndpoint
from endpoints.traffic import set_traffic
from workspaces.setup import administrator
endpoint = OnlineEndpoint.objects.get(name="sleeper")
if endpoint.deployments.get().state == "Succeeded" and not endpoint.traffic:
    set_traffic(endpoint, {"blue": 100}, by=administrator())
print(endpoint.deployments.get().state, endpoint.deployments.get().failure)
"""


class Sleeper:
    """An endpoint whose model takes as long as the caller says."""

    def __init__(self, house: House, folder: Path) -> None:
        self.house = house
        (folder / "score.py").write_text(SCORE)
        self.key = self._shell(DEPLOY.format(code=str(folder))).splitlines()[-1]
        house.wait_for(self._is_deployed, 90, "deploy the sleeper")
        house.wait_for(lambda: self.score(0) == 200, 30, "score")
        # The gateway's copy on disk is at most a second behind; only that much may a double death forget.
        assert house.home is not None
        copy = house.home / "secrets" / "gateway.jsonl"
        house.wait_for(lambda: b"sleeper" in copy.read_bytes(), 10, "keep a copy of the route")

    def _shell(self, script: str) -> str:
        done = self.house.run("shell", "-c", script)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def _is_deployed(self) -> bool:
        said = self._shell(TRAFFIC)
        assert "Failed" not in said, said
        return "Succeeded" in said

    def score(self, seconds: float) -> int | str:
        """The status of one request over a connection of its own, or what the connection met with."""
        request = urllib.request.Request(
            f"{self.house.plain_scoring_url}/sleeper/score",
            data=json.dumps({"seconds": seconds}).encode(),
            headers={
                "Authorization": f"Bearer {self.key}",
                "Content-Type": "application/json",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError as error:
            return repr(error)

    @contextmanager
    def scoring(self) -> Iterator[list[int | str]]:
        """Score without a pause while the block runs; what came back is in the list."""
        results: list[int | str] = []
        over = threading.Event()

        def keep_scoring() -> None:
            while not over.wait(0.01):
                results.append(self.score(0))

        threads = [threading.Thread(target=keep_scoring) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            yield results
        finally:
            over.set()
            for thread in threads:
                thread.join()


@pytest.fixture(scope="module")
def sleeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sleeper]:
    with House() as house:
        yield Sleeper(house, tmp_path_factory.mktemp("sleeper"))


def test_scoring_goes_on_while_the_control_plane_is_replaced(sleeper: Sleeper) -> None:
    with sleeper.scoring() as results:
        done = sleeper.house.run("restart")
    assert done.returncode == 0, done.stderr
    assert set(results) == {200}


def are_replaced(house: House, killed: dict[str, int]) -> bool:
    """Whether each of the programs runs as another process."""
    programs = house.state.get("programs", {})
    return all(name in programs and programs[name]["pid"] != pid for name, pid in killed.items())


def test_scoring_goes_on_while_every_part_of_the_control_plane_dies(sleeper: Sleeper) -> None:
    house = sleeper.house
    with sleeper.scoring() as results:
        parts = ("web", "worker", "beat", "watch", "postgres", "redis")
        killed = {name: house.kill(name) for name in parts}
        house.wait_for(lambda: are_replaced(house, killed), 30, "start them all again")
        house.wait_for(house.is_well, 30, "recover")
    assert set(results) == {200}


def test_scoring_goes_on_when_the_supervisor_is_killed_and_started_again(
    sleeper: Sleeper,
) -> None:
    with sleeper.scoring() as results:
        sleeper.house.crash()
        sleeper.house.launch().start()
    assert set(results) == {200}


def test_a_clean_stop_answers_the_requests_in_flight(
    sleeper: Sleeper, tmp_path_factory: pytest.TempPathFactory
) -> None:
    house = sleeper.house
    results: list[int | str] = []
    callers = [threading.Thread(target=lambda: results.append(sleeper.score(4))) for _ in range(3)]
    for caller in callers:
        caller.start()
    house.wait_for(lambda: _in_flight(house) == len(callers), 30, "have the requests in flight")
    assert house.stop() == 0
    for caller in callers:
        caller.join()
    assert results == [200] * 3
    assert house.processes() == []
    house.launch().start()
    house.wait_for(lambda: sleeper.score(0) == 200, 60, "score again after the next start")


def _in_flight(house: House) -> int:
    """Scoring requests that Envoy has begun and not ended."""
    assert house.home is not None
    with socket.socket(socket.AF_UNIX) as admin:
        admin.connect(str(house.home / "run" / "envoy-admin.sock"))
        admin.sendall(
            b"GET /stats?filter=^http.gw.downstream_rq_active$ HTTP/1.1\r\n"
            b"Host: admin\r\nConnection: close\r\n\r\n"
        )
        answer = b""
        while part := admin.recv(4096):
            answer += part
    found = re.search(rb"downstream_rq_active: (\d+)", answer)
    return int(found[1]) if found else 0
