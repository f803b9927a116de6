"""The create wizard from the server's side: what it makes, what it refuses, and that a refusal leaves no trace."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.test import Client
from pytest_django import Settings

from deployments.models import OnlineDeployment
from deployments.staging import environment_spec
from endpoints.models import OnlineEndpoint
from tests.factories import Cast, make_environment, make_model, make_online_endpoint
from workspaces import storage
from workspaces.models import (
    Activity,
    Code,
    CodeVersion,
    Environment,
    EnvironmentVersion,
    Model,
    ModelVersion,
    Quota,
)

HTMX = {"HX-Request": "true"}
SCRIPT = "def init():\n    pass\n\n\ndef run(data):\n    return data\n"
KEPT = (
    OnlineEndpoint,
    OnlineDeployment,
    Model,
    ModelVersion,
    Environment,
    EnvironmentVersion,
    Code,
    CodeVersion,
    Activity,
)


@pytest.fixture(autouse=True)
def own_store(settings: Settings, tmp_path: Path) -> None:
    settings.STORAGE_ROOT = tmp_path / "store"
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)


def filled(**changes: Any) -> dict[str, Any]:
    """What the form sends for a small deployment that is right."""
    return {
        "endpoint_name": "churn",
        "endpoint_description": "",
        "auth_mode": "key",
        "endpoint_tags": "team=risk",
        "name": "blue",
        "description": "",
        "tags": "",
        "model_source": "none",
        "code_source": "write",
        "script": SCRIPT.replace("\n", "\r\n"),
        "scoring_script": "score.py",
        "environment_source": "conda",
        "conda_file": "dependencies: [python=3.11]",
        "environment_variables": "MODE=fast\r\nURL=http://a/?x=1",
        "instance_type": "Standard_F2s_v2",
        "instance_count": "1",
        "request_timeout_ms": "5000",
        "max_concurrent_requests_per_instance": "1",
        "max_queue_wait_ms": "500",
        "all_traffic": "on",
        **changes,
    }


def url_of(cast: Cast, rest: str = "endpoints/create") -> str:
    return f"/w/{cast.workspace.name}/{rest}"


def send(
    client: Client, cast: Cast, rest: str = "endpoints/create", **changes: Any
) -> HttpResponse:
    answer = client.post(url_of(cast, rest), filled(**changes), headers=HTMX)
    assert isinstance(answer, HttpResponse)
    return answer


def counts() -> dict[str, int]:
    return {model.__name__: model.objects.count() for model in KEPT}


def file(name: str, content: bytes) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content)


def zipped(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()


# Making ---------------------------------------------------------------------------------------------------


def test_one_form_makes_the_endpoint_and_its_deployment(alice: Client, cast: Cast) -> None:
    answer = send(alice, cast)
    assert answer.status_code == 200
    assert answer["HX-Redirect"] == url_of(cast, "endpoints/churn/deployments/blue")
    endpoint = OnlineEndpoint.objects.get(name="churn")
    deployment = endpoint.deployments.get()
    assert (endpoint.created_by, endpoint.tags) == (cast.alice, {"team": "risk"})
    assert (deployment.state, deployment.takes_traffic_when_ready) == ("Creating", True)
    revision = deployment.revision
    assert revision is not None and revision.code_version is not None
    assert revision.environment_variables == {"MODE": "fast", "URL": "http://a/?x=1"}
    assert storage.read_file(revision.code_version.content_hash, "score.py") == SCRIPT.encode()
    assert environment_spec(revision).conda_text == "dependencies: [python=3.11]"


def test_without_a_script_in_the_browser_it_answers_with_a_redirect(
    alice: Client, cast: Cast
) -> None:
    answer = alice.post(url_of(cast), filled())
    assert answer.status_code == 303
    assert answer["Location"] == url_of(cast, "endpoints/churn/deployments/blue")


def test_an_existing_endpoint_gets_one_more_deployment_without_traffic(
    alice: Client, cast: Cast
) -> None:
    endpoint = make_online_endpoint(cast.workspace, "churn", deployments={"blue": 100})
    page = alice.get(url_of(cast, "endpoints/churn/deployments/create"))
    assert page.context["form"]["name"].value() == "green"
    assert not page.context["form"]["all_traffic"].value()
    changes = filled(name="green", for_endpoint="churn")
    del changes["all_traffic"]
    answer = alice.post(url_of(cast, "endpoints/churn/deployments/create"), changes, headers=HTMX)
    assert answer["HX-Redirect"].endswith("/deployments/green")
    green = endpoint.deployments.get(name="green")
    assert not green.takes_traffic_when_ready


def test_a_new_endpoint_offers_all_traffic_by_itself(alice: Client, cast: Cast) -> None:
    page = alice.get(url_of(cast))
    assert page.context["form"]["all_traffic"].value()


def test_a_folder_of_model_files_keeps_its_paths_and_its_name(alice: Client, cast: Cast) -> None:
    send(
        alice,
        cast,
        model_source="upload",
        model_files=[file("w.txt", b"7"), file("x.bin", b"00")],
        model_files_paths=["weights/w.txt", "weights/deep/x.bin"],
    )
    revision = OnlineDeployment.objects.get().revision
    assert revision is not None and revision.model_version is not None
    model = revision.model_version
    assert (model.leaf, model.is_folder, model.model.is_anonymous) == ("weights", True, True)
    assert [e.path for e in storage.entries(model.content_hash)] == ["deep/x.bin", "w.txt"]


def test_a_named_model_is_registered_and_used(alice: Client, cast: Cast) -> None:
    send(
        alice,
        cast,
        model_source="upload",
        model_name="churn-model",
        model_files=[file("model.pkl", b"weights")],
    )
    version = ModelVersion.objects.get(model__name="churn-model")
    assert (version.version, version.leaf, version.is_folder) == ("1", "model.pkl", False)
    revision = OnlineDeployment.objects.get().revision
    assert revision is not None and revision.model_version == version


def test_a_zip_of_code_is_unpacked(alice: Client, cast: Cast) -> None:
    archive = zipped({"src/main.py": SCRIPT.encode(), "src/lib/a.py": b""})
    send(
        alice,
        cast,
        code_source="upload",
        scoring_script="main.py",
        code_files=[file("src.zip", archive)],
    )
    revision = OnlineDeployment.objects.get().revision
    assert revision is not None and revision.scoring_script == "main.py"


def test_a_single_script_is_its_own_scoring_script(alice: Client, cast: Cast) -> None:
    uploaded = [file("predict.py", SCRIPT.encode())]
    send(alice, cast, code_source="upload", code_files=uploaded, scoring_script="")
    revision = OnlineDeployment.objects.get().revision
    assert revision is not None and revision.scoring_script == "predict.py"


def test_the_page_of_a_model_fills_it_in(alice: Client, cast: Cast) -> None:
    make_model(cast.workspace, "churn-model")
    make_online_endpoint(cast.workspace, "existing")
    page = alice.get(url_of(cast, "endpoints/create?model=churn-model:1"))
    assert page.context["form"]["model_version"].value() == "churn-model:1"
    assert "deployments/create?model=churn-model%3A1" in page.content.decode()


# Refusing -------------------------------------------------------------------------------------------------

REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"endpoint_name": "my_model"}, "endpoint_name", "my-model"),
    ({"endpoint_name": "ab"}, "endpoint_name", "at least 3"),
    ({"endpoint_name": ""}, "endpoint_name", "required"),
    ({"name": "1blue"}, "name", "not allowed"),
    ({"name": "x" * 33}, "name", "33 characters"),
    ({"endpoint_tags": "no equals sign"}, "endpoint_tags", "name=value"),
    ({"instance_count": "0"}, "instance_count", "from 1 to 50"),
    ({"instance_count": "many"}, "instance_count", "whole number"),
    ({"request_timeout_ms": "0"}, "request_timeout_ms", "request_timeout_ms"),
    ({"readiness_probe_period": "0"}, "readiness_probe_period", "period"),
    ({"liveness_probe_success_threshold": "2"}, "liveness_probe_success_threshold", "must be 1"),
    ({"environment_variables": "1BAD=x"}, "environment_variables", "1BAD"),
    ({"scoring_script": "../score.py"}, "scoring_script", "not allowed"),
    ({"script": "def run(:"}, "script", "line 1"),
    ({"script": "  "}, "script", "empty"),
    ({"code_source": "upload"}, "code_files", "Choose the scoring script"),
    (
        {
            "code_source": "upload",
            "scoring_script": "nope.py",
            "code_files": [file("a.py", b"x = 1"), file("b.py", b"")],
        },
        "scoring_script",
        "Python files there: a.py, b.py",
    ),
    ({"model_source": "upload"}, "model_files", "Choose the model"),
    ({"model_source": "registered"}, "model_version", "Choose a registered model"),
    ({"model_source": "registered", "model_version": "ghost:1"}, "model_version", "ghost:1"),
    (
        {"model_source": "upload", "model_name": "no good!", "model_files": [file("m", b"1")]},
        "model_name",
        "not allowed",
    ),
    (
        {"model_source": "upload", "model_files": [file("m.zip", zipped({"../evil": b"1"}))]},
        "model_files",
        "relative, inside the folder",
    ),
    (
        {"model_source": "upload", "model_files": [file("m.zip", b"no zip at all")]},
        "model_files",
        "not a zip archive",
    ),
    (
        {
            "model_source": "upload",
            "model_files": [file("a", b"1"), file("b", b"2")],
            "model_files_paths": ["x/../../a", "x/b"],
        },
        "model_files",
        "not allowed",
    ),
    ({"conda_file": "dependencies: 3"}, "conda_file", "must be"),
    ({"conda_file": "dependencies: [{pip: {a: b}}]"}, "conda_file", "must be"),
    ({"conda_file": "dependencies: [\n"}, "conda_file", "cannot be read"),
    ({"conda_file": " "}, "conda_file", "Say which packages"),
    (
        {"environment_source": "requirements", "requirements": "not a; requirement"},
        "requirements",
        "not a pip requirement",
    ),
    ({"environment_source": "registered"}, "environment_version", "Choose a registered"),
    ({"environment_source": "curated", "curated": "ghost"}, "curated", "ghost"),
    ({"instance_type": "Standard_Huge"}, "instance_type", "Standard_Huge"),
    ({"model_source": "keep"}, "model_source", "keep"),
]


@pytest.mark.parametrize(("changes", "field", "words"), REFUSED)
def test_what_is_wrong_is_named_with_its_field_and_nothing_is_made(
    alice: Client, cast: Cast, changes: dict[str, Any], field: str, words: str
) -> None:
    for uploads in changes.values():
        for upload in uploads if isinstance(uploads, list) else []:
            if hasattr(upload, "seek"):
                upload.seek(0)
    before = counts()
    answer = send(alice, cast, **changes)
    page = answer.content.decode()
    assert answer.status_code == 422
    assert f'href="#id_{field}"' in page
    assert words in page.replace("&#x27;", "'").replace("&quot;", '"')
    assert counts() == before


def test_several_faults_are_told_at_once(alice: Client, cast: Cast) -> None:
    page = send(
        alice, cast, name="1", instance_count="99", max_queue_wait_ms="-1"
    ).content.decode()
    assert "3 things need another value" in page


def test_a_refusal_without_scripts_shows_the_whole_form_with_what_was_typed(
    alice: Client, cast: Cast
) -> None:
    answer = alice.post(url_of(cast), filled(endpoint_name="my_model", name="azure"))
    assert answer.status_code == 422
    page = answer.content.decode()
    assert "<html" in page
    assert 'value="my_model"' in page
    assert 'value="azure"' in page


def test_a_taken_endpoint_name_is_refused_and_the_named_model_is_not_registered(
    alice: Client, cast: Cast
) -> None:
    make_online_endpoint(cast.workspace, "churn")
    before = counts()
    answer = send(
        alice,
        cast,
        endpoint_name="CHURN",
        model_source="upload",
        model_name="fresh",
        model_files=[file("m", b"1")],
    )
    assert answer.status_code == 422
    assert 'href="#id_endpoint_name"' in answer.content.decode()
    assert "in use" in answer.content.decode()
    assert counts() == before


def test_a_taken_deployment_name_is_refused(alice: Client, cast: Cast) -> None:
    make_online_endpoint(cast.workspace, "churn", deployments={"blue": 100})
    before = counts()
    answer = send(alice, cast, "endpoints/churn/deployments/create", name="Blue")
    assert answer.status_code == 422
    assert "already has a deployment" in answer.content.decode()
    assert counts() == before


def test_a_quota_that_is_used_up_leaves_no_empty_endpoint(alice: Client, cast: Cast) -> None:
    Quota.objects.create(workspace=cast.workspace, resource="cores", limit=1)
    answer = send(alice, cast)
    assert answer.status_code == 422
    said = answer.content.decode()
    assert "may have 1 core; 0 are used and " in said
    assert " more are wanted (a fifth more instances, rounded up" in said
    assert not OnlineEndpoint.objects.exists()


def test_an_environment_that_is_an_image_alone_is_refused_before_anything_is_made(
    alice: Client, cast: Cast
) -> None:
    make_environment(cast.workspace, "imaged", conda_file="", image="python:3.12")
    answer = send(alice, cast, environment_source="registered", environment_version="imaged:1")
    assert answer.status_code == 422
    assert "needs the docker runtime" in answer.content.decode()
    assert not OnlineEndpoint.objects.exists()


def test_files_over_the_limit_are_refused(alice: Client, cast: Cast, settings: Settings) -> None:
    settings.MAX_UPLOAD_BYTES = 1024
    answer = send(alice, cast, model_source="upload", model_files=[file("m", b"x" * 2048)])
    assert answer.status_code == 422
    assert "PORTICO_MAX_UPLOAD_BYTES" in answer.content.decode()


def test_twenty_megabytes_of_typed_text_are_refused_kindly(alice: Client, cast: Cast) -> None:
    answer = send(alice, cast, script="#" * 20_000_000)
    assert answer.status_code == 400
    assert "Upload long texts as files" in answer["X-Error"]
    page = alice.post(url_of(cast), filled(script="#" * 20_000_000))
    assert page.status_code == 400
    assert "Upload long texts as files" in page.content.decode()
    assert not OnlineEndpoint.objects.exists()


# Checking -------------------------------------------------------------------------------------------------


def test_check_says_what_create_would_and_makes_nothing(alice: Client, cast: Cast) -> None:
    before = counts()
    answer = send(alice, cast, "endpoints/create/check")
    page = answer.content.decode()
    assert answer.status_code == 200
    assert "Everything that Check looks at is right" in page
    assert counts() == before


@pytest.mark.parametrize(("changes", "field", "words"), REFUSED[:12])
def test_check_refuses_what_create_refuses(
    alice: Client, cast: Cast, changes: dict[str, Any], field: str, words: str
) -> None:
    answer = send(alice, cast, "endpoints/create/check", **changes)
    assert answer.status_code == 422
    assert f'href="#id_{field}"' in answer.content.decode()


def test_check_finds_a_taken_name(alice: Client, cast: Cast) -> None:
    make_online_endpoint(cast.workspace, "churn", deployments={"blue": 100})
    assert send(alice, cast, "endpoints/create/check").status_code == 422
    answer = send(alice, cast, "endpoints/create/check", for_endpoint="churn")
    assert answer.status_code == 422
    assert "already has a deployment" in answer.content.decode()


def test_check_warns_of_a_missing_function_and_a_missing_package(
    alice: Client, cast: Cast
) -> None:
    answer = send(alice, cast, "endpoints/create/check", script="import xgboost\ndef init(): pass")
    page = answer.content.decode()
    assert answer.status_code == 200
    assert "has no run() function" in page
    assert "Add xgboost" in page
    assert "tone-warning" in page
    assert "tone-success" not in page


def test_check_refuses_a_script_that_is_not_among_the_uploaded_files(
    alice: Client, cast: Cast
) -> None:
    uploaded = [file("notes.txt", b"remember = 'the milk'")]
    answer = send(alice, cast, "endpoints/create/check", code_source="upload", code_files=uploaded)
    page = answer.content.decode()
    assert answer.status_code == 422
    assert 'href="#id_scoring_script"' in page
    assert "Files there: notes.txt." in page
    assert "tone-success" not in page


def test_check_does_not_promise_that_packages_exist(alice: Client, cast: Cast) -> None:
    page = alice.get(url_of(cast)).content.decode()
    assert "“Resolve the packages”" in page
    assert 'href="#environment"' in page


def test_check_accepts_model_files_that_are_sent_later(alice: Client, cast: Cast) -> None:
    answer = send(
        alice,
        cast,
        "endpoints/create/check",
        model_source="upload",
        model_files_paths=["m/a", "m/b"],
    )
    assert answer.status_code == 200
    assert "2 files, sent with Create" in answer.content.decode()


# Access ---------------------------------------------------------------------------------------------------


def test_a_reader_may_not_and_a_stranger_finds_nothing(
    bob: Client, charlie: Client, cast: Cast
) -> None:
    make_online_endpoint(cast.workspace, "churn")
    for rest in (
        "endpoints/create",
        "endpoints/create/check",
        "endpoints/churn/deployments/create",
    ):
        assert bob.post(url_of(cast, rest), filled(name="red")).status_code == 403
        assert charlie.post(url_of(cast, rest), filled(name="red")).status_code == 404
    for rest in ("endpoints/create", "endpoints/churn/deployments/create"):
        assert bob.get(url_of(cast, rest)).status_code == 403
        assert charlie.get(url_of(cast, rest)).status_code == 404
    assert not OnlineDeployment.objects.exists()


def test_a_model_of_another_workspace_cannot_be_named(alice: Client, cast: Cast) -> None:
    other = make_online_endpoint(None, "elsewhere")
    make_model(other.workspace, "theirs")
    answer = send(alice, cast, model_source="registered", model_version="theirs:1")
    assert answer.status_code == 422
    assert not OnlineEndpoint.objects.filter(name="churn").exists()
