"""Local deployments of what is registered on a portal."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.client import run
from tests.house import House

# The SDK's own warnings tell nothing of ours.
pytestmark = [pytest.mark.real, pytest.mark.sdk, pytest.mark.filterwarnings("ignore")]

ENDPOINT = "local-registered"
SCOPE = dict.fromkeys(("resource_group", "workspace", "subscription", "profile"), "")
SCRIPT = """
import os
from pathlib import Path

def init():
    global found
    root = Path(os.environ["AZUREML_MODEL_DIR"])
    found = {str(path.relative_to(root)): path.read_text() for path in root.rglob("*.txt")}
    found["version"] = root.name
    found["trusts"] = os.environ["REQUESTS_CA_BUNDLE"]

def run(data):
    return found
"""


@pytest.fixture(autouse=True)
def environment_put_back() -> Iterator[None]:
    """Signing in changes variables of the process: what to trust, and the cloud that the SDK speaks to."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def test_registered_models_and_environments_are_fetched_from_the_portal(
    house: House,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PORTICO_CONFIG_DIR", str(tmp_path / "config"))
    # The environment names an image that nobody has; in a process it is left out.
    monkeypatch.setenv("PORTICO_LOCAL_RUNTIME", "process")
    signed_in = ("--url", house.tls_url, "--token", house.admin_token, "--yes")
    assert run("login", [*signed_in, "--ca-file", str(house.ca_path)]) == 0
    register(tmp_path)
    # What the SDK trusts from now on is not what the script shall.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/own/authorities.pem")
    (tmp_path / "score.py").write_text(SCRIPT)

    words = ("-n", "blue", "-e", ENDPOINT, "--scoring-script", str(tmp_path / "score.py"))
    assets = ("--model", "local-weights:1", "--environment", "local-bare")
    assert run("ml", ["online-deployment", "create", "--local", *words, *assets]) == 0
    answer = invoke(tmp_path, capfd)
    assert answer.pop("trusts") == "/own/authorities.pem"
    assert answer == {"weights/deep/w.txt": "one", "version": "1"}
    change = ("--set", "model=azureml:local-weights@latest")
    named = ("-n", "blue", "-e", ENDPOINT)
    assert run("ml", ["online-deployment", "update", "--local", *named, *change]) == 0
    answer = invoke(tmp_path, capfd)
    assert (answer["version"], answer["w.txt"]) == ("2", "two")
    fetched = tmp_path / "config" / "local" / "endpoints" / ENDPOINT / "blue" / "fetched"
    assert len(list(fetched.iterdir())) == 1, "what the first command fetched is gone"

    missing = ("--set", "model=azureml:local-weights:9")
    assert run("ml", ["online-deployment", "update", "--local", *named, *missing]) == 3
    assert invoke(tmp_path, capfd)["version"] == "2"
    assert run("ml", ["online-endpoint", "delete", "--local", "-n", ENDPOINT, "--yes"]) == 0


def register(folder: Path) -> None:
    """A folder as version 1 of a model, a file as its version 2, and an environment without packages."""
    entities = importlib.import_module("azure.ai.ml.entities")
    client = importlib.import_module("cli.local.reading").sign_in(SCOPE)
    (folder / "weights" / "deep").mkdir(parents=True)
    (folder / "weights" / "deep" / "w.txt").write_text("one")
    (folder / "w.txt").write_text("two")
    for version, path in (("1", folder / "weights"), ("2", folder / "w.txt")):
        client.models.create_or_update(
            entities.Model(name="local-weights", version=version, path=str(path))
        )
    conda = {"dependencies": [f"python={sys.version_info.major}.{sys.version_info.minor}"]}
    client.environments.create_or_update(
        entities.Environment(name="local-bare", image="mcr.example.com/base", conda_file=conda)
    )


def invoke(folder: Path, capture: pytest.CaptureFixture[str]) -> Any:
    request = folder / "request.json"
    request.write_text("{}")
    capture.readouterr()
    words = ("online-endpoint", "invoke", "--local", "-n", ENDPOINT, "-r", str(request))
    assert run("ml", list(words)) == 0
    return json.loads(json.loads(capture.readouterr().out))
