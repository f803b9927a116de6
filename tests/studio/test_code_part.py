"""“View as code” on the pages: every dialog has it, it says what stands in the form, and asking changes nothing."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
import yaml
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from deployments.models import DebugSession
from endpoints.models import OnlineEndpoint
from tests.factories import (
    Cast,
    make_batch_endpoint,
    make_component,
    make_compute,
    make_data,
    make_engines,
    make_environment,
    make_model,
    make_online_endpoint,
    make_revision,
    make_user,
)
from tests.studio.conftest import browser_of
from tests.studio.test_access_matrix import MATRIX, nothing_changes
from tests.studio.test_create import filled
from workspaces import principals, tokens, vault
from workspaces.models import Datastore, Role

HTMX = {"HX-Request": "true"}
FOLD = re.compile(r'<code id="([^"]*)-text-([a-z-]+)-code">(.*?)</code>', re.S)
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


# What changes something in the studio: name of its address → the page that shows it as code, and the fold there.
SHOWN = {
    "delete_endpoints": ("endpoints/delete", "as-code"),
    "create_endpoint": ("endpoints/create", "as-code"),
    "edit_endpoint": ("endpoints/churn/edit", "as-code"),
    "delete_endpoint": ("endpoints/churn/delete", "as-code"),
    "traffic": ("endpoints/churn/traffic", "as-code"),
    "regenerate_key": ("endpoints/churn/consume", "code-primary"),
    "create_deployment": ("endpoints/churn/deployments/create", "as-code"),
    "edit_deployment": ("endpoints/churn/deployments/green/edit", "as-code"),
    "scale_deployment": ("endpoints/churn/deployments/green", "scale-code"),
    "restore_revision": ("endpoints/churn/deployments/green?tab=revisions", "restore-code-1"),
    "delete_deployment": ("endpoints/churn/deployments/green/delete", "as-code"),
    "restart_instance": ("endpoints/churn/deployments/green/instances/1/restart", "as-code"),
    "drain_instance": ("endpoints/churn/deployments/green/instances/1/drain", "as-code"),
    "debug_deployment": ("endpoints/churn/deployments/green/debug", "as-code"),
    "stop_debug": ("endpoints/churn/deployments/green/debug", "stop-code"),
    "register_model": ("models/register", "as-code"),
    "archive_model": ("models/diabetes", "archive-code"),
    "register_environment": ("environments/register", "as-code"),
    "archive_environment": ("environments/sklearn", "archive-code"),
    "build_environment": ("environments/sklearn", "build-code"),
    "register_data": ("data/register", "as-code"),
    "archive_data": ("data/iris", "archive-code"),
    "archive_component": ("components/score", "archive-code"),
    "register_datastore": ("datastores/register", "as-code"),
    "set_default_datastore": ("datastores", "default-code"),
    "delete_datastore": ("datastores", "delete-code-{store}"),
    "create_batch_endpoint": ("batch-endpoints/create", "as-code"),
    "edit_batch_endpoint": ("batch-endpoints/nightly/edit", "as-code"),
    "set_default_deployment": ("batch-endpoints/nightly", "default-code"),
    "delete_batch_endpoint": ("batch-endpoints/nightly", "delete-endpoint-code"),
    "create_batch_deployment": ("batch-endpoints/nightly/deployments/create", "as-code"),
    "edit_batch_deployment": ("batch-endpoints/nightly/deployments/default/edit", "as-code"),
    "delete_batch_deployment": ("batch-endpoints/nightly", "delete-code-{batch}"),
    "set_quota": ("compute", "quota-code"),
    "create_compute": ("compute/create", "as-code"),
    "edit_compute": ("compute/cpu/edit", "as-code"),
    "delete_compute": ("compute", "delete-code-{compute}"),
    "attach_engine": ("compute/edge/attach-engine", "as-code"),
    "edit_engine": ("compute/edge/engines/a/edit", "as-code"),
    "close_engine": ("compute/edge/engines/a/close", "as-code"),
    "open_engine": ("compute/edge/engines/a/open", "as-code"),
    "drain_engine": ("compute/edge/engines/a/drain", "as-code"),
    "remove_engine": ("compute/edge/engines/a/remove", "as-code"),
    "add_member": ("access", "as-code"),
    "change_member": ("access", "change-code"),
    "remove_member": ("access", "remove-code-{member}"),
    "add_principal": ("access/principals", "as-code"),
    "add_secret": ("access/principals", "secret-code-{principal}"),
    "remove_secret": ("access/principals", "remove-secret-code-{secret}"),
    "add_federated": ("access/principals", "federated-code-{principal}"),
    "remove_federated": ("access/principals", "remove-federated-code-{credential}"),
    "delete_principal": ("access/principals", "delete-code-{principal}"),
    "create_token": ("account", "as-code"),
    "revoke_token": ("account", "revoke-code-{token}"),
}
WITHOUT = {
    "load_samples": "makes examples, by verbs that have their own dialogs",
    "check_engine": "looks, and changes nothing",
    "create_check": "looks, and changes nothing",
    "check_environment": "looks, and changes nothing",
    "logs": "looks, and changes nothing",
    "download_logs": "looks, and changes nothing",
    "download_build_log": "looks, and changes nothing",
    "environment_build": "looks, and changes nothing",
    "download_environment_build": "looks, and changes nothing",
    "cancel_environment_build": "ends what the page shows; the API and the command line have the same word",
    "test_send": "a request to the model, which the tab Consume shows in three languages",
    "show_key": "shows what the code of the tab Consume asks for",
    "endpoint_token": "shows what the code of the tab Consume asks for",
    "retry_deployment": "the same wish again, which the page for editing shows",
    "cancel_deployment": "Azure has no such operation, nor has our API",
    "remove_images": "of the whole installation; the command line of its machine has the same word",
    "account": "one's own password, which is of no workspace",
}
# For administrators of the installation.
ENGINES = {name for name in SHOWN if name.endswith("_engine")}
# Portico's own, for which the command line has commands.
OURS = {
    *("restart_instance", "drain_instance", "build_environment"),
    *("debug_deployment", "stop_debug"),
    *ENGINES,
}
# Azure's SDK and command line cannot do these.
REST_ALONE = {
    *("set_default_datastore", "set_quota", "add_member", "change_member", "remove_member"),
    *("add_principal", "add_secret", "remove_secret", "add_federated", "remove_federated"),
    *("delete_principal", "create_token", "revoke_token"),
}


@pytest.fixture
def everything(cast: Cast, endpoint: OnlineEndpoint) -> dict[str, int]:
    """One of each thing that has a dialog; numbers of the rows that are in the names of folds."""
    workspace, alice = cast.workspace, cast.alice
    make_model(workspace)
    make_environment(workspace)
    make_data(workspace)
    make_component(workspace)
    batch = make_batch_endpoint(workspace, "nightly", deployments=["default"])
    green = endpoint.deployments.get(name="green")
    green.revision = make_revision(green)
    green.save()
    DebugSession.objects.create(
        deployment=green,
        revision=green.revision,
        name="green-debug",
        state=DebugSession.State.RUNNING,
        expires_at=timezone.now(),
    )
    principal = principals.create_principal(workspace, "ci", Role.READER, by=alice)
    secret, _ = principals.add_secret(principal, by=alice)
    credential = principal.federated_credentials.create(
        name="k8s", issuer="https://i", subject="s", audience="a", keys={"keys": []}
    )
    make_engines(make_compute(workspace, "edge", kind="kubernetes"), "a")
    store = Datastore.objects.create(
        workspace=workspace, name="box", type="azure_blob", container="c", account_name="a"
    )
    token, _ = tokens.create_token(alice, "laptop")
    return {
        "store": store.pk,
        "batch": batch.deployments.get().pk,
        "compute": workspace.computes.get(name="cpu").pk,
        "member": workspace.memberships.get(user=cast.bob).pk,
        "principal": principal.pk,
        "secret": secret.pk,
        "credential": credential.pk,
        "token": token.pk,
    }


def folds_of(answer: Any) -> dict[str, dict[str, str]]:
    """Fold → language → text."""
    found: dict[str, dict[str, str]] = {}
    for fold, language, text in FOLD.findall(answer.content.decode()):
        found.setdefault(fold, {})[language] = html.unescape(text)
    return found


@pytest.mark.thorough
def test_everything_that_the_studio_changes_is_shown_as_code_or_has_a_reason(
    alice: Client, cast: Cast, everything: dict[str, int]
) -> None:
    takes_post = {name for name, row in MATRIX.items() if takes(row)}
    assert takes_post == set(SHOWN) | set(WITHOUT)
    admin = browser_of(make_user("olga", is_superuser=True))
    for name, (rest, pattern) in SHOWN.items():
        url = url_of(cast, rest)
        chosen = {"name": ["churn"]}
        browser = admin if name in ENGINES else alice
        page = browser.post(url, chosen) if name == "delete_endpoints" else browser.get(url)
        fold = folds_of(page).get(pattern.format(**everything))
        assert fold, (name, rest, sorted(folds_of(page)))
        assert {"rest", "set-up"} <= set(fold), name
        if name in REST_ALONE:
            assert set(fold) == {"rest", "set-up"}, name
            assert "have no operation for this" in fold["rest"], name
        else:
            assert {"cli", "python"} - ({"python"} if name in OURS else set()) <= set(fold), name


def takes(row: tuple[int, int, int]) -> bool:
    """Whether an address is for changing things: a reader is refused by it, or it takes what one sends of oneself."""
    owner, _reader, post = row
    return post in {403, 422} or (owner in {303, 405} and post != 405)


@pytest.mark.parametrize("rest", DIALOGS)
def test_every_dialog_has_all_forms(
    alice: Client, cast: Cast, endpoint: OnlineEndpoint, rest: str
) -> None:
    make_batch_endpoint(cast.workspace, "nightly", deployments=["default"])
    page = alice.get(url_of(cast, rest))
    assert set(code_of(page)) == DIALOGS[rest] | {"cli", "python", "rest", "set-up"}
    assert "View as code" in page.content.decode()


def test_a_datastore_is_followed_while_it_is_described_and_its_secret_is_not(
    alice: Client, cast: Cast
) -> None:
    fields = {
        "name": "lake",
        "type": "azure_data_lake_gen2",
        "account_name": "account",
        "container": "raw",
        "credentials": "service_principal",
        "tenant_id": "t",
        "client_id": "c",
        "secret": "topsecret",
    }
    code = ask(alice, url_of(cast, "datastores/register"), **fields)
    told = yaml.safe_load(code["datastore"])
    assert (told["type"], told["filesystem"]) == ("azure_data_lake_gen2", "raw")
    assert told["credentials"] == {
        "tenant_id": "t",
        "client_id": "c",
        "client_secret": "<the secret>",
    }
    assert "ServicePrincipalConfiguration" in code["python"]
    assert "topsecret" not in "".join(code.values())
    hardly = ask(alice, url_of(cast, "datastores/register"), type="none")
    assert yaml.safe_load(hardly["datastore"])["type"] == "azure_blob"


def test_letting_in_says_who_and_as_what(alice: Client, cast: Cast) -> None:
    asked = ask(alice, url_of(cast, "access/add"), user="charlie", role="Contributor")
    assert '"principalId": "charlie"' in asked["rest"]
    assert '"roleDefinitionId": "Contributor"' in asked["rest"]
    program = ask(alice, url_of(cast, "access/principals/add"), name="ci", days="30")
    assert '"expiresInDays": 30' in program["rest"]


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
