"""Local deployments as containers, through the command line alone."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import APIError

from cli.local.engine import marks
from tests.cli.local_user import Local
from tests.debugger_client import debugger

# The SDK's own warnings tell nothing of ours.
pytestmark = [pytest.mark.filterwarnings("ignore")]

SCRIPT = """
import json, os, sys

def init():
    global weights
    root = os.environ["AZUREML_MODEL_DIR"]
    weights = open(os.path.join(root, "weights", "deep", "w.txt")).read()
    print("init is done")

def run(data):
    rows = json.loads(data)["rows"]
    total = sum(rows)
    return {"total": total, "weights": weights, "root": os.getcwd(), "prefix": sys.prefix}
"""
LINE_AFTER_ROWS = 12
FAILING = "def init():\n    raise FileNotFoundError('weights.bin')\n\ndef run(data):\n    pass\n"
SERVER = """
import http.server, json, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/ready" else 404)
        self.end_headers()

    def do_POST(self):
        got = self.rfile.read(int(self.headers["Content-Length"])).decode()
        files = sorted(os.listdir("/models/weights"))
        body = json.dumps({"path": self.path, "got": got, "files": files}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
"""


class Engine:
    """What local deployments of this home have on the engine."""

    def __init__(self, client: docker.DockerClient, home: Path) -> None:
        self._client = client
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PORTICO_CONFIG_DIR", str(home))
            self.installation = marks()["installation"]

    def containers(self, endpoint: str) -> list[Any]:
        return list(self._client.containers.list(all=True, filters={"name": endpoint}))

    def networks(self) -> list[str]:
        names = [f"portico-{self.installation}-"]
        return [network.name for network in self._client.networks.list(names=names)]

    def clear(self) -> None:
        """Take away the images and caches of builds."""
        label = f"portico.builder={self.installation}"
        for image in self._client.images.list(filters={"label": label}):
            with suppress(APIError):
                self._client.images.remove(image.id, force=True)
        for volume in self._client.volumes.list(filters={"name": self.installation}):
            volume.remove(force=True)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, engine: docker.DockerClient) -> Iterator[Path]:
    """Shared, so that the image is built once."""
    folder = tmp_path_factory.mktemp("local-docker-home")
    yield folder
    Engine(engine, folder).clear()


@pytest.fixture
def local(
    home: Path,
    base_image: str,
    engine: docker.DockerClient,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Local]:
    project = tmp_path / "project"
    (project / "code").mkdir(parents=True)
    (project / "weights" / "deep").mkdir(parents=True)
    (project / "weights" / "deep" / "w.txt").write_text("0.5")
    (project / "code" / "score.py").write_text(SCRIPT)
    (project / "code" / "failing.py").write_text(FAILING)
    (project / "conda.yml").write_text("dependencies: [python=3.11]\n")
    (project / "request.json").write_text('{"rows": [1, 2]}')
    endpoint = f"local-{os.urandom(4).hex()}"
    (project / "deployment.yml").write_text(
        f"""
        name: blue
        endpoint_name: {endpoint}
        model: {{path: weights/}}
        code_configuration: {{code: code, scoring_script: score.py}}
        environment: {{conda_file: conda.yml, image: '{base_image}'}}
        instance_type: Standard_DS3_v2
        instance_count: 1
        """
    )
    monkeypatch.setenv("PORTICO_CONFIG_DIR", str(home))
    monkeypatch.delenv("PORTICO_LOCAL_RUNTIME", raising=False)
    monkeypatch.chdir(project)
    # No editor opens on a machine of tests.
    monkeypatch.setenv("PATH", os.defpath)
    user = Local(home, project, endpoint, capfd, caplog)
    yield user
    if user.folder.exists():
        user.ask("online-endpoint", "delete", "--local", "-n", endpoint, "--yes")
    assert Engine(engine, home).containers(endpoint) == []


def test_a_deployment_that_names_an_image_runs_in_a_container(
    local: Local, engine: docker.DockerClient
) -> None:
    made = local.create()
    assert (made["provisioning_state"], made["local_runtime"]) == ("Succeeded", "docker")
    assert local.invoke() == {
        "total": 3,
        "weights": "0.5",
        "root": "/var/azureml-app/code",
        "prefix": "/opt/portico-env",
    }
    log = local.logs("--lines", "200")
    assert "init is done" in log
    assert "POST /score 200" in log.splitlines()[-1]

    (container,) = Engine(engine, local.home).containers(local.endpoint)
    port = made["scoring_uri"].removeprefix("http://localhost:").removesuffix("/score")
    assert container.ports["5001/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": port}]
    assert container.attrs["Config"]["User"].startswith(f"{os.getuid()}:")

    # The script is mounted: an update reads what was changed, at the same address.
    (local.project / "code" / "score.py").write_text(SCRIPT.replace('"total":', '"sum":'))
    again = local.deployment("update", "-e", local.endpoint, "-n", "blue")
    assert again["scoring_uri"] == made["scoring_uri"]
    assert local.invoke()["sum"] == 3

    (container,) = Engine(engine, local.home).containers(local.endpoint)
    container.remove(force=True)
    shown = local.show()
    assert (shown["provisioning_state"], shown["error"]["code"]) == ("Failed", "ServerEnded")
    local.deployment("delete", "-e", local.endpoint, "-n", "blue", "--yes")
    assert Engine(engine, local.home).containers(local.endpoint) == []
    networks = container.attrs["NetworkSettings"]["Networks"]
    assert not set(networks) & set(Engine(engine, local.home).networks())


def test_a_script_whose_init_fails_is_told_and_its_console_is_kept(
    local: Local, engine: docker.DockerClient
) -> None:
    file = str(local.project / "deployment.yml")
    code, said = local.refused(
        *("online-deployment", "create", "--local", "-f", file),
        *("--set", "code_configuration.scoring_script=failing.py"),
    )
    assert code == 1
    assert "(UserScriptInitFailed) init() raised FileNotFoundError: weights.bin" in said
    assert "  Phase: Load model" in said and "get-logs --local -e" in said
    assert local.show()["provisioning_state"] == "Failed"
    assert "FileNotFoundError: weights.bin" in local.logs()
    assert Engine(engine, local.home).containers(local.endpoint) == []


def test_a_debugger_attaches_to_the_script_in_the_container(
    local: Local, engine: docker.DockerClient
) -> None:
    local.create("blue", "--vscode-debug")
    launch = json.loads((local.project / ".vscode" / "launch.json").read_text())
    (entry,) = launch["configurations"]
    assert entry["name"] == "AzureML: Debug Local Endpoint"
    (mapping,) = entry["pathMappings"]
    opened = mapping["localRoot"].replace("${workspaceFolder}", str(local.project))
    script = str(local.project / "code" / "score.py")
    with (
        debugger(entry["connect"]["host"], entry["connect"]["port"]) as attached,
        ThreadPoolExecutor(1) as threads,
    ):
        attached.attach({script: LINE_AFTER_ROWS}, {opened: mapping["remoteRoot"]})
        future = threads.submit(local.invoke)
        path, line, variables = attached.wait_for_stop()
        assert (path, line, variables["rows"]) == (script, LINE_AFTER_ROWS, "[1, 2]")
        attached.go_on()
        assert future.result()["total"] == 3
    # After that: the debugger takes one client at a time, and a mere knock is one.
    prove_dev_container(local, engine)


def prove_dev_container(local: Local, engine: docker.DockerClient) -> None:
    """From a container as VS Code would start it, the interpreter runs and the debugger's port is reached."""
    facts = json.loads((local.project / ".devcontainer" / "devcontainer.json").read_text())
    launch = json.loads((local.project / ".vscode" / "launch.json").read_text())
    port = launch["configurations"][0]["connect"]["port"]
    python = facts["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"]
    reach = (
        f"import socket, sys; socket.create_connection(('127.0.0.1', {port})); print(sys.prefix)"
    )
    assert facts["runArgs"] == ["--network=host"]
    said = engine.containers.run(
        facts["image"],
        ["-c", reach],
        entrypoint=[python],
        user=facts["remoteUser"],
        network_mode="host",
        remove=True,
    )
    assert said.decode().strip() == "/opt/portico-env"


def test_a_custom_container_from_a_dockerfile_serves_in_its_own_way(
    local: Local, base_image: str
) -> None:
    context = local.project / "context"
    context.mkdir()
    (context / "serve.py").write_text(SERVER)
    (context / "Dockerfile").write_text(
        f'FROM {base_image}\nCOPY serve.py /serve.py\nCMD ["python3", "/serve.py"]\n'
    )
    ready = "{port: 8080, path: /ready}"
    (local.project / "deployment.yml").write_text(
        f"""
        name: blue
        endpoint_name: {local.endpoint}
        model: {{path: weights/}}
        model_mount_path: /models
        environment:
          build: {{path: context}}
          inference_config:
            liveness_route: {ready}
            readiness_route: {ready}
            scoring_route: {{port: 8080, path: /predict}}
        instance_type: Standard_DS3_v2
        instance_count: 1
        """
    )
    assert local.create()["scoring_uri"].endswith("/predict")
    answer = local.invoke()
    assert answer["path"] == "/predict"
    assert json.loads(answer["got"]) == {"rows": [1, 2]}
    assert answer["files"] == ["deep"]
    code, said = local.refused(
        *("online-deployment", "update", "--local", "-e", local.endpoint, "-n", "blue"),
        "--vscode-debug",
    )
    assert (code, "a server of its own" in said) == (2, True)
    shutil.rmtree(context)
    code, said = local.refused(
        "online-deployment", "update", "--local", "-e", local.endpoint, "-n", "blue"
    )
    assert code != 0
    assert local.invoke()["path"] == "/predict", "what serves goes on"
