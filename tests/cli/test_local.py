"""Deployments without a portal, through the command line alone."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from cli.client import run
from tests.house import ROOT

# The SDK's own warnings tell nothing of ours.
pytestmark = [pytest.mark.real, pytest.mark.sdk, pytest.mark.filterwarnings("ignore")]

OWN_MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
SECONDS = 120
# Ctrl-C reaches it even where the tests run in the background of a shell.
COMMAND = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from cli.__main__ import main; main()"
)
SCRIPT = """
import json, logging, os, sys

def init():
    global files
    root = os.environ["AZUREML_MODEL_DIR"]
    walked = [os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names]
    files = {os.path.relpath(path, root): open(path).read() for path in walked}
    print("init is done")

def run(data):
    return {"files": files, "got": json.loads(data), "who": os.environ.get("WHO"), "python": sys.prefix}
"""
FAILING = "def init():\n    raise FileNotFoundError('weights.bin')\n\ndef run(data):\n    pass\n"
SLOW = "import time\n\ndef init():\n    print('waiting', flush=True)\n    time.sleep(600)\n\ndef run(data):\n    pass\n"


@dataclass
class Local:
    """The command line of a user who is signed in nowhere, with a project of theirs."""

    home: Path
    project: Path
    endpoint: str
    capture: pytest.CaptureFixture[str]
    log: pytest.LogCaptureFixture

    def start(self, *words: str) -> subprocess.Popen[str]:
        """A command in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-c", COMMAND, "ml", *words],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def refused(self, *words: str) -> tuple[int, str]:
        """Exit code and what was said."""
        self.log.clear()
        code = run("ml", list(words))
        return code, self.capture.readouterr().err + self.log.text

    def ask(self, *words: str) -> Any:
        """What a command that succeeds answers. Here, not in a process: the SDK takes seconds to load."""
        code = run("ml", list(words))
        said = self.capture.readouterr()
        assert code == 0, said.err + self.log.text
        return json.loads(said.out) if said.out.strip() else None

    def deployment(self, verb: str, *words: str) -> Any:
        return self.ask("online-deployment", verb, "--local", *words)

    def create(self, name: str = "blue", *words: str) -> Any:
        file = str(self.project / "deployment.yml")
        return self.deployment("create", "-f", file, "-n", name, *words)

    def show(self, name: str = "blue") -> Any:
        return self.deployment("show", "-e", self.endpoint, "-n", name)

    def logs(self, *words: str) -> Any:
        place = ("-e", self.endpoint, "-n", "blue")
        return self.deployment("get-logs", *place, *words, "-o", "json")

    def invoke(self, *words: str) -> Any:
        request = str(self.project / "request.json")
        words = ("-n", self.endpoint, "-r", request, *words)
        return json.loads(self.ask("online-endpoint", "invoke", "--local", *words))

    def servers(self) -> list[psutil.Process]:
        """Those that answer for this home."""
        return [
            process
            for process in psutil.process_iter()
            if any(str(self.folder) in word for word in cmdline(process))
            and "inference_server" in cmdline(process)
        ]

    @property
    def folder(self) -> Path:
        return self.home / "local" / "endpoints" / self.endpoint


def cmdline(process: psutil.Process) -> list[str]:
    """Empty for what has ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def wait_for(condition: Callable[[], object], what: str) -> None:
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until, f"it did not {what}"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared, so that the environment is built once."""
    return tmp_path_factory.mktemp("local-home")


