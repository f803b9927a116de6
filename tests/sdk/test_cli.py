"""The client commands as users run them: processes of their own, a folder of their own, a running portal."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

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
# As it stands in many a repository, with nothing changed but the first line.
AZ_SCRIPT = """\
shopt -s expand_aliases
alias az={portico}
set -e
az extension add -n ml -y
az account set -s 00000000-0000-0000-0000-000000000001
az configure --defaults group=portico workspace=main location=local
ENDPOINT_NAME=my-endpoint
az ml online-endpoint create --name $ENDPOINT_NAME -f managed/sample/endpoint.yml --only-show-errors >&2
az ml online-deployment create --name blue --endpoint $ENDPOINT_NAME \\
  -f managed/sample/blue-deployment.yml --all-traffic >&2
az ml online-deployment create -n green -e $ENDPOINT_NAME -f managed/sample/green-deployment.yml --no-wait
state=$(az ml online-endpoint show -n $ENDPOINT_NAME --query provisioning_state -o tsv)
[[ $state == Succeeded ]]
az ml online-endpoint invoke --name $ENDPOINT_NAME --request-file managed/sample/sample-request.json -o tsv
KEY=$(az ml online-endpoint get-credentials -n $ENDPOINT_NAME -o tsv --query primaryKey)
SCORING_URI=$(az ml online-endpoint show -n $ENDPOINT_NAME -o tsv --query scoring_uri)
curl --silent --fail --cacert {ca} $SCORING_URI -H "Authorization: Bearer $KEY" -H "Content-Type: application/json" \\
  --data @managed/sample/sample-request.json
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

    command = f"{shlex.quote(sys.executable)} -m cli"
    script = AZ_SCRIPT.format(portico=shlex.quote(command), ca=house.ca_path)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=samples,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == ["[6, 15]", "[6, 15]"]
    # Phases on the terminal, JSON for the pipe.
    assert "Build environment" in done.stderr
    assert '"scoring_uri"' in done.stderr

    # The second one, which nobody waited for, and traffic.
    name = ["-n", "my-endpoint"]
    place = ["-n", "green", "-e", "my-endpoint"]
    state = ["--query", "provisioning_state", "-o", "tsv"]
    house.wait_for(
        lambda: (
            portico("ml", "online-deployment", "show", *place, *state).out.strip() == "Succeeded"
        ),
        120,
        "make green ready",
    )
    shared = portico(
        "ml", "online-endpoint", "update", *name, "--traffic", "blue=90 green=10", "-o", "json"
    )
    assert json.loads(shared.out)["traffic"] == {"blue": 90, "green": 10}, shared
    request = ["--request-file", "managed/sample/sample-request.json"]
    answer = portico("ml", "online-endpoint", "invoke", *name, *request, "-d", "green")
    assert json.loads(json.loads(answer.out)) == [12, 30]
    logs = portico("ml", "online-deployment", "get-logs", *place, "--lines", "50", "-o", "tsv")
    assert "the weight is 2" in logs.out
    scaled = portico("ml", "online-deployment", "update", *place, "--set", "instance_count=2")
    assert json.loads(scaled.out)["instance_count"] == 2, scaled

    # What fails says why, and CI can tell from the code.
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
