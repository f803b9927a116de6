"""Deployments without a portal, through the command line alone."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.local_user import OWN_MINOR, SECONDS, Local, wait_for
from tests.debugger_client import debugger
from tests.house import ROOT

# The SDK's own warnings tell nothing of ours.
pytestmark = [pytest.mark.real, pytest.mark.sdk, pytest.mark.filterwarnings("ignore")]

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
    monkeypatch.setenv("PORTICO_LOCAL_RUNTIME", "process")
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
    assert "(UserScriptInitFailed) init() raised FileNotFoundError: weights.bin" in said
    assert "  Phase: Load model" in said and "get-logs --local -e" in said
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


def test_a_debugger_attaches_to_the_script(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(local.project)
    opened = local.project / "opened"
    (local.project / "bin").mkdir()
    editor = local.project / "bin" / "code"
    editor.write_text(f'#!/bin/sh\necho "$@" > {opened}\n')
    editor.chmod(0o755)
    monkeypatch.setenv("PATH", f"{editor.parent}:{os.environ['PATH']}")
    script = local.project / "code" / "score.py"
    local.create("blue", "--vscode-debug")
    assert opened.read_text().split() == [str(local.project), str(script)]
    launch = json.loads((local.project / ".vscode" / "launch.json").read_text())
    (entry,) = launch["configurations"]
    line = SCRIPT.splitlines().index("def run(data):") + 2
    with (
        debugger(entry["connect"]["host"], entry["connect"]["port"]) as attached,
        ThreadPoolExecutor(1) as threads,
    ):
        attached.attach({str(script): line})
        future = threads.submit(local.invoke)
        path, stopped, variables = attached.wait_for_stop()
        assert (path, stopped) == (str(script), line)
        assert "rows" in variables["data"]
        attached.go_on()
        assert future.result()["got"] == {"rows": [1]}
    # An update without the flag ends it.
    local.deployment("update", "-e", local.endpoint, "-n", "blue")
    wait_for(lambda: is_free(entry["connect"]["port"]), "stop listening")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


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
