"""The page of a deployment: what it shows in each state, its fixes, its plan, and who may do what."""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.http import HttpResponse, HttpResponseBase
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from deployments.changes import spec_of
from deployments.failures import Failure
from deployments.models import OnlineDeployment, Operation, Phase
from deployments.specs import DeploymentSpec
from tests.factories import (
    Cast,
    make_code,
    make_deployment,
    make_environment,
    make_model,
    make_online_endpoint,
    make_operation,
    make_revision,
)
from workspaces import catalog, storage
from workspaces.models import CodeVersion, ModelVersion

HTMX = {"HX-Request": "true"}
SCRIPT = "def init():\n    pass\n\n\ndef run(data):\n    return data\n"


@pytest.fixture(autouse=True)
def own_store(settings: Settings, tmp_path: Path) -> None:
    settings.STORAGE_ROOT = tmp_path / "store"
    settings.SEGMENTS_ROOT = tmp_path / "segments"
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)


def stored_code(cast: Cast, **files: str) -> CodeVersion:
    tree = [(name.replace("__", "."), io.BytesIO(text.encode())) for name, text in files.items()]
    content = storage.put_tree(tree)
    return catalog.register_anonymous_code(cast.workspace, content, by=None)


def stored_model(cast: Cast, name: str = "churn") -> ModelVersion:
    content = storage.put_tree(
        [("w.bin", io.BytesIO(name.encode())), ("a/b.txt", io.BytesIO(b"x"))]
    )
    return catalog.register_model(
        cast.workspace, name, content, leaf="weights", is_folder=True, by=None
    )


def runnable(cast: Cast, endpoint: Any = None, **fields: Any) -> OnlineDeployment:
    """A deployment whose script and model are in the store."""
    endpoint = endpoint or make_online_endpoint(cast.workspace, "churn")
    revision = {
        "code_version": stored_code(cast, score__py=SCRIPT, helper__py="x = 1\n"),
        "model_version": stored_model(cast),
        **fields.pop("revision", {}),
    }
    return make_deployment(
        endpoint, "blue", revision=revision, instance_type="Standard_F2s_v2", **fields
    )


def failed(cast: Cast, code: str, cause: str = "", **fields: Any) -> OnlineDeployment:
    card = Failure(code, Phase.Name.LOAD_MODEL, cause or "It failed.", **fields).as_dict()
    return runnable(cast, state="Failed", failure=card)


def url(cast: Cast, rest: str = "") -> str:
    return f"/w/{cast.workspace.name}/endpoints/churn/deployments/blue{rest}"


def page(client: Client, cast: Cast, rest: str = "") -> str:
    answer = client.get(url(cast, rest))
    assert answer.status_code == 200
    text: str = answer.content.decode()
    return text


def form_of(client: Client, cast: Cast) -> dict[str, Any]:
    """What the edit form sends when nothing was touched."""
    form = client.get(url(cast, "/edit")).context["form"]
    values = {bound.html_name: bound.value() for bound in form}
    shown = {
        name: form[name].field.prepare_value(values[name])
        for name in ("tags", "environment_variables")
    }
    sent = {**values, **shown}
    return {name: value for name, value in sent.items() if value not in (None, False)}


def edit(client: Client, cast: Cast, **changes: Any) -> HttpResponse:
    answer = client.post(url(cast, "/edit"), form_of(client, cast) | changes, headers=HTMX)
    assert isinstance(answer, HttpResponse)
    return answer


# Looking --------------------------------------------------------------------------------------------------


def test_a_busy_deployment_asks_again_and_a_settled_one_does_not(
    alice: Client, cast: Cast
) -> None:
    deployment = runnable(cast, state="Creating")
    text = page(alice, cast)
    assert 'hx-trigger="every 1s, live:now"' in text
    assert "Cancel operation" in text
    part = alice.get(url(cast), headers=HTMX)
    assert part.status_code == 200
    OnlineDeployment.objects.filter(pk=deployment.pk).update(state="Succeeded")
    assert 'hx-trigger="every' not in page(alice, cast)
    assert alice.get(url(cast), headers=HTMX).status_code == 286


