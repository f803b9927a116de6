"""“View as code” does what the dialog would: texts from the pages of a running portal are run as pasted."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.house import House
from tests.studio.test_consume_real import TOKEN_FIELD, post

pytestmark = [pytest.mark.real, pytest.mark.sdk]

CODE = re.compile(r'<code id="([^"]*)-text-([a-z-]+)-code">(.*?)</code>', re.S)
SCRIPT = """\
import json, os, pathlib

def init():
    global weight
    folder = os.environ.get("AZUREML_MODEL_DIR")
    found = next(pathlib.Path(folder).rglob("*.txt"), None) if folder else None
    weight = int(found.read_text()) if found else 1
    print("it's \\\\ ready: $HOME")

def run(data):
    return [weight * number for number in json.loads(data)["data"]]
"""
CONDA = "dependencies: [python]"
DEPLOYMENT = {
    "model_source": "none",
    "code_source": "write",
    "script": SCRIPT,
    "scoring_script": "score.py",
    "environment_source": "conda",
    "conda_file": CONDA,
    "environment_variables": "MODE=it's $fast",
    "instance_type": "Standard_DS1_v2",
    "instance_count": "1",
    "request_timeout_ms": "4000",
    "max_concurrent_requests_per_instance": "2",
    "max_queue_wait_ms": "400",
    "readiness_probe_failure_threshold": "40",
    "all_traffic": "on",
}
LANGUAGES = ("cli", "python", "rest", "yaml")
YAML_FILES = (
    "endpoint",
    "deployment",
    "model",
    "environment",
    "data",
    "batch-endpoint",
    "batch-deployment",
    "compute",
    "datastore",
)
SECONDS = 300


@dataclass
class Studio:
    """A signed-in browser without scripts, a shell after the set-up of the page, and a folder to be in."""

    house: House
    client: httpx.Client
    folder: Path

    def code(
        self, path: str, which: str = "as-code", *, posts_to: str = "", **fields: Any
    ) -> dict[str, str]:
        """Language → text of the dialog; with fields, of the form as it stands while somebody types.

        `which` empty takes whatever there is; `posts_to` is where the form goes, if not to its page.
        """
        page = self.client.get(path).text
        if fields:
            token = TOKEN_FIELD.search(page)
            assert token is not None
            sent = {"csrfmiddlewaretoken": token[1], "only_code": "1", **fields}
            headers = {"HX-Request": "true", "Referer": f"{self.house.url}{path}"}
            answer = self.client.post(posts_to or path, data=sent, headers=headers)
            assert answer.status_code == 200, answer.text
            page = answer.text
        found = {
            language: html.unescape(text)
            for fold, language, text in CODE.findall(page)
            if which in ("", fold)
        }
        assert found, f"{path} has no code {which}"
        return found

    def run(self, language: str, code: Mapping[str, str], command: str = "") -> str:
        """Paste the text; of YAML, keep its files and give the last one to the command."""
        if language == "python":
            words = [sys.executable, "-W", "ignore", "-c", code["python"]]
            return self.call(words)
        if language == "yaml":
            for name in YAML_FILES:
                if name in code:
                    (self.folder / f"{name}.yml").write_text(code[name])
            return self.call(["bash", "-c", command])
        return self.call(["bash", "-c", code[language]])

    def call(self, words: list[str]) -> str:
        done = subprocess.run(
            words,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, (words[-1] + done.stdout + done.stderr)[-8000:]
        return done.stdout

    def set_up(self, code: Mapping[str, str]) -> None:
        """The tab “Set-up”, with the token in its place; what it exports holds for all that is run."""
        text = code["set-up"].replace("<your access token>", self.house.admin_token)
        told = self.call(["bash", "-c", f"{{ {text}}} >&2 && env -0"])
        self.environment = dict(pair.split("=", 1) for pair in told.split("\0") if "=" in pair)

    def ask(self, path: str) -> Any:
        """A resource of the workspace, over REST."""
        reply = httpx.get(
            f"{self.house.tls_url}{WORKSPACE}/{path}",
            headers=self.house.authorization,
            verify=self.house.tls,
            trust_env=False,
        )
        return reply.json() if reply.status_code == 200 else None

    def until(self, condition: Callable[[], object], what: str) -> None:
        end = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < end, f"not {what} within {SECONDS} s"
            time.sleep(0.2)

    def remove(self, endpoint: str) -> None:
        page = f"/w/main/endpoints/{endpoint}/delete"
        post(self.client, page, page, {"name": endpoint})
        self.until_gone(f"onlineEndpoints/{endpoint}")

    def until_gone(self, path: str) -> None:
        self.until(lambda: self.ask(path) is None, "deleted")


WORKSPACE = (
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/portico"
    "/providers/Microsoft.MachineLearningServices/workspaces/main"
)


@contextmanager
def signed_in(house: House) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=house.url, follow_redirects=True, trust_env=False, timeout=60
    ) as client:
        fields = {"username": "admin", "password": house.admin_password}
        assert post(client, "/sign-in", "/sign-in", fields).status_code == 200
        yield client


@pytest.fixture(scope="module")
def client(house: House) -> Iterator[httpx.Client]:
    with signed_in(house) as client:
        yield client


@pytest.fixture
def studio(house: House, client: httpx.Client, tmp_path: Path) -> Studio:
    return studio_in(house, client, tmp_path)


def studio_in(house: House, client: httpx.Client, tmp_path: Path) -> Studio:
    """In a folder with a file and a folder to register; `portico` and `python` are those of the tests."""
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "w.txt").write_text("7")
    (tmp_path / "table.csv").write_text("1,2\n")
    commands = tmp_path / "bin"
    commands.mkdir()
    portico = commands / "portico"
    portico.write_text(
        f'#!/bin/sh\nexport PYTHONPATH="{house.checkout}"\nexec "{house.python}" -m cli "$@"\n'
    )
    portico.chmod(0o755)
    found = Studio(house, client, tmp_path)
    found.environment = {
        "PATH": f"{commands}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PORTICO_CONFIG_DIR": str(tmp_path / "profiles"),
    }
    found.set_up(found.code("/w/main/models/register"))
    return found


def test_the_wizard_in_every_language(studio: Studio) -> None:
    """Endpoint, script, packages and traffic, out of the wizard alone; then edit, split, scale, new keys, delete."""
    for language in LANGUAGES:
        name = f"code-{language}"
        fields = {"endpoint_name": name, "auth_mode": "key", "endpoint_tags": "team=risk"}
        code = studio.code("/w/main/endpoints/create", **fields, **DEPLOYMENT, name="blue")
        files = f"mkdir -p src && cat > src/score.py <<'END'\n{SCRIPT}END\n"
        studio.run(
            language,
            code,
            f"{files}portico ml online-endpoint create -f endpoint.yml &&"
            "portico ml online-deployment create -f deployment.yml --all-traffic",
        )
        check_created(studio, name)
        edit_endpoint(studio, language, name)
        update_deployment(studio, language, name)
        if language == "cli":
            restore_revision(studio, name)
        change_traffic(studio, language, name)
        renew_keys(studio, language, name)
        remove_all(studio, language, name)


def check_created(studio: Studio, name: str) -> None:
    path = f"onlineEndpoints/{name}"
    endpoint = studio.ask(path)
    assert endpoint["tags"] == {"team": "risk"}
    assert endpoint["properties"]["traffic"] == {"blue": 100}
    told = studio.ask(f"{path}/deployments/blue")["properties"]
    assert told["provisioningState"] == "Succeeded"
    assert told["environmentVariables"] == {"MODE": "it's $fast"}
    assert told["requestSettings"] == {
        "requestTimeout": "PT4S",
        "maxConcurrentRequestsPerInstance": 2,
        "maxQueueWait": "PT0.4S",
    }
    assert told["readinessProbe"] == {"failureThreshold": 40}
    assert told["appInsightsEnabled"] is False


def edit_endpoint(studio: Studio, language: str, name: str) -> None:
    code = studio.code(
        f"/w/main/endpoints/{name}/edit",
        description="It's\nnew",
        tags="team: fraud",
        revision="1",
    )
    studio.run(language, code, "portico ml online-endpoint update -f endpoint.yml")
    told = studio.ask(f"onlineEndpoints/{name}")
    assert (told["properties"]["description"], told["tags"]) == ("It's\nnew", {"team": "fraud"})
    assert told["properties"]["traffic"] == {"blue": 100}


def update_deployment(studio: Studio, language: str, name: str) -> None:
    """First the count alone, then what stands in several places of the form."""
    page = f"/w/main/endpoints/{name}/deployments/blue/edit"
    path = f"onlineEndpoints/{name}/deployments/blue"
    kept = {
        **DEPLOYMENT,
        "name": "blue",
        "model_source": "none",
        "code_source": "keep",
        "environment_source": "keep",
    }
    changes: list[dict[str, str]] = [
        {"instance_count": "2"},
        {"instance_count": "1", "description": "Changed", "max_queue_wait_ms": "300"},
    ]
    for change in changes:
        code = studio.code(page, **{**kept, **change})
        studio.run(language, code, "portico ml online-deployment update -f deployment.yml")
        studio.until(
            lambda: studio.ask(path)["properties"]["provisioningState"] == "Succeeded", "updated"
        )
        assert studio.ask(path)["sku"]["capacity"] == int(change["instance_count"])
    told = studio.ask(path)["properties"]
    assert told["description"] == "Changed"
    assert told["requestSettings"]["maxQueueWait"] == "PT0.3S"
    assert told["environmentVariables"] == {"MODE": "it's $fast"}


def restore_revision(studio: Studio, name: str) -> None:
    """The first revision again, with today's number of instances."""
    page, path = (
        f"/w/main/endpoints/{name}/deployments/blue",
        f"onlineEndpoints/{name}/deployments/blue",
    )
    studio.run("cli", studio.code(f"{page}?tab=revisions", "restore-code-1"))
    told = studio.ask(path)
    assert told["properties"]["requestSettings"]["maxQueueWait"] == "PT0.4S"
    assert told["properties"]["environmentVariables"] == {"MODE": "it's $fast"}
    assert told["sku"]["capacity"] == 1


