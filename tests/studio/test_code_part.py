"""“View as code” on the pages: every dialog has it, it says what stands in the form, and asking changes nothing."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
import yaml
from django.http import HttpResponse
from django.test import Client

from endpoints.models import OnlineEndpoint
from tests.factories import Cast, make_batch_endpoint, make_model, make_online_endpoint
from tests.studio.test_access_matrix import nothing_changes
from tests.studio.test_create import filled
from workspaces import vault

HTMX = {"HX-Request": "true"}
CODE = re.compile(r'<code id="[^"]*-text-([a-z-]+)-code">(.*?)</code>', re.S)


@pytest.fixture
def endpoint(cast: Cast) -> OnlineEndpoint:
    return make_online_endpoint(cast.workspace, "churn", deployments={"blue": 100, "green": 0})


def url_of(cast: Cast, rest: str) -> str:
    return f"/w/{cast.workspace.name}/{rest}"


def code_of(answer: Any) -> dict[str, str]:
    """Language → text; where a page has several dialogs, of the first one."""
    found: dict[str, str] = {}
    for language, text in CODE.findall(answer.content.decode()):
        found.setdefault(language, html.unescape(text))
    return found


def ask(client: Client, url: str, **fields: Any) -> dict[str, str]:
    """The code of a form as it stands while somebody types."""
    with nothing_changes():
        answer = client.post(url, {"only_code": "1", **fields}, headers=HTMX)
    assert isinstance(answer, HttpResponse)
    assert answer.status_code == 200
    assert "<html" not in answer.content.decode()
    return code_of(answer)


DIALOGS = {
    "endpoints/create": {"endpoint", "deployment"},
    "endpoints/churn/deployments/create": {"deployment"},
    "endpoints/churn/edit": {"endpoint"},
    "endpoints/churn/traffic": {"endpoint"},
    "endpoints/churn/delete": {"endpoint"},
    "endpoints/churn/consume": set(),
    "endpoints/churn": {"deployment"},
    "endpoints/churn/deployments/green": {"deployment"},
    "endpoints/churn/deployments/green/edit": {"deployment"},
    "endpoints/churn/deployments/green/delete": {"deployment"},
    "models/register": {"model"},
    "environments/register": {"environment"},
    "data/register": {"data"},
    "compute": {"compute"},
    "compute/create": {"compute"},
    "compute/cpu/edit": {"compute"},
    "batch-endpoints/create": {"batch-endpoint"},
    "batch-endpoints/nightly": {"batch-endpoint", "batch-deployment"},
    "batch-endpoints/nightly/edit": {"batch-endpoint"},
    "batch-endpoints/nightly/deployments/create": {"batch-deployment"},
    "batch-endpoints/nightly/deployments/default/edit": {"batch-deployment"},
}


@pytest.mark.parametrize("rest", DIALOGS)
def test_every_dialog_has_all_forms(
    alice: Client, cast: Cast, endpoint: OnlineEndpoint, rest: str
) -> None:
    make_batch_endpoint(cast.workspace, "nightly", deployments=["default"])
    page = alice.get(url_of(cast, rest))
    assert set(code_of(page)) == DIALOGS[rest] | {"cli", "python", "rest", "set-up"}
    assert "View as code" in page.content.decode()


def test_a_token_has_no_form_but_rest(alice: Client, cast: Cast) -> None:
    assert set(code_of(alice.get(url_of(cast, "account")))) == {"rest", "set-up"}
    asked = ask(alice, url_of(cast, "account/tokens"), name="ci", scope="read", days="30")
    assert '"expiresInDays": 30' in asked["rest"]
    assert '"name": "ci"' in asked["rest"]


def test_the_code_names_the_workspace_it_is_of(
    alice: Client, cast: Cast, endpoint: OnlineEndpoint
) -> None:
    code = code_of(alice.get(url_of(cast, "endpoints/churn/delete")))
    workspace = cast.workspace
    assert f"-w {workspace.name}" in code["cli"]
    assert workspace.arm_id in code["rest"]
    assert f'"{workspace.name}")' in code["python"]


def test_the_wizard_is_followed_while_it_is_filled_in(alice: Client, cast: Cast) -> None:
    fields = filled(endpoint_name="fraud", instance_count="4")
    code = ask(alice, url_of(cast, "endpoints/create"), **fields)
    told = yaml.safe_load(code["deployment"])
    assert (told["endpoint_name"], told["instance_count"]) == ("fraud", 4)
    assert told["environment_variables"] == {"MODE": "fast", "URL": "http://a/?x=1"}
    assert yaml.safe_load(code["endpoint"])["tags"] == {"team": "risk"}
    assert "--all-traffic" in code["cli"]
    assert "def run(data):" in code["python"]


def test_a_wizard_that_is_hardly_begun_has_code_too(alice: Client, cast: Cast) -> None:
    code = ask(alice, url_of(cast, "endpoints/create"), conda_file="dependencies: [", name="ü")
    told = yaml.safe_load(code["deployment"])
    assert told["endpoint_name"] == "my-endpoint"
    assert "conda_file" not in told["environment"]


def test_a_number_that_is_none_counts_as_what_it_was(
    alice: Client, cast: Cast, endpoint: OnlineEndpoint
) -> None:
    url = url_of(cast, "endpoints/churn/deployments/create")
    code = ask(alice, url, **filled(instance_count="many"))
    assert yaml.safe_load(code["deployment"])["instance_count"] == 1


def test_chosen_files_are_where_they_were_chosen(alice: Client, cast: Cast) -> None:
    make_model(cast.workspace, "weights")
    fields = filled(
        model_source="upload",
        model_files_paths=["weights/a.bin", "weights/deep/b.bin"],
        model_name="weights",
        code_source="upload",
        code_files_paths=["main.py"],
        scoring_script="main.py",
    )
    code = ask(alice, url_of(cast, "endpoints/create"), **fields)
    assert "--path ./weights" in code["cli"]
    assert "--upload-file weights/deep/b.bin" in code["rest"]
    assert "/models/weights/versions/2?" in code["rest"]
    assert yaml.safe_load(code["deployment"])["model"] == "azureml:weights@latest"


def test_the_traffic_dialog_says_the_split_of_its_sliders(
    alice: Client, cast: Cast, endpoint: OnlineEndpoint
) -> None:
    fields = {
        "revision": "1",
        "traffic-blue": "70",
        "traffic-green": "30",
        "mirror": "on",
        "mirror_deployment": "red",
        "mirror_percent": "5",
    }
    code = ask(alice, url_of(cast, "endpoints/churn/traffic"), **fields)
    assert "--traffic 'blue=70 green=30'" in code["cli"]
    assert "--mirror-traffic red=5" in code["cli"]
    assert 'endpoint.traffic = {"blue": 70, "green": 30}' in code["python"]
    odd = ask(alice, url_of(cast, "endpoints/churn/traffic"), **{"traffic-blue": "a lot"})
    assert "--traffic" not in odd["cli"]


def test_editing_an_endpoint_says_its_new_tags(
    alice: Client, cast: Cast, endpoint: OnlineEndpoint
) -> None:
    url = url_of(cast, "endpoints/churn/edit")
    code = ask(alice, url, description="New", tags="team: risk", revision="1")
    told = yaml.safe_load(code["endpoint"])
    assert (told["description"], told["tags"]) == ("New", {"team": "risk"})
    broken = ask(alice, url, description="New", tags="no colon", revision="1")
    assert "tags" not in yaml.safe_load(broken["endpoint"])


def test_what_is_deleted_together_is_in_one_script(
    alice: Client, cast: Cast, endpoint: OnlineEndpoint
) -> None:
    make_online_endpoint(cast.workspace, "fraud", deployments={})
    page = alice.post(url_of(cast, "endpoints/delete"), {"name": ["churn", "fraud"]})
    assert code_of(page)["cli"].count("online-endpoint delete") == 2


def test_both_keys_have_their_own_code(
    alice: Client, cast: Cast, endpoint: OnlineEndpoint
) -> None:
    page = html.unescape(alice.get(url_of(cast, "endpoints/churn/consume")).content.decode())
    assert "--key-type primary" in page
    assert "--key-type secondary" in page


def test_a_batch_deployment_is_followed_while_it_is_filled_in(alice: Client, cast: Cast) -> None:
    make_batch_endpoint(cast.workspace, "nightly", deployments=["default"])
    page = url_of(cast, "batch-endpoints/nightly/deployments")
    fields = {
        "name": "heavy",
        "model_version": "m:1",
        "code_source": "write",
        "script": "def run(files): ...",
        "compute": "cpu",
        "mini_batch_size": "3",
        "output_action": "summary_only",
        "environment_variables": "MODE=fast",
        "is_default": "on",
    }
    code = ask(alice, f"{page}/create", **fields)
    told = yaml.safe_load(code["batch-deployment"])
    assert (told["name"], told["model"], told["settings"]["mini_batch_size"]) == (
        "heavy",
        "azureml:m:1",
        3,
    )
    assert "output_file_name" not in told["settings"]
    assert "--set-default" in code["cli"]
    assert "def run(files)" in code["python"]
    kept = {**fields, "model_version": "keep", "code_source": "keep"}
    edited = ask(alice, f"{page}/default/edit", **kept)
    assert yaml.safe_load(edited["batch-deployment"])["name"] == "default"
    assert "batch-deployment update" in edited["cli"]


def test_a_compute_is_followed_while_it_is_described(alice: Client, cast: Cast) -> None:
    url = url_of(cast, "compute/create")
    fields = {"name": "big", "kind": "amlcompute", "instance_type": "Standard_F2s_v2"}
    code = ask(alice, url, **fields, max_instances="4", idle_seconds="60", tags="team=risk")
    told = yaml.safe_load(code["compute"])
    assert (told["name"], told["size"], told["max_instances"]) == ("big", "Standard_F2s_v2", 4)
    assert '"nodeIdleTimeBeforeScaleDown": "PT60S"' in code["rest"]
    attached = ask(alice, url, name="k8s", kind="kubernetes", namespace="ml")
    assert yaml.safe_load(attached["compute"])["type"] == "kubernetes"
    assert "begin_attach" in attached["python"]


def test_registering_says_where_the_files_are_and_which_version_comes(
    alice: Client, cast: Cast
) -> None:
    make_model(cast.workspace, "weights")
    url = url_of(cast, "models/register")
    code = ask(alice, url, name="weights", type="mlflow_model", paths=["m/MLmodel", "m/a.pkl"])
    assert "/models/weights/versions/2?" in code["rest"]
    assert yaml.safe_load(code["model"])["path"] == "./m"
    data = ask(alice, url_of(cast, "data/register"), source="address", address="https://a/b.csv")
    assert yaml.safe_load(data["data"])["type"] == "uri_file"
    assert "--upload-file" not in data["rest"]


def test_pip_requirements_become_a_conda_file(alice: Client, cast: Cast) -> None:
    url = url_of(cast, "environments/register")
    code = ask(alice, url, name="e", kind="requirements", requirements="six==1.16\r\n# a note")
    told = yaml.safe_load(code["environment"])
    assert told["conda_file"]["dependencies"][-1] == {"pip": ["six==1.16"]}
    image = ask(alice, url, name="e", kind="image", image="registry/image:1")
    assert yaml.safe_load(image["environment"])["image"] == "registry/image:1"


def test_pages_that_show_no_values_of_variables_have_none_in_their_code(
    alice: Client, cast: Cast, endpoint: OnlineEndpoint
) -> None:
    deployment = endpoint.deployments.get(name="green")
    revision = deployment.revision
    assert revision is not None
    revision.environment_variables_sealed = vault.seal_map({"KEY": "topsecret"})
    revision.save()
    for rest in ("endpoints/churn", "endpoints/churn/deployments/green"):
        page = alice.get(url_of(cast, rest)).content.decode()
        assert "KEY" in page
        assert "topsecret" not in page


def test_a_reader_cannot_ask_for_the_code_of_what_they_may_not_do(
    bob: Client, cast: Cast, endpoint: OnlineEndpoint
) -> None:
    for rest in ("endpoints/create", "endpoints/churn/edit", "models/register"):
        answer = bob.post(url_of(cast, rest), {"only_code": "1"}, headers=HTMX)
        assert answer.status_code == 403
