"""The client commands as users run them: processes of their own, a folder of their own, a running portal."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.house import ROOT, House

pytestmark = pytest.mark.sdk

# The YAML of Azure's own sample, endpoints/online/managed/sample, to the letter.
ENDPOINT = """\
$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineEndpoint.schema.json
name: my-endpoint
auth_mode: key
"""
DEPLOYMENT = """\
$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineDeployment.schema.json
name: {name}
endpoint_name: my-endpoint
model:
  path: ../../model-{number}/model/
code_configuration:
  code: ../../model-{number}/onlinescoring/
  scoring_script: score.py
environment:
  conda_file: ../../model-{number}/environment/conda.yaml
  image: mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest
instance_type: Standard_DS3_v2
instance_count: 1
"""
SCRIPT = """
import json, os, pathlib

def init():
    global weight
    found = next(pathlib.Path(os.environ["AZUREML_MODEL_DIR"]).rglob("*.json"))
    weight = json.loads(found.read_text())["w"]
    print("the weight is", weight)

def run(data):
    return [weight * sum(row) for row in json.loads(data)["data"]]
"""
BROKEN = "def init():\n    raise RuntimeError('no weights')\n\ndef run(data): ...\n"
CONDA = "channels: [conda-forge]\ndependencies:\n- python=3.11\n"
REQUEST = '{"data": [[1, 2, 3], [4, 5, 6]]}'
# As it stands in many a repository, but for where its files are.
AZ_SCRIPT = Path(__file__).with_name("deploy-managed-online-endpoint.sh")
# What it prints, by line: states, the log, scores, and what its queries ask for.
AZ_OUTPUT = """\
endpoint Succeeded
blue Succeeded
the weight is 1
[6, 15]
[6, 15]
2
traffic 100 0
[12, 30]
mirror 10 0
traffic 90 10
[12, 30]
green
"""


class Told(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of the sample, with scripts and models of our own."""
    folder = tmp_path_factory.mktemp("online")

    def write(name: str, text: str) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    write("managed/sample/endpoint.yml", ENDPOINT)
    write("managed/sample/sample-request.json", REQUEST)
    for number, name in enumerate(("blue", "green", "red"), start=1):
        text = DEPLOYMENT.format(name=name, number=number)
        write(f"managed/sample/{name}-deployment.yml", text)
        write(f"model-{number}/model/weights.json", json.dumps({"w": number}))
        write(f"model-{number}/onlinescoring/score.py", BROKEN if name == "red" else SCRIPT)
        write(f"model-{number}/environment/conda.yaml", CONDA)
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    own = {key: text for key, text in os.environ.items() if not key.startswith("PORTICO_")}
    # The SDK has thousands of modules: read their bytecode, and keep it.
    own.pop("PYTHONDONTWRITEBYTECODE", None)
    folder = tmp_path_factory.mktemp("dot-portico")
    return {**own, "PORTICO_CONFIG_DIR": str(folder), "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def portico(environment: dict[str, str], samples: Path) -> Callable[..., Told]:
    def run(*words: str, given: str = "") -> Told:
        done = subprocess.run(
            [sys.executable, "-m", "cli", *words],
            cwd=samples,
            env=environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=400,
        )
        return Told(done.returncode, done.stdout, done.stderr)

    return run


def test_a_script_written_for_az_runs_as_it_is(
    house: House, portico: Callable[..., Told], samples: Path, environment: dict[str, str]
) -> None:
    address = ["--url", house.tls_url]
    # Signing in: whoever does not show the right authority gets no token.
    wrong = portico("login", *address, "--token", house.admin_token, "--fingerprint", "AB:CD")
    assert (wrong.code, "nothing was sent to it" in wrong.err) == (1, True)
    unsure = portico("login", *address, "--token", house.admin_token)
    assert (unsure.code, "--fingerprint" in unsure.err) == (2, True)
    fingerprint = house.run("ca", "--fingerprint").stdout.strip()
    assert fingerprint in unsure.err
    stranger = portico("login", *address, "--token", "ptc_no", "--fingerprint", fingerprint)
    assert (stranger.code, "does not take the token" in stranger.err) == (1, True)
    assert portico("account", "show").code == 2
    sure = ["--token", "-", "--fingerprint", fingerprint]
    told = portico("login", *address, *sure, given=f"{house.admin_token}\n")
    assert told.code == 0, told.err
    assert json.loads(told.out)[0]["workspace"] == "main"

    az = shlex.quote(f"{shlex.quote(sys.executable)} -m cli")
    alias = f"shopt -s expand_aliases\nalias az={az}\nsource {shlex.quote(str(AZ_SCRIPT))}"
    done = subprocess.run(
        ["bash", "-c", alias],
        cwd=samples,
        env={**environment, "CA": str(house.ca_path)},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == AZ_OUTPUT
    # Phases on the terminal, JSON for the pipe.
    assert "Build environment" in done.stderr
    assert '"scoring_uri"' in done.stderr

    # What fails says why, and CI can tell from the code.
    name = ["-n", "my-endpoint"]
    made = portico("ml", "online-endpoint", "create", "-f", "managed/sample/endpoint.yml", "--web")
    assert made.code == 0, made.err
    assert f"Studio: {house.tls_url}/w/main/endpoints/my-endpoint\n" in made.err
    tagged = portico(
        *["ml", "online-endpoint", "update", *name, "--set", "tags.team=red", "tags.cost=low"],
        *["--add", "tags", "stage=test", "--query", "tags", "-o", "json"],
    )
    assert json.loads(tagged.out) == {"stage": "test", "team": "red", "cost": "low"}, tagged
    untagged = portico(
        *["ml", "online-endpoint", "update", *name, "--remove", "tags.cost", "--query", "tags"]
    )
    assert json.loads(untagged.out) == {"stage": "test", "team": "red"}, untagged
    red = portico("ml", "online-deployment", "create", "-f", "managed/sample/red-deployment.yml")
    assert red.code == 1
    assert "(UserScriptInitFailed) init() raised RuntimeError: no weights" in red.err
    assert "Phase: Load model" in red.err
    assert red.out == ""
    missing = portico("ml", "online-endpoint", "show", "-n", "nowhere")
    assert (missing.code, missing.out) == (3, "")
    assert "(ResourceNotFound)" in missing.err
    (samples / "typo.yml").write_text("name: my-endpoint\nauthmode: key\n")
    typo = portico("ml", "online-endpoint", "create", "-f", "typo.yml")
    assert (typo.code, typo.err) == (2, "ERROR: authmode: Unknown field.\n")

    # Flags without a file.
    stored = portico("ml", "model", "create", "-n", "cli-model", "--path", "model-1/model")
    assert json.loads(stored.out)["version"] == "1", stored
    conda = ["--conda-file", "model-1/environment/conda.yaml", "--image", "base:1"]
    assert portico("ml", "environment", "create", "-n", "cli-env", *conda).code == 0
    flags = portico(
        *["ml", "online-deployment", "create", "-n", "flags", "-e", "my-endpoint"],
        *["--model", "cli-model:1", "--environment", "cli-env"],
        *["--scoring-script", "model-1/onlinescoring/score.py"],
        *["--instance-type", "Standard_DS3_v2", "--instance-count", "1"],
        *["--query", "provisioning_state", "-o", "tsv"],
    )
    assert flags.out.strip() == "Succeeded", flags.err

    assert portico("ml", "online-endpoint", "delete", *name, "--yes").code == 0
    left = json.loads(portico("ml", "online-endpoint", "list").out)
    assert "my-endpoint" not in {endpoint["name"] for endpoint in left}
    assert portico("logout").code == 0
    assert portico("ml", "online-endpoint", "list").code == 2


SIGNATURES = """
import inspect, warnings
warnings.simplefilter("ignore")
from cli.client import FOLDED, LOCAL_ONLY, REGISTRY, SCOPE, WEB
from cli.table import LOCAL, load
from cli.tables import commands

for command in commands():
    apart = {LOCAL, WEB, REGISTRY, *FOLDED}
    values = {one.dest: None for one in command.arguments if one.dest not in apart} | command.given
    remote = {name: None for name in values if name not in LOCAL_ONLY}
    session = (None,) if command.is_remote else ()
    inspect.signature(load(command.handler)).bind(*session, **remote)
    if command.local:
        inspect.signature(load(command.local)).bind({}, **values)
"""


def test_every_command_has_a_function_that_takes_its_flags() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SIGNATURES], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


STEP = """\
$schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json
name: cli_step
version: "1"
type: command
command: echo ${{inputs.text}}
inputs:
  text: {type: string}
environment: azureml:cli-context:1
"""
PIPELINE = """\
$schema: https://azuremlschemas.azureedge.net/latest/pipelineComponent.schema.json
name: cli_pipeline
version: "1"
type: pipeline
inputs:
  text: {type: string}
jobs:
  first:
    type: command
    component: azureml:cli_step:1
    inputs:
      text: ${{parent.inputs.text}}
"""
JOB = """\
$schema: https://azuremlschemas.azureedge.net/latest/commandJob.schema.json
command: echo hello
environment: azureml:cli-context:1
compute: azureml:cpu-cluster
"""


def test_build_contexts_pipeline_components_and_jobs(
    house: House, portico: Callable[..., Told], samples: Path
) -> None:
    sure = ["--url", house.tls_url, "--token", house.admin_token, "--ca-file", str(house.ca_path)]
    assert portico("login", *sure).code == 0
    (samples / "context").mkdir()
    (samples / "context" / "Dockerfile").write_text("FROM python:3.11\n")
    for name, text in (("step", STEP), ("pipeline", PIPELINE), ("job", JOB)):
        (samples / f"{name}.yml").write_text(text)

    # The folder is uploaded as it is, and told by where it is now; the same again is the same version.
    context = ["-n", "cli-context", "-v", "1", "--build-context", "context"]
    made = portico("ml", "environment", "create", *context)
    assert made.code == 0, made.err
    build = json.loads(made.out)["build"]
    assert build["dockerfile_path"] == "Dockerfile"
    assert build["path"].startswith(house.tls_url)
    shown = portico("ml", "environment", "show", "-n", "cli-context", "-v", "1")
    assert json.loads(shown.out)["build"] == build
    assert portico("ml", "environment", "create", *context).code == 0

    assert portico("ml", "component", "create", "-f", "step.yml").code == 0
    whole = portico("ml", "component", "create", "-f", "pipeline.yml")
    assert whole.code == 0, whole.err
    read = json.loads(portico("ml", "component", "show", "-n", "cli_pipeline", "-v", "1").out)
    assert (read["type"], list(read["jobs"])) == ("pipeline", ["first"])
    assert read["jobs"]["first"]["component"] == "azureml:cli_step:1"

    # Other files under a version that exists: the SDK's words, and ours.
    stored = ["-n", "cli-changed", "-v", "1", "--path"]
    assert portico("ml", "model", "create", *stored, "model-1/model").code == 0
    changed = portico("ml", "model", "create", *stored, "model-2/model")
    assert changed.code == 1
    assert changed.err.splitlines()[-2:] == [
        "ERROR: (UserError) Asset paths cannot be updated.",
        "  (Conflict) cli-changed:1 exists with other content (content_hash differ). Versions do not change: register "
        "a new version.",
    ]

    # No jobs yet: there are none to see, and starting one is refused with a sentence.
    assert json.loads(portico("ml", "job", "list").out) == []
    missing = portico("ml", "job", "show", "-n", "nowhere")
    assert (missing.code, "There is no job 'nowhere'" in missing.err) == (3, True)
    refused = portico("ml", "job", "create", "-f", "job.yml")
    assert (refused.code, "(OperationNotSupported)" in refused.err) == (1, True), refused
    assert portico("logout").code == 0


def test_an_attached_compute_gets_and_loses_engines(
    house: House, portico: Callable[..., Told]
) -> None:
    sure = ["--url", house.tls_url, "--token", house.admin_token, "--ca-file", str(house.ca_path)]
    assert portico("login", *sure).code == 0

    def told(*words: str) -> Any:
        done = portico("ml", "compute", *words)
        assert done.code == 0, done.err
        return json.loads(done.out) if done.out else None

    attached = told("attach", "-n", "cli-edge", "--runtime", "docker")
    assert (attached["type"], attached["properties"]["portico"]) == (
        "kubernetes",
        {"runtime": "docker"},
    )
    first = ["-n", "cli-edge", "-e", "first"]
    made = told("attach-engine", *first, "--url", "unix:///nowhere.sock", "--max-memory-gib", "2")
    assert (made["answers"], made["maxMemoryBytes"]) == (False, 2 * 2**30)
    closed = told("update-engine", *first, "--schedulable", "false")
    assert closed["isSchedulable"] is False
    (row,) = told("list-engines", "-n", "cli-edge")
    assert (row["name"], "No such file" in row["reason"]) == ("first", True)
    assert told("drain-engine", *first, "--yes") == {"name": "first", "instances": 0}
    assert told("detach-engine", *first, "--yes") is None