def change_traffic(studio: Studio, language: str, name: str) -> None:
    page = f"/w/main/endpoints/{name}/traffic"
    for percent in (0, 100):
        code = studio.code(page, **{"traffic-blue": str(percent), "revision": "1"})
        studio.run(language, code, "portico ml online-endpoint update -f endpoint.yml")
        if language == "yaml" and not percent:
            # Azure's YAML cannot say that there is no traffic: an empty map is left out.
            continue
        told = studio.ask(f"onlineEndpoints/{name}")["properties"]["traffic"]
        assert told == ({"blue": 100} if percent else {})


def renew_keys(studio: Studio, language: str, name: str) -> None:
    if language == "yaml":
        return
    before = keys_of(studio, name)
    code = studio.code(f"/w/main/endpoints/{name}/consume", "code-secondary")
    studio.run(language, code)
    after = keys_of(studio, name)
    assert after["primaryKey"] == before["primaryKey"]
    assert after["secondaryKey"] != before["secondaryKey"]


def keys_of(studio: Studio, name: str) -> Any:
    house = studio.house
    reply = httpx.post(
        f"{house.tls_url}{WORKSPACE}/onlineEndpoints/{name}/listKeys",
        headers=house.authorization,
        verify=house.tls,
        trust_env=False,
    )
    return reply.json()


