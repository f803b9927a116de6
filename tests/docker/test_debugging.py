"""Debug sessions in containers of a running portal: attached to as told, closed to neighbours, whole after a kill."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest
from docker.errors import APIError

from tests.debugger_client import debugger
from tests.house import House, free_ports

SCRIPT = """\
import json

def init():
    pass

def run(data):
    numbers = json.loads(data)["data"]
    total = sum(numbers)
    return {"total": total}
"""
LINE_AFTER_NUMBERS = 8
SECONDS = 120
WORKSPACE = (
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/portico"
    "/providers/Microsoft.MachineLearningServices/workspaces/main"
)
SESSION = "/deployments/{}/debugSession"
REACH = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3)"


@dataclass
class Owner:
    """Somebody with the command line, signed in, and the code folder open."""

    house: House
    engine: docker.DockerClient
    folder: Path

    @property
    def code(self) -> Path:
        return self.folder / "code"

    def start(self, line: str) -> subprocess.Popen[str]:
        variables = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PORTICO_", "DJANGO_"))
        }
        return subprocess.Popen(
            [sys.executable, "-m", "cli", *shlex.split(line)],
            cwd=self.folder,
            env={
                **variables,
                "PYTHONPATH": str(self.house.checkout),
                "PORTICO_CONFIG_DIR": str(self.folder / "profile"),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ask(self, line: str) -> tuple[int, str, str]:
        """Exit code, output, and what was said besides."""
        process = self.start(line)
        out, said = process.communicate(timeout=SECONDS)
        return process.returncode, out, said

    def do(self, line: str) -> str:
        code, out, said = self.ask(line)
        assert code == 0, said
        return out

    def call(self, method: str, path: str, **body: Any) -> httpx.Response:
        """One request to the API, about what `path` names below the endpoint."""
        url = f"{self.house.tls_url}{WORKSPACE}/onlineEndpoints/churn{path}"
        headers = self.house.authorization
        return httpx.request(
            method, url, json=body, headers=headers, verify=self.house.tls, timeout=SECONDS
        )

    def session(self, name: str = "blue") -> dict[str, Any]:
        """Empty when there is none."""
        answer = self.call("GET", SESSION.format(name))
        assert answer.status_code in (200, 404), answer.text
        found: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
        return found

    def begin(self, name: str = "blue") -> dict[str, Any]:
        """A session that runs."""
        assert self.call("PUT", SESSION.format(name)).status_code == 202
        self.wait_for(lambda: self.session(name).get("state") == "Running", "run the session")
        return self.session(name)

    def score(self, name: str) -> Any:
        key = self.call("POST", "/listKeys").json()["primaryKey"]
        headers = {"Authorization": f"Bearer {key}", "azureml-model-deployment": name}
        url = f"{self.house.plain_scoring_url}/churn/score"
        answer = httpx.post(url, json={"data": [1, 2]}, headers=headers, timeout=SECONDS)
        return answer.json() if answer.status_code == 200 else answer.text

    @contextmanager
    def attached_port(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """What `attach-debug` brings here, and the entry for launch.json that it tells."""
        (port,) = free_ports(1)
        process = self.start(f"ml online-deployment attach-debug -e churn -n blue --port {port}")
        try:
            assert process.stdout is not None
            text = ""
            while not text.endswith("\n}\n"):
                line = process.stdout.readline()
                assert line, process.communicate()
                text += line
            yield port, json.loads(text)
        finally:
            process.terminate()
            process.communicate(timeout=SECONDS)

    def containers(self, ending: str) -> list[Any]:
        """Those of the portal, running or not, whose instance's name ends so."""
        label = f"portico.installation={self.house.installation}"
        found = self.engine.containers.list(all=True, filters={"label": label})
        return [one for one in found if one.labels["portico.instance"].endswith(ending)]

    def wait_for(self, condition: Any, what: str) -> None:
        self.house.wait_for(condition, SECONDS, what)