@pytest.fixture
def local(
    home: Path,
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
    (project / "code" / "slow.py").write_text(SLOW)
    (project / "conda.yml").write_text(f"dependencies: [python={OWN_MINOR}]\n")
    (project / "request.json").write_text('{"rows": [1]}')
    endpoint = f"local-{os.urandom(4).hex()}"
    (project / "deployment.yml").write_text(
        f"""
        name: blue
        endpoint_name: {endpoint}
        model: {{path: weights/}}
        code_configuration: {{code: code, scoring_script: score.py}}
        environment: {{conda_file: conda.yml, image: mcr.example.com/some/image}}
        environment_variables: {{WHO: alice}}
        instance_type: Standard_DS3_v2
        instance_count: 1
        """
    )
    monkeypatch.setenv("PORTICO_CONFIG_DIR", str(home))
    user = Local(home, project, endpoint, capfd, caplog)
    yield user
    if user.folder.exists():
        user.ask("online-endpoint", "delete", "--local", "-n", endpoint, "--yes")
    assert user.servers() == []


def test_a_deployment_serves_when_its_command_has_ended_and_leaves_nothing_behind(
    local: Local,
) -> None:
    file = str(local.project / "deployment.yml")
    with local.start("online-deployment", "create", "--local", "-f", file) as command:
        said, errors = command.communicate(timeout=SECONDS)
    assert command.returncode == 0, errors
    made = json.loads(said)
    assert made["provisioning_state"] == "Succeeded"
    answer = local.invoke()
    assert answer["files"] == {"weights/deep/w.txt": "0.5"}
    assert answer["got"] == {"rows": [1]}
    assert answer["who"] == "alice"
    assert str(local.home) in answer["python"], "it runs in an environment of its own"

    shown = local.ask("online-endpoint", "show", "--local", "-n", local.endpoint)
    assert shown["location"] == "local"
    assert shown["provisioning_state"] == "Succeeded"
    assert shown["scoring_uri"] == made["scoring_uri"]
    assert shown["traffic"] == {}
    listed = local.deployment("list", "-e", local.endpoint)
    assert [one["name"] for one in listed] == ["blue"]
    log = local.logs("--lines", "200")
    assert "init is done" in log
    last = local.logs("--lines", "1")
    assert last == log.splitlines()[-1]
    assert "POST /score 200" in last

    local.deployment("delete", "-e", local.endpoint, "-n", "blue", "--yes")
    assert local.servers() == []
    assert [path.name for path in local.folder.iterdir()] == ["endpoint.json"]
    local.ask("online-endpoint", "delete", "--local", "-n", local.endpoint, "--yes")
    assert not local.folder.exists()


def test_a_model_that_is_one_file_lies_right_below_the_model_folder(local: Local) -> None:
    local.create("blue", "--set", f"model.path={local.project}/weights/deep/w.txt")
    assert local.invoke()["files"] == {"w.txt": "0.5"}


def test_an_update_replaces_what_runs_and_keeps_its_port(local: Local) -> None:
    made = local.create()
    words = ("-e", local.endpoint, "-n", "blue", "--set", "environment_variables.WHO=bob")
    changed = local.deployment("update", *words)
    assert changed["scoring_uri"] == made["scoring_uri"]
    assert local.invoke()["who"] == "bob"
    assert len(local.servers()) == 1
    # What was set stays, and the script is read anew.
    (local.project / "code" / "score.py").write_text(SCRIPT.replace('"who":', '"now":'))
    local.deployment("update", "-e", local.endpoint, "-n", "blue")
    assert local.invoke()["now"] == "bob"


def test_a_script_whose_init_fails_is_told_with_its_last_lines(local: Local) -> None:
    file = str(local.project / "deployment.yml")
    code, said = local.refused(
        *("online-deployment", "create", "--local", "-f", file),
        *("--set", "code_configuration.scoring_script=failing.py"),
    )
    assert code == 1
    assert "init() failed (UserScriptInitFailed)" in said
    assert "init() raised FileNotFoundError: weights.bin" in said
    assert "failing.py" in said and "raise FileNotFoundError" in said
    shown = local.show()
    assert shown["provisioning_state"] == "Failed"
    assert shown["error"]["code"] == "UserScriptInitFailed"
    assert shown["scoring_uri"] is None
    log = local.logs()
    assert "FileNotFoundError: weights.bin" in log
    assert local.servers() == []


def test_an_environment_that_cannot_be_built_leaves_what_serves_alone(local: Local) -> None:
    local.create()
    (local.project / "conda.yml").write_text("dependencies: [python=3.11, {huch: 1}]\n")
    code, said = local.refused(
        "online-deployment", "update", "--local", "-e", local.endpoint, "-n", "blue"
    )
    assert code == 1
    assert "dependencies[1]" in said
    assert local.show()["provisioning_state"] == "Succeeded"
    assert local.invoke()["who"] == "alice"


def test_an_environment_that_cannot_be_built_creates_nothing(local: Local) -> None:
    (local.project / "conda.yml").write_text("dependencies: [python=3.11, {huch: 1}]\n")
    file = str(local.project / "deployment.yml")
    code, _said = local.refused("online-deployment", "create", "--local", "-f", file)
    assert code == 1
    assert not local.folder.exists()


def test_a_taken_port_is_left_to_whoever_has_it(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        monkeypatch.setenv("PORTICO_LOCAL_PORT", str(taken))
        made = local.create()
        assert made["scoring_uri"] != f"http://localhost:{taken}/score"
        assert local.invoke()["who"] == "alice"


def test_two_deployments_of_one_endpoint_are_told_apart_by_name(local: Local) -> None:
    local.create("blue")
    local.create("green", "--set", "environment_variables.WHO=green")
    request = str(local.project / "request.json")
    code, said = local.refused(
        "online-endpoint", "invoke", "--local", "-n", local.endpoint, "-r", request
    )
    assert code == 2
    assert "'blue', 'green'" in said
    assert local.invoke("--deployment-name", "green")["who"] == "green"
    assert local.invoke("--deployment-name", "blue")["who"] == "alice"


def test_a_killed_server_is_noticed_by_the_next_command_and_started_by_an_update(
    local: Local,
) -> None:
    local.create()
    (server,) = local.servers()
    server.kill()
    wait_for(lambda: not local.servers(), "end")
    shown = local.show()
    assert shown["provisioning_state"] == "Failed"
    assert shown["error"]["code"] == "ServerEnded"
    request = str(local.project / "request.json")
    code, said = local.refused(
        "online-endpoint", "invoke", "--local", "-n", local.endpoint, "-r", request
    )
    assert code == 1
    assert "has ended" in said
    local.deployment("update", "-e", local.endpoint, "-n", "blue")
    assert local.invoke()["who"] == "alice"


@contextmanager
def slow_create(local: Local) -> Iterator[subprocess.Popen[str]]:
    """A `create` in a process of its own that waits for init()."""
    file = str(local.project / "deployment.yml")
    process = local.start(
        *("online-deployment", "create", "--local", "-f", file),
        *("--set", "code_configuration.scoring_script=slow.py"),
    )
    console = local.folder / "blue" / "console.log"
    try:
        wait_for(
            lambda: console.exists() and "waiting" in console.read_text(), "begin with init()"
        )
        yield process
    finally:
        process.kill()
        process.communicate()


def test_ctrl_c_while_init_runs_ends_the_server_too(local: Local) -> None:
    with slow_create(local) as process:
        assert local.show()["provisioning_state"] == "Creating"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert local.servers() == []
    assert local.show()["error"]["code"] == "OperationCanceled"


def test_a_command_killed_while_init_runs_leaves_a_server_that_can_be_deleted(
    local: Local,
) -> None:
    with slow_create(local) as process:
        process.kill()
        process.communicate(timeout=SECONDS)
    assert len(local.servers()) == 1
    assert local.show()["provisioning_state"] == "Failed"
    local.deployment("delete", "-e", local.endpoint, "-n", "blue", "--yes")
    assert local.servers() == []


def test_a_second_command_on_the_same_deployment_is_refused(local: Local) -> None:
    with slow_create(local) as process:
        words = ("-e", local.endpoint, "-n", "blue", "--yes")
        code, said = local.refused("online-deployment", "delete", "--local", *words)
        assert code == 1
        assert "Another command works" in said
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=SECONDS)


def test_a_registered_asset_is_refused_with_a_sentence_when_nobody_is_signed_in(
    local: Local,
) -> None:
    file = str(local.project / "deployment.yml")
    for change in ("model=azureml:churn:7", "environment=azureml:ours@latest"):
        code, said = local.refused(
            "online-deployment", "create", "--local", "-f", file, "--set", change
        )
        assert code == 2
        assert "portico login" in said
    assert not local.folder.exists()


def test_packages_come_from_where_the_machine_gets_them(local: Local) -> None:
    (local.project / "conda.yml").write_text(
        f"dependencies:\n- python={OWN_MINOR}\n- pip: ['-r more.txt']\n"
    )
    (local.project / "more.txt").write_text("six\n")
    score = local.project / "code" / "score.py"
    score.write_text(SCRIPT.replace('"who":', '"six": __import__("six").__name__, "who":'))
    local.create()
    assert local.invoke()["six"] == "six"


def test_neither_django_nor_the_house_is_loaded(local: Local) -> None:
    script = (
        "import sys; from cli.client import run; code = run('ml', sys.argv[1:]); "
        "house = {'django', 'portal', 'api', 'deployments', 'workspaces', 'inference_server'}; "
        "sys.exit(code or len(house & set(sys.modules)))"
    )
    words = ("online-deployment", "create", "--local", "-f", str(local.project / "deployment.yml"))
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
