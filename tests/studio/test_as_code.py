"""“View as code” without a portal: values in, texts out. Whether the texts work when pasted: test_as_code_real.py."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from dataclasses import replace

import pytest
import yaml

from portal.studio.as_code import assets, batch, changes, computes, online, tokens
from portal.studio.as_code.deployments import milliseconds
from portal.studio.as_code.forms import Forms
from portal.studio.as_code.place import Place
from portal.studio.as_code.values import (
    Data,
    Deployment,
    Endpoint,
    Environment,
    Local,
    Model,
    Packages,
)
from portal.studio.as_code.writing import Step, python_text, script

PLACE = Place("https://host:8443", "sub", "group", "main", "/certificates/ca.pem", "up-1")
BARE = replace(PLACE, ca_path="")
CHURN = Endpoint("churn", tags={"team": "risk"}, traffic={"blue": 100})
SCRIPT = "def init():\n    pass\n\n\ndef run(data):\n    return 'EOF\\n' + '''x'''\n"
TYPED = Deployment(
    "churn",
    "blue",
    code=Local("src", texts={"score.py": SCRIPT}),
    environment=Packages({"dependencies": ["python=3.11"]}),
    environment_variables={"MODE": "it's $HOME"},
    readiness_probe={"period": 5, "failure_threshold": 60},
)
STANDING = replace(TYPED, code="azureml:/codes/c/versions/1", environment="azureml:env:1")


NIGHTLY = batch.BatchEndpoint("nightly", "It's\nnightly", {"team": "risk"}, "heavy")
HEAVY = batch.BatchDeployment(
    "nightly",
    "heavy",
    "azureml:m:1",
    Local("src", texts={"score.py": SCRIPT}),
    environment="azureml:e:1",
    environment_variables={"A": "b"},
    compute="cpu",
)


def every_form() -> dict[str, Forms]:
    folder = Local("model", files=("a b.bin", "deep/c.bin"))
    return {
        "create": online.create(PLACE, CHURN, TYPED, all_traffic=True),
        "create with a named model": online.create(
            PLACE,
            None,
            replace(TYPED, model="azureml:m@latest"),
            register=Model("m", folder),
        ),
        "create with files": online.create(PLACE, None, replace(TYPED, model=folder)),
        "edit": online.edit(PLACE, replace(CHURN, description="It's\n“new”")),
        "split": online.split(PLACE, CHURN, {"blue": 90, "green": 10}, {"red": 5}),
        "delete": online.delete(PLACE, [CHURN, Endpoint("fraud")]),
        "key": online.regenerate_key(PLACE, "churn", "primary"),
        "update": changes.update(PLACE, replace(STANDING, code=TYPED.code), STANDING),
        "scale": changes.update(PLACE, replace(STANDING, instance_count=3), STANDING),
        "delete deployment": changes.delete(PLACE, STANDING),
        "model": assets.register_model(PLACE, Model("m", Local("many"))),
        "environment": assets.register_environment(
            PLACE, Environment("e", Packages({"dependencies": ["python"]}), description="x")
        ),
        "data": assets.register_data(PLACE, Data("d", Local("d.csv", False), "uri_file")),
        "address": assets.register_data(PLACE, Data("d", "https://host/a/", version="7")),
        "batch endpoint": batch.write_endpoint(PLACE, NIGHTLY, is_new=True),
        "batch edit": batch.write_endpoint(PLACE, NIGHTLY, is_new=False),
        "batch delete": batch.delete_endpoint(PLACE, NIGHTLY),
        "batch deployment": batch.write_deployment(PLACE, HEAVY, is_new=True, is_default=True),
        "batch update": batch.write_deployment(
            PLACE, replace(HEAVY, code="azureml:/codes/c/versions/1"), is_new=False
        ),
        "batch deployment delete": batch.delete_deployment(PLACE, HEAVY),
        "compute": computes.write(PLACE, computes.Compute("cpu", size="Standard_F2s_v2")),
        "compute attach": computes.write(PLACE, computes.Compute("k8s", True, resource_id="x")),
        "compute delete": computes.delete(PLACE, computes.Compute("cpu")),
        "token": tokens.create_token(PLACE, "laptop", scope="read", days=30),
        "hostile names": online.create(
            PLACE,
            Endpoint("'; rm -rf $HOME `id`\nx", description="\"'$(id)\\"),
            replace(TYPED, endpoint="'; rm\n", name='"$(id)"', scoring_script="a/../b'.py"),
        ),
    }


FORMS = every_form()


@pytest.mark.parametrize("name", FORMS)
def test_every_text_is_what_it_says_it_is(name: str) -> None:
    """YAML loads, Python compiles, both shells' texts parse; no form is missing but where Azure has none."""
    forms = FORMS[name]
    for text in forms.yaml.values():
        assert yaml.safe_load(text)["$schema"].endswith(".schema.json")
    assert bool(forms.yaml) == (name not in {"key", "token"})
    assert bool(forms.python) == bool(forms.cli) == (name != "token")
    ast.parse(forms.python)
    for shell_text in (forms.cli, forms.rest):
        for shell in ("sh", "bash"):
            done = subprocess.run(
                [shell, "-n"], input=shell_text, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr + shell_text


@pytest.mark.parametrize("name", FORMS)
def test_bodies_are_json(name: str) -> None:
    bodies = re.findall(r"<<'JSON_*'(?: &&)?\n(.*?)\nJSON", FORMS[name].rest, re.S)
    assert bodies or "delete" in name
    assert all(isinstance(json.loads(body), dict) for body in bodies)


def test_what_is_typed_reaches_a_shell_and_python_unchanged() -> None:
    """Marks, quotes, backslashes and dollars in a script mean nothing to what carries it."""
    text = SCRIPT + "EOF\nEOF_\n$HOME `id` \\ \"\n'''\n"
    step = Step("cat", text).written(is_last=True)
    done = subprocess.run(["sh"], input=step, capture_output=True, text=True, check=True)
    assert done.stdout == text
    assert ast.literal_eval(python_text(text)) == text


def test_a_step_that_fails_ends_the_script() -> None:
    text = script(Step("cat", "one\n"), Step("false"), Step("echo two"))
    done = subprocess.run(["sh"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "one\n")


def test_the_deployment_says_all_of_its_fields() -> None:
    told = yaml.safe_load(online.create(PLACE, None, TYPED).yaml["deployment.yml"])
    assert told["code_configuration"] == {"code": "./src", "scoring_script": "score.py"}
    assert told["environment"]["conda_file"] == {"dependencies": ["python=3.11"]}
    assert told["environment_variables"] == {"MODE": "it's $HOME"}
    assert told["readiness_probe"] == {"period": 5, "failure_threshold": 60}
    assert "model" not in told


def test_scaling_says_the_number_alone() -> None:
    forms = FORMS["scale"]
    assert "--set instance_count=3" in forms.cli
    assert "-f deployment.yml" not in forms.cli
    assert "deployment.instance_count = 3" in forms.python
    assert '"capacity": 3' in forms.rest
    assert "--request PATCH" in forms.rest


def test_an_update_without_changes_states_the_whole_wish() -> None:
    forms = changes.update(PLACE, STANDING, STANDING)
    assert "online-deployment update --file deployment.yml" in forms.cli
    assert "--request PUT" in forms.rest


def test_an_ended_mirror_is_told_as_zero() -> None:
    mirrored = replace(CHURN, mirror_traffic={"green": 10})
    forms = online.split(PLACE, mirrored, {"blue": 100, "green": 0}, {})
    assert "--mirror-traffic green=0" in forms.cli
    assert "--traffic blue=100" in forms.cli
    assert "mirror_traffic" not in yaml.safe_load(forms.yaml["endpoint.yml"])
    off = online.split(PLACE, CHURN, {"blue": 0}, {})
    assert "--traffic blue=0" in off.cli


def test_without_an_authority_of_its_own_nothing_is_said_of_one() -> None:
    texts = [sample["text"] for sample in online.edit(BARE, CHURN).samples(BARE)]
    assert not any("REQUESTS_CA_BUNDLE" in text for text in texts)
    trusted = [sample["text"] for sample in online.edit(PLACE, CHURN).samples(PLACE)]
    assert any("REQUESTS_CA_BUNDLE=/certificates/ca.pem" in text for text in trusted)


def test_a_folder_with_unknown_files_is_uploaded_by_looking() -> None:
    assert "find . -type f" in FORMS["model"].rest
    assert "model/a%20b.bin" in FORMS["create with files"].rest


@pytest.mark.parametrize(
    ("count", "words"), [(5000, "PT5S"), (500, "PT0.5S"), (1, "PT0.001S"), (60_000, "PT60S")]
)
def test_times_are_iso_durations(count: int, words: str) -> None:
    assert milliseconds(count) == words