@pytest.fixture(scope="module")
def owner(
    tmp_path_factory: pytest.TempPathFactory, engine: docker.DockerClient, base_image: str
) -> Iterator[Owner]:
    variables = {"PORTICO_RUNTIME": "docker", "PORTICO_PACKAGES_OFFLINE": "true"}
    with House(variables=variables) as house:
        found = Owner(house, engine, tmp_path_factory.mktemp("owner"))
        found.code.mkdir()
        (found.code / "score.py").write_text(SCRIPT)
        (found.folder / "r.json").write_text('{"data": [1, 2]}')
        (found.folder / "c.yml").write_text("dependencies: [python=3.11]\n")
        (found.folder / "d.yml").write_text(
            "endpoint_name: churn\n"
            "code_configuration: {code: code, scoring_script: score.py}\n"
            f"environment: {{image: '{base_image}', conda_file: c.yml}}\n"
            "instance_type: Standard_DS1_v2\n"
            "instance_count: 1\n"
        )
        found.do(f"login --url {house.tls_url} --token {house.admin_token} --yes")
        found.do("ml online-endpoint create -n churn")
        for name in ("blue", "green"):
            found.do(f"ml online-deployment create -f d.yml -n {name}")
        yield found
        installation = house.installation
    for image in engine.images.list(filters={"label": f"portico.builder={installation}"}):
        with suppress(APIError):
            engine.images.remove(image.id, force=True)
    for volume in engine.volumes.list(filters={"name": installation}):
        volume.remove(force=True)


def test_a_debugger_attaches_as_the_command_line_tells(owner: Owner) -> None:
    told = owner.do("ml online-deployment start-debug -e churn -n blue --minutes 5")
    started = json.loads(told)
    header = started["deploymentHeader"]
    script = str(owner.code / "score.py")
    with (
        owner.attached_port() as (port, entry),
        debugger(entry["connect"]["host"], entry["connect"]["port"]) as attached,
        ThreadPoolExecutor(1) as threads,
    ):
        assert (entry["type"], entry["connect"]["port"]) == ("debugpy", port)
        (mapping,) = entry["pathMappings"]
        local = mapping["localRoot"].replace("${workspaceFolder}", str(owner.code))
        attached.attach({script: LINE_AFTER_NUMBERS}, {local: mapping["remoteRoot"]})
        answer = threads.submit(
            owner.do, f"ml online-endpoint invoke -n churn -d {header} -r r.json"
        )
        path, line, variables = attached.wait_for_stop()
        assert (path, line, variables["numbers"]) == (script, LINE_AFTER_NUMBERS, "[1, 2]")
        # Whom nobody debugs is none the wiser.
        assert owner.score("blue") == {"total": 3}
        attached.go_on()
        assert json.loads(json.loads(answer.result())) == {"total": 3}
    # The port that the tunnel by ssh leads to is the container's, where neighbours do not get to.
    host, number = started["tunnel"].split()[3].split(":")[1:]
    (neighbour,) = owner.containers("green.2.1.0")
    (own,) = owner.containers("blue.1.1.0")
    assert reaches(own, host, number), "or the next line would prove nothing"
    assert not reaches(neighbour, host, number)


def test_a_container_that_is_stopped_by_hand_ends_the_session_with_a_reason(owner: Owner) -> None:
    owner.begin()
    (container,) = owner.containers("blue.1.1.debug")
    container.stop(timeout=1)
    owner.wait_for(lambda: owner.session()["state"] == "Failed", "tell")
    assert owner.session()["error"]["message"]
    owner.wait_for(lambda: not owner.containers("blue.1.1.debug"), "remove it")
    # Begun anew it may have another address, which is the one that is told.
    again = owner.begin()
    (container,) = owner.containers("blue.1.1.debug")
    (place,) = container.attrs["NetworkSettings"]["Networks"].values()
    assert f":{place['IPAddress']}:" in again["tunnel"]


def test_a_worker_that_is_killed_over_a_session_finishes_it_after_all(owner: Owner) -> None:
    owner.begin()
    owner.call("DELETE", SESSION.format("blue"))
    owner.house.kill("worker")
    owner.wait_for(lambda: not owner.session(), "end the session")
    assert owner.containers("blue.1.1.debug") == []

    owner.call("PUT", SESSION.format("blue"))
    owner.house.kill("worker")
    owner.wait_for(lambda: owner.session()["state"] == "Running", "run the session")
    (container,) = owner.containers("blue.1.1.debug")
    assert owner.score("blue.debug") == {"total": 3}

    # The portal dies as a whole, and is back: the session is the same one.
    owner.house.crash()
    owner.house.start()
    assert owner.score("blue.debug") == {"total": 3}
    assert [one.id for one in owner.containers("blue.1.1.debug")] == [container.id]


def test_a_deployment_that_is_deleted_takes_its_session_along(owner: Owner) -> None:
    owner.do("ml online-deployment create -f d.yml -n red")
    owner.begin("red")
    (container,) = owner.containers("red.3.1.debug")
    owner.do("ml online-deployment delete -e churn -n red --yes")
    assert container.id not in {one.id for one in owner.containers(".debug")}


def reaches(container: Any, host: str, port: str) -> bool:
    """Whether a program in that container gets a connection."""
    done = container.exec_run(["python3", "-c", REACH, host, port])
    assert done.exit_code in (0, 1), done.output
    return bool(done.exit_code == 0)