def remove_all(studio: Studio, language: str, name: str) -> None:
    """The deployment alone cannot go while it has traffic; the endpoint takes it along."""
    if language == "yaml":
        return studio.remove(name)
    code = studio.code(f"/w/main/endpoints/{name}/delete")
    studio.run(language, code)
    studio.until_gone(f"onlineEndpoints/{name}")
    return None


def test_a_deployment_alone_with_files_is_added_and_deleted(studio: Studio) -> None:
    """A model that was chosen from the disk, without a name and with one; packages of a registered environment."""
    name = "code-files"
    ask = {"endpoint_name": name, "auth_mode": "key", **DEPLOYMENT, "name": "blue"}
    studio.run("cli", studio.code("/w/main/endpoints/create", **ask))
    page = f"/w/main/endpoints/{name}/deployments/create"
    for number, language in enumerate(("cli", "python", "rest")):
        color = f"color-{number}"
        fields = {
            **DEPLOYMENT,
            "name": color,
            "model_source": "upload",
            "model_files_paths": "weights/w.txt",
            "model_name": "code-weights" if language != "rest" else "",
            "all_traffic": "",
        }
        studio.run(language, studio.code(page, **fields))
        scored = studio.call(
            [
                "bash",
                "-c",
                f"echo '{{\"data\": [1, 2]}}' > request.json && portico ml online-endpoint invoke -n {name} "
                f"-d {color} -r request.json",
            ]
        )
        assert json.loads(json.loads(scored) if scored.startswith('"') else scored) == [7, 14]
        delete = studio.code(f"/w/main/endpoints/{name}/deployments/{color}/delete")
        studio.run(language, delete)
        path = f"onlineEndpoints/{name}/deployments/{color}"
        studio.until_gone(path)
    studio.remove(name)