def test_the_part_is_contained_in_the_page(alice: Client, cast: Cast) -> None:
    runnable(cast)
    for tab in ("overview", "instances", "build", "revisions"):
        part = alice.get(url(cast, f"?tab={tab}"), headers=HTMX).content.decode()
        assert "<html" not in part
        assert 'id="deployment-body"' in part
        assert 'id="deployment-body"' in page(alice, cast, f"?tab={tab}")


def test_phases_to_come_are_shown_with_how_long_they_usually_take(
    alice: Client, cast: Cast
) -> None:
    earlier = make_deployment(make_online_endpoint(cast.workspace, "older"))
    operation = earlier.operations.get()
    now = timezone.now()
    operation.phases.create(
        name=Phase.Name.START,
        state="Succeeded",
        started_at=now - timedelta(seconds=9),
        ended_at=now,
    )
    deployment = runnable(cast, state="Creating")
    Phase.objects.filter(operation__deployment=deployment).update(name=Phase.Name.VALIDATE)
    text = page(alice, cast)
    assert "Register route" in text
    assert "usually 9" in text


def test_who_watches_a_deployment_go_is_led_to_the_endpoint(alice: Client, cast: Cast) -> None:
    make_online_endpoint(cast.workspace, "churn")
    answer = alice.get(url(cast), headers=HTMX)
    assert answer["HX-Redirect"] == f"/w/{cast.workspace.name}/endpoints/churn"
    assert alice.get(url(cast)).status_code == 404


def test_the_files_of_the_model_are_listed_as_the_script_sees_them(
    alice: Client, cast: Cast
) -> None:
    runnable(cast)
    text = page(alice, cast)
    assert 'id="model-files"' in text
    assert "weights/w.bin" in text
    assert "weights/a/b.txt" in text


def test_a_model_that_left_the_store_harms_no_page(alice: Client, cast: Cast) -> None:
    make_deployment(make_online_endpoint(cast.workspace, "churn"), "blue")
    assert 'id="model-files"' not in page(alice, cast)