def test_models_environments_and_data_are_registered_in_every_language(studio: Studio) -> None:
    forms: dict[str, tuple[str, dict[str, str]]] = {
        "models": ("model", {"paths": "weights/w.txt", "type": "custom_model"}),
        "environments": (
            "environment",
            {"kind": "requirements", "requirements": "six==1.16.0"},
        ),
        "data": ("data", {"paths": "table.csv", "source": "files"}),
    }
    for collection, (noun, fields) in forms.items():
        for language in LANGUAGES:
            name = f"code-{noun}-{language}"
            code = studio.code(
                f"/w/main/{collection}/register",
                name=name,
                description=f"by {language}, it's so",
                **fields,
            )
            studio.run(language, code, f"portico ml {noun} create -f {noun}.yml")
            told = studio.ask(f"{collection}/{name}/versions/1")["properties"]
            assert told["description"] == f"by {language}, it's so"
            if noun == "environment":
                assert "six==1.16.0" in told["condaFile"]


def test_batch_endpoints_and_deployments_in_every_language(studio: Studio) -> None:
    """Make, edit and delete both, with a script that was typed in."""
    compute = studio.house.tls_url + WORKSPACE + "/computes/code-cpu"
    body = {
        "location": "local",
        "properties": {"computeType": "AmlCompute", "properties": {"vmSize": "Standard_DS3_v2"}},
    }
    facts: Any = {
        "headers": studio.house.authorization,
        "verify": studio.house.tls,
        "trust_env": False,
    }
    assert httpx.put(compute, json=body, **facts).status_code in {200, 201}
    model = studio.code("/w/main/models/register", name="code-batch", paths="weights/w.txt")
    studio.run("cli", model)
    environment = studio.code(
        "/w/main/environments/register", name="code-batch", kind="conda", conda_file=CONDA
    )
    studio.run("cli", environment)
    for language in LANGUAGES:
        batch_in(studio, language, f"batch-{language}")
    assert httpx.delete(compute, **facts).status_code in {200, 202, 204}


def batch_in(studio: Studio, language: str, name: str) -> None:
    page, path = f"/w/main/batch-endpoints/{name}", f"batchEndpoints/{name}"
    code = studio.code("/w/main/batch-endpoints/create", name=name, description="It's\nnew")
    studio.run(language, code, "portico ml batch-endpoint create -f batch-endpoint.yml")
    fields = {
        "model_version": "code-batch:1",
        "code_source": "write",
        "script": "def init():\n    pass\n\n\ndef run(files):\n    return files\n",
        "scoring_script": "score.py",
        "environment_version": "code-batch:1",
        "environment_variables": "MODE=it's",
        "compute": "code-cpu",
        "mini_batch_size": "3",
        "output_action": "append_row",
        "output_file_name": "rows.csv",
        "logging_level": "debug",
    }
    code = studio.code(f"{page}/deployments/create", **fields, name="heavy", is_default="on")
    files = f"mkdir -p src && cat > src/score.py <<'END'\n{fields['script']}END\n"
    studio.run(
        language,
        code,
        f"{files}portico ml batch-deployment create -f batch-deployment.yml --set-default",
    )
    told = studio.ask(f"{path}/deployments/heavy")["properties"]
    assert (told["miniBatchSize"], told["outputFileName"]) == (3, "rows.csv")
    assert told["environmentVariables"] == {"MODE": "it's"}
    assert studio.ask(path)["properties"]["defaults"] == {"deploymentName": "heavy"}
    kept = {"model_version": "keep", "code_source": "keep", "environment_version": "keep"}
    code = studio.code(
        f"{page}/deployments/heavy/edit", **{**fields, **kept, "mini_batch_size": "5"}
    )
    studio.run(language, code, "portico ml batch-deployment update -f batch-deployment.yml")
    assert studio.ask(f"{path}/deployments/heavy")["properties"]["miniBatchSize"] == 5
    code = studio.code(f"{page}/edit", description="Other", tags="team=risk")
    studio.run(language, code, "portico ml batch-endpoint update -f batch-endpoint.yml")
    endpoint = studio.ask(path)
    assert (endpoint["properties"]["description"], endpoint["tags"]) == ("Other", {"team": "risk"})
    code = studio.code(page, "default-code")
    studio.run(language, code, "portico ml batch-endpoint update -f batch-endpoint.yml")
    endpoint = studio.ask(path)
    assert endpoint["properties"]["defaults"] == {"deploymentName": "heavy"}
    # There is no YAML that deletes.
    code = studio.code(page, "delete-endpoint-code")
    studio.run("rest" if language == "yaml" else language, code)
    studio.until_gone(path)


def test_the_same_model_again_is_its_next_version(studio: Studio) -> None:
    for number in (1, 2):
        (studio.folder / "weights" / "w.txt").write_text(str(number))
        code = studio.code("/w/main/models/register", name="code-again", paths="weights/w.txt")
        studio.run("rest", code)
        assert studio.ask(f"models/code-again/versions/{number}") is not None