@pytest.mark.parametrize("tab", ["overview", "instances", "build", "revisions"])
def test_each_tab_needs_a_fixed_number_of_queries(
    alice: Client, cast: Cast, tab: str, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    deployment = runnable(cast, instance_count=4)
    for number in range(6):
        make_revision(deployment, model_version=stored_model(cast, f"m{number}"))
    page(alice, cast, f"?tab={tab}")
    with django_assert_max_num_queries(20):
        page(alice, cast, f"?tab={tab}")


# Failing --------------------------------------------------------------------------------------------------


def fix_urls(client: Client, cast: Cast) -> dict[str, str]:
    return {fix.label: fix.url for fix in client.get(url(cast)).context["fixes"]}


def test_an_import_error_offers_to_add_the_package(alice: Client, cast: Cast) -> None:
    failed(cast, "UserScriptImportError", "ModuleNotFoundError: No module named 'cv2'")
    fixes = fix_urls(alice, cast)
    link = fixes["Add opencv-python-headless and retry"]
    form = alice.get(link).context["form"]
    assert form["environment_source"].value() == "conda"
    assert "opencv-python-headless" in form["conda_file"].value()
    assert "scikit-learn" in form["conda_file"].value()


def test_the_added_package_is_deployed_by_sending_the_form(alice: Client, cast: Cast) -> None:
    deployment = failed(cast, "UserScriptImportError", "No module named 'xgboost'")
    link = fix_urls(alice, cast)["Add xgboost and retry"]
    form = alice.get(link).context["form"]
    answer = edit(alice, cast, environment_source="conda", conda_file=form["conda_file"].value())
    assert answer["HX-Redirect"] == url(cast)
    deployment.refresh_from_db()
    spec = spec_of(deployment)
    assert deployment.state == "Updating"
    assert spec.environment is not None and "xgboost" in spec.environment.conda_file


def test_a_missing_function_offers_editor_and_template(alice: Client, cast: Cast) -> None:
    failed(cast, "UserScriptFunctionNotFound", "score.py has no run() function.")
    fixes = fix_urls(alice, cast)
    editor = alice.get(fixes["Edit the script"]).context["form"]
    assert (editor["code_source"].value(), editor["script"].value()) == ("write", SCRIPT)
    template = alice.get(fixes["Show a template"]).context["form"]
    assert "Called once when an instance starts" in template["script"].value()


def test_a_failing_init_shows_the_models_files(alice: Client, cast: Cast) -> None:
    failed(cast, "UserScriptInitFailed", "init() raised FileNotFoundError: model.pkl")
    assert fix_urls(alice, cast)["List the model's files"] == url(cast, "#model-files")
    text = page(alice, cast)
    assert "card__fold" in text and "open" in text.split("card__fold")[1][:20]


def test_never_ready_leads_to_the_probe(alice: Client, cast: Cast) -> None:
    failed(cast, "ResourceNotReady")
    link = fix_urls(alice, cast)["Raise the probe limits"]
    assert link.endswith("/edit?attempts=60#id_readiness_probe_failure_threshold")
    form = alice.get(link).context["form"]
    assert form["readiness_probe_failure_threshold"].value() == "60"


def test_out_of_memory_offers_the_next_larger_type(alice: Client, cast: Cast) -> None:
    failed(cast, "OutOfMemory", "Killed at 4 GiB.")
    fixes = fix_urls(alice, cast)
    label = next(label for label in fixes if label.startswith("Use Standard_"))
    form = alice.get(fixes[label]).context["form"]
    assert form["instance_type"].value() == label.split()[1]
    assert form["instance_type"].value() != "Standard_F2s_v2"


def test_a_pin_and_a_python_are_filled_in(alice: Client, cast: Cast) -> None:
    fixes = (
        {"label": "Use numpy<2", "kind": "set_pin", "detail": "numpy<2"},
        {"label": "Use Python 3.12", "kind": "set_python", "detail": "3.12"},
        {"label": "View build log", "kind": "open_build_log", "detail": ""},
    )
    failed(cast, "ImageBuildFailure", fixes=fixes)
    found = fix_urls(alice, cast)
    assert "numpy<2" in alice.get(found["Use numpy<2"]).context["form"]["conda_file"].value()
    text = alice.get(found["Use Python 3.12"]).context["form"]["conda_file"].value()
    assert "python=3.12" in text and "python=3.11" not in text
    assert found["View build log"] == url(cast, "#phase-build-environment")


def test_a_curated_environment_becomes_a_conda_file_to_add_to(alice: Client, cast: Cast) -> None:
    environment = make_environment(cast.workspace, "c", conda_file="", curated="sklearn-1.5")
    card = Failure("UserScriptImportError", "Load model", "No module named 'lightgbm'").as_dict()
    runnable(cast, state="Failed", failure=card, revision={"environment_version": environment})
    form = alice.get(fix_urls(alice, cast)["Add lightgbm and retry"]).context["form"]
    assert "lightgbm" in form["conda_file"].value()
    assert "scikit-learn" in form["conda_file"].value()


@pytest.mark.parametrize("query", ["add=;rm -rf", "pin=[", "python=x", "type=nope"])
def test_a_forged_fix_harms_nothing(alice: Client, cast: Cast, query: str) -> None:
    runnable(cast)
    assert alice.get(url(cast, f"/edit?{query}")).status_code == 200


def test_an_update_that_failed_says_what_serves_and_goes_back(alice: Client, cast: Cast) -> None:
    deployment = failed(cast, "UserScriptInitFailed")
    first = deployment.revision
    second = make_revision(deployment, model_version=stored_model(cast, "other"))
    OnlineDeployment.objects.filter(pk=deployment.pk).update(
        serving_revision=first, revision=second
    )
    assert "Revision 1 goes on serving" in page(alice, cast)
    alice.post(url(cast, "/restore/1"))
    deployment.refresh_from_db()
    assert deployment.state == "Updating"
    assert deployment.revision is not None and first is not None
    assert deployment.revision.model_version == first.model_version


def test_a_reader_sees_the_failure_without_buttons(bob: Client, cast: Cast) -> None:
    failed(cast, "UserScriptInitFailed", "init() raised ValueError.")
    text = page(bob, cast)
    assert "init() raised ValueError." in text
    for word in ("Edit the script", "Try again", "Cancel operation", "One instance more"):
        assert word not in text


# Editing --------------------------------------------------------------------------------------------------


def test_an_untouched_form_changes_nothing(alice: Client, cast: Cast) -> None:
    """What the form cannot show, an anonymous model or a whole code folder, must come back as it was."""
    content = storage.put_tree([("m.pkl", io.BytesIO(b"1"))])
    anonymous = catalog.register_anonymous_model(
        cast.workspace, content, leaf="m.pkl", is_folder=False, by=None
    )
    deployment = runnable(cast, revision={"model_version": anonymous})
    make_model(cast.workspace, "aaa-first-of-the-list")
    before = spec_of(deployment)
    assert edit(alice, cast)["HX-Redirect"]
    deployment.refresh_from_db()
    assert spec_of(deployment) == before
    assert deployment.state == "Succeeded"
    assert deployment.revisions.count() == 1


def test_an_archived_model_is_kept(alice: Client, cast: Cast) -> None:
    deployment = runnable(cast)
    assert deployment.revision is not None and deployment.revision.model_version is not None
    catalog.archive(deployment.revision.model_version.model, by=None)
    before = spec_of(deployment)
    form = alice.get(url(cast, "/edit")).context["form"]
    assert form["model_source"].value() == "keep"
    assert "Nothing changes" in edit(alice, cast, only_check="1").content.decode()
    assert spec_of(deployment) == before


def test_the_plan_names_the_fields_and_changes_nothing(alice: Client, cast: Cast) -> None:
    deployment = runnable(cast)
    answer = edit(alice, cast, only_check="1", request_timeout_ms="9000", instance_count="2")
    text = answer.content.decode()
    assert answer.status_code == 200
    assert (
        "Updates 2 fields: instance count, request timeout. Rolling restart, no downtime." in text
    )
    deployment.refresh_from_db()
    assert (deployment.state, deployment.instance_count) == ("Succeeded", 1)
    assert deployment.revisions.count() == 1


def test_more_instances_alone_restart_nothing(alice: Client, cast: Cast) -> None:
    runnable(cast)
    text = edit(alice, cast, only_check="1", instance_count="3").content.decode()
    assert "Running instances go on." in text


def test_an_edited_script_keeps_the_other_files(alice: Client, cast: Cast) -> None:
    deployment = runnable(cast)
    edit(alice, cast, code_source="write", script=SCRIPT.replace("return data", "return 7"))
    deployment.refresh_from_db()
    spec: DeploymentSpec = spec_of(deployment)
    assert spec.code is not None
    paths = [entry.path for entry in storage.entries(spec.code.content_hash)]
    assert paths == ["helper.py", "score.py"]
    assert b"return 7" in storage.read_file(spec.code.content_hash, "score.py")


def test_a_wrong_edit_is_refused_and_changes_nothing(alice: Client, cast: Cast) -> None:
    deployment = runnable(cast)
    for only_check in ("", "1"):
        answer = edit(
            alice, cast, only_check=only_check, conda_file="x: [", environment_source="conda"
        )
        assert answer.status_code == 422
        assert 'href="#id_conda_file"' in answer.content.decode()
    deployment.refresh_from_db()
    assert deployment.state == "Succeeded"


def test_a_busy_deployment_refuses_an_edit_with_the_way_out(alice: Client, cast: Cast) -> None:
    runnable(cast, state="Updating")
    answer = edit(alice, cast, instance_count="2")
    assert answer.status_code == 422
    assert "Wait until that ends, or cancel it" in answer.content.decode()


def test_the_name_cannot_be_changed_by_a_forged_field(alice: Client, cast: Cast) -> None:
    deployment = runnable(cast)
    edit(alice, cast, name="green", instance_count="2")
    deployment.refresh_from_db()
    assert (deployment.name, deployment.instance_count) == ("blue", 2)


# Acting ---------------------------------------------------------------------------------------------------


def said(client: Client, answer: HttpResponseBase) -> str:
    """The toast on the page that the answer leads to."""
    text: str = client.get(answer["Location"]).content.decode()
    return text


def test_scaling_says_so(alice: Client, cast: Cast) -> None:
    deployment = runnable(cast)
    answer = alice.post(url(cast, "/scale"), {"instance_count": "2"})
    assert "Scaling blue to 2." in said(alice, answer)
    deployment.refresh_from_db()
    assert (deployment.state, deployment.instance_count) == ("Updating", 2)


@pytest.mark.parametrize("count", ["0", "-1", "many", "", "1e3", "999999", "²"])
def test_a_count_that_is_none_is_refused(alice: Client, cast: Cast, count: str) -> None:
    deployment = runnable(cast)
    answer = alice.post(url(cast, "/scale"), {"instance_count": count})
    assert answer.status_code == 303
    deployment.refresh_from_db()
    assert (deployment.state, deployment.instance_count) == ("Succeeded", 1)


def test_cancelling_asks_the_worker_to_stop(alice: Client, cast: Cast) -> None:
    deployment = runnable(cast, state="Creating")
    answer = alice.post(url(cast, "/cancel"))
    assert "Canceling" in said(alice, answer)
    deployment.refresh_from_db()
    assert deployment.cancel_requested
    answer = alice.post(url(cast, "/cancel"))
    assert answer.status_code == 303


def test_retrying_what_did_not_fail_is_refused_with_the_sentence(
    alice: Client, cast: Cast
) -> None:
    runnable(cast)
    assert "only a Failed one can be tried again" in said(alice, alice.post(url(cast, "/retry")))


def test_a_failed_one_is_tried_again(alice: Client, cast: Cast) -> None:
    deployment = failed(cast, "InternalServerError")
    alice.post(url(cast, "/retry"))
    deployment.refresh_from_db()
    assert (deployment.state, deployment.failure) == ("Updating", {})


def test_restoring_shows_its_plan_first(alice: Client, cast: Cast) -> None:
    deployment = runnable(cast)
    second = make_revision(
        deployment,
        model_version=stored_model(cast, "other"),
        code_version=spec_of(deployment).code,
        instance_type="Standard_F2s_v2",
    )
    OnlineDeployment.objects.filter(pk=deployment.pk).update(revision=second)
    text = page(alice, cast, "?tab=revisions")
    assert "Restore revision 1?" in text
    assert "Updates 1 field: model. Rolling restart, no downtime." in text


def test_deleting_asks_without_scripts_and_is_refused_with_traffic(
    alice: Client, cast: Cast
) -> None:
    endpoint = make_online_endpoint(cast.workspace, "churn", traffic={"blue": 100})
    deployment = runnable(cast, endpoint)
    assert "Set its traffic to 0" in page(alice, cast, "/delete")
    alice.post(url(cast, "/delete"))
    deployment.refresh_from_db()
    assert deployment.state == "Succeeded"
    endpoint.traffic = {}
    endpoint.save()
    alice.get(url(cast, "/delete"))
    deployment.refresh_from_db()
    assert deployment.state == "Succeeded"
    alice.post(url(cast, "/delete"), {"next": "endpoint"})
    deployment.refresh_from_db()
    assert deployment.state == "Deleting"


VERBS = ("/edit", "/scale", "/retry", "/cancel", "/restore/1", "/delete")


@pytest.mark.parametrize("verb", VERBS)
def test_a_reader_may_not_and_a_stranger_finds_nothing(
    bob: Client, charlie: Client, cast: Cast, verb: str
) -> None:
    deployment = failed(cast, "InternalServerError")
    sent = {"instance_count": "3", "name": "blue"}
    assert bob.post(url(cast, verb), sent).status_code == 403
    assert charlie.post(url(cast, verb), sent).status_code == 404
    assert charlie.get(url(cast)).status_code == 404
    deployment.refresh_from_db()
    assert (deployment.state, deployment.instance_count) == ("Failed", 1)


def test_a_deletion_that_runs_shows_its_own_phases_only(alice: Client, cast: Cast) -> None:
    deployment = runnable(cast, state="Deleting")
    make_operation(deployment, kind=Operation.Kind.DELETE, started_at=timezone.now())
    Phase.objects.filter(operation__deployment=deployment).update(name=Phase.Name.REMOVE)
    text = page(alice, cast)
    assert "Register route" not in text
    assert "Cancel operation" not in text


def test_a_code_that_is_not_in_the_store_can_still_be_looked_at(alice: Client, cast: Cast) -> None:
    runnable(cast, revision={"code_version": make_code(cast.workspace)})
    assert alice.get(url(cast, "/edit")).status_code == 200
