"""Models, environments and compute in the studio: registering, finding, archiving, checking, and who may."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from deployments.installation import environments
from tests.factories import (
    Cast,
    make_deployment,
    make_environment,
    make_model,
    make_online_endpoint,
    make_workspace,
)
from workspaces import storage
from workspaces.models import Environment, EnvironmentVersion, Model, ModelVersion

HTMX = {"HX-Request": "true"}


@pytest.fixture(autouse=True)
def own_store(settings: Settings, tmp_path: Path) -> None:
    settings.STORAGE_ROOT = tmp_path / "store"
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)


def url(cast: Cast, rest: str) -> str:
    return f"/w/{cast.workspace.name}/{rest}"


def page(client: Client, cast: Cast, rest: str, status: int = 200) -> str:
    answer = client.get(url(cast, rest))
    assert answer.status_code == status
    text: str = answer.content.decode()
    return text


def register(client: Client, cast: Cast, asset: str = "models", /, **fields: Any) -> HttpResponse:
    answer = client.post(url(cast, f"{asset}/register"), fields, headers=HTMX)
    assert isinstance(answer, HttpResponse)
    return answer


def file(name: str, content: bytes = b"weights") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content)


def zipped(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()


def query_count(client: Client, cast: Cast, rest: str) -> int:
    client.get(url(cast, rest))
    with CaptureQueriesContext(
        connection,
    ) as queries:
        client.get(url(cast, rest))
    return len(queries)


# Models ---------------------------------------------------------------------------------------------------


def test_a_file_becomes_version_one_and_the_next_one_two(alice: Client, cast: Cast) -> None:
    answer = register(alice, cast, name="churn", type="custom_model", files=[file("m.pkl")])
    assert answer["HX-Redirect"] == url(cast, "models/churn")
    register(alice, cast, name="churn", type="custom_model", files=[file("m.pkl", b"other")])
    versions = ModelVersion.objects.filter(model__name="churn")
    assert [row.version for row in versions] == ["2", "1"]
    assert (versions[0].leaf, versions[0].is_folder) == ("m.pkl", False)
    assert versions[0].created_by == cast.alice


def test_a_folder_keeps_its_name_and_its_paths(alice: Client, cast: Cast) -> None:
    files, paths = [file("a"), file("b")], ["model/a", "model/deep/b"]
    register(alice, cast, name="churn", type="custom_model", files=files, paths=paths)
    version = ModelVersion.objects.get()
    assert (version.leaf, version.is_folder, version.file_count) == ("model", True, 2)
    assert [e.path for e in storage.entries(version.content_hash)] == ["a", "deep/b"]


def test_a_zip_is_unpacked(alice: Client, cast: Cast) -> None:
    archive = file(
        "m.zip", zipped({"model/MLmodel": b"flavors: {sklearn: {sklearn_version: 1.7}}"})
    )
    register(alice, cast, name="churn", type="mlflow_model", files=[archive])
    version = ModelVersion.objects.get()
    assert version.leaf == "model"
    assert "sklearn 1.7" in " ".join(page(alice, cast, "models/churn").split())


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"name": "not good!"}, "name", "not allowed"),
    ({"name": ""}, "name", "not allowed"),
    ({"name": "x" * 256}, "name", "not allowed"),
    ({"version": "1 2"}, "version", "not allowed"),
    ({"type": "onnx"}, "type", "not known"),
    ({"files": []}, "files", "Choose the model"),
    ({"files": [("m.zip", zipped({"../../evil": b"1"}))]}, "files", "inside the folder"),
    ({"files": [("m.zip", zipped({"/etc/passwd": b"1"}))]}, "files", "relative"),
    ({"files": [("m.zip", b"PK nonsense")]}, "files", "not a zip archive"),
    ({"type": "mlflow_model"}, "type", "MLmodel"),
    ({"files": [("a", b"1"), ("a", b"2")]}, "files", "stands twice"),
]


@pytest.mark.parametrize(("changes", "field", "words"), REFUSED)
def test_a_wrong_model_is_refused_with_its_field_and_nothing_is_registered(
    alice: Client, cast: Cast, changes: dict[str, Any], field: str, words: str
) -> None:
    files = changes.get("files", [("m.pkl", b"1")])
    fields = {"name": "churn", "type": "custom_model", **changes}
    fields["files"] = [file(name, content) for name, content in files]
    answer = register(alice, cast, **fields)
    assert answer.status_code == 422
    assert f'href="#id_{field}"' in answer.content.decode()
    assert words in answer.content.decode()
    assert not Model.objects.exists()


def test_another_content_under_the_same_version_is_a_conflict(alice: Client, cast: Cast) -> None:
    first = {"name": "churn", "type": "custom_model", "version": "7"}
    register(alice, cast, **first, files=[file("m.pkl", b"1")])
    answer = register(alice, cast, **first, files=[file("m.pkl", b"2")])
    assert answer.status_code == 409
    assert "exists with other content" in answer.content.decode()
    assert ModelVersion.objects.count() == 1


def test_a_zip_that_unpacks_to_too_much_is_refused(
    alice: Client, cast: Cast, settings: Settings
) -> None:
    settings.MAX_UNPACKED_BYTES = 10
    archive = file("m.zip", zipped({"a": b"x" * 1000}))
    answer = register(alice, cast, name="churn", type="custom_model", files=[archive])
    assert answer.status_code == 422
    assert "PORTICO_MAX_UNPACKED_BYTES" in answer.content.decode()


def test_the_list_searches_and_shows_what_was_archived_on_request(
    alice: Client, cast: Cast
) -> None:
    make_model(cast.workspace, "churn")
    make_model(cast.workspace, "fraud")
    alice.post(url(cast, "models/fraud/archive"))
    assert "Archived fraud." in page(alice, cast, "models")
    assert "fraud" not in page(alice, cast, "models")
    assert "fraud" in page(alice, cast, "models?archived=1")
    assert "No model matches" in page(alice, cast, "models?q=zzz")
    part = alice.get(url(cast, "models?q=chu"), headers=HTMX).content.decode()
    assert "churn" in part and "<html" not in part
    alice.post(url(cast, "models/fraud/archive"), {"restore": "1"})
    assert "fraud" in page(alice, cast, "models")


def test_an_empty_list_says_what_a_model_is_and_how_to_make_one(
    alice: Client, bob: Client, cast: Cast
) -> None:
    assert "No models yet" in page(alice, cast, "models")
    assert "Register a model" in page(alice, cast, "models")
    assert "Register a model" not in page(bob, cast, "models")


def test_the_page_of_a_model_says_who_uses_it(alice: Client, cast: Cast) -> None:
    deployment = make_deployment(make_online_endpoint(cast.workspace, "risk"), "blue")
    text = page(alice, cast, "models/diabetes")
    assert "risk / blue" in text
    assert deployment.revision is not None
    assert "not in the store any more" in text
    assert "?model=diabetes%3A1" in text


def test_a_version_that_is_not_there_shows_the_newest(alice: Client, cast: Cast) -> None:
    make_model(cast.workspace, "churn")
    make_model(cast.workspace, "churn", version="2")
    assert "Version 2" in page(alice, cast, "models/churn?version=99")
    assert "Version 1" in page(alice, cast, "models/churn?version=1")


@pytest.mark.parametrize("kind", ["models", "environments"])
def test_a_list_needs_the_same_queries_for_three_and_for_thirty(
    alice: Client, cast: Cast, kind: str
) -> None:
    make = make_model if kind == "models" else make_environment
    for number in range(3):
        make(cast.workspace, f"asset-{number}")
    few = query_count(alice, cast, kind)
    for number in range(3, 30):
        make(cast.workspace, f"asset-{number}")
        make(cast.workspace, f"asset-{number}", version="2")
    make_deployment(make_online_endpoint(cast.workspace, "risk"))
    assert query_count(alice, cast, kind) == few <= 14


def test_fifty_a_page(alice: Client, cast: Cast) -> None:
    for number in range(51):
        make_model(cast.workspace, f"m-{number:03}")
    assert "m-050" not in page(alice, cast, "models")
    assert "m-050" in page(alice, cast, "models?page=2")


# Environments ---------------------------------------------------------------------------------------------


def test_a_conda_file_is_registered_with_unix_lines(alice: Client, cast: Cast) -> None:
    answer = register(
        alice,
        cast,
        "environments",
        name="sk",
        kind="conda",
        conda_file="dependencies:\r\n  - python=3.11\r\n",
        requirements="left over from the other choice",
    )
    assert answer["HX-Redirect"] == url(cast, "environments/sk")
    version = EnvironmentVersion.objects.get()
    assert (version.conda_file, version.requirements) == (
        "dependencies:\n  - python=3.11\n",
        "",
    )


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"conda_file": "dependencies: [1]"}, "conda_file", "must be"),
        ({"conda_file": "dependencies: {a: b}"}, "conda_file", "must be"),
        ({"conda_file": "channels: 7"}, "conda_file", "must be"),
        ({"conda_file": "- just a list"}, "conda_file", "must be"),
        ({"conda_file": "a: [unclosed"}, "conda_file", "cannot be read"),
        ({"conda_file": ""}, "conda_file", "Say which packages"),
        ({"kind": "requirements", "requirements": "==1"}, "requirements", "not a pip requirement"),
        (
            {"kind": "requirements", "requirements": "-r /etc/passwd"},
            "requirements",
            "/etc/passwd",
        ),
        ({"kind": "image", "image": ""}, "image", "empty"),
        ({"name": "no good"}, "name", "not allowed"),
    ],
)
def test_a_wrong_environment_is_refused_at_once(
    alice: Client, cast: Cast, fields: dict[str, str], field: str, words: str
) -> None:
    right = {"name": "sk", "kind": "conda", "conda_file": "dependencies: [python]"}
    answer = register(alice, cast, "environments", **{**right, **fields})
    assert answer.status_code == 422
    assert f'href="#id_{field}"' in answer.content.decode()
    assert words in answer.content.decode()
    assert not Environment.objects.exists()


def test_a_new_version_begins_with_the_newest_text(alice: Client, cast: Cast) -> None:
    make_environment(cast.workspace, "sk", conda_file="dependencies: [python=3.10]")
    assert "python=3.10" in page(alice, cast, "environments/register?name=sk")


def check(client: Client, cast: Cast, **fields: str) -> HttpResponse:
    answer = client.post(url(cast, "environments/check"), fields, headers=HTMX)
    assert isinstance(answer, HttpResponse)
    return answer


def test_what_a_file_means_is_said_while_it_is_typed(alice: Client, cast: Cast) -> None:
    answer = check(
        alice, cast, kind="conda", conda_file="dependencies: [python=3.11, scikit-learn]"
    )
    assert answer.status_code == 200
    assert "Python 3.11" in answer.content.decode()
    answer = check(alice, cast, kind="conda", conda_file="dependencies: 5")
    assert answer.status_code == 422
    assert "must be" in answer.content.decode()
    assert check(alice, cast, kind="conda", conda_file="").status_code == 200
    assert not Environment.objects.exists()


def test_packages_are_resolved_without_building(
    alice: Client, cast: Cast, settings: Settings
) -> None:
    settings.PACKAGES_OFFLINE = True
    environments.cache_clear()
    try:
        answer = check(alice, cast, kind="conda", conda_file="dependencies: [python]", resolve="1")
        assert answer.status_code == 200, answer.content.decode()
        answer = check(
            alice, cast, kind="requirements", requirements="no-such-package-here", resolve="1"
        )
        assert answer.status_code == 422
        assert "works offline" in answer.content.decode()
        assert "no-such-package-here" in answer.content.decode()
    finally:
        environments.cache_clear()


def test_a_registered_environment_is_checked_by_its_name(alice: Client, cast: Cast) -> None:
    make_environment(cast.workspace, "sk")
    answer = check(alice, cast, environment_version="sk:1")
    assert "scikit-learn" in answer.content.decode()
    assert check(alice, cast, environment_version="ghost:1").status_code == 422


def test_an_image_alone_says_what_it_needs(alice: Client, cast: Cast) -> None:
    make_environment(cast.workspace, "imaged", conda_file="", image="python:3.12")
    assert "needs the docker runtime" in page(alice, cast, "environments/imaged")


def test_curated_environments_are_listed_and_searched(alice: Client, cast: Cast) -> None:
    assert "sklearn-1.5" in page(alice, cast, "environments")
    assert "sklearn-1.5" not in page(alice, cast, "environments?q=tensorflow")
    assert "sklearn-1.5" not in page(alice, cast, "environments?archived=1")


# Compute --------------------------------------------------------------------------------------------------


def test_compute_counts_this_workspace_alone(alice: Client, cast: Cast) -> None:
    make_deployment(make_online_endpoint(cast.workspace, "mine"), instance_count=2)
    other = make_workspace()
    make_deployment(make_online_endpoint(other, "theirs"), instance_count=7)
    answer = alice.get(url(cast, "compute"))
    assert answer.context["running"] == 2
    used = {usage.resource: usage.used for usage in answer.context["usages"]}
    assert (used["endpoints"], used["deployments"]) == (1, 1)
    by_name = {row.name: count for row, _has_room, count in answer.context["rows"]}
    assert by_name["Standard_DS3_v2"] == 1


def test_instance_types_are_those_with_room_here_or_in_use_unless_more_are_asked_for(
    alice: Client, cast: Cast
) -> None:
    part = alice.get(url(cast, "compute?q=h100"), headers=HTMX).content.decode()
    assert "H100" in part and "Standard_DS1_v2" not in part
    assert "No instance type matches" in page(alice, cast, "compute?q=zzz")
    make_deployment(make_online_endpoint(cast.workspace), instance_type="Standard_NC64as_T4_v3")
    shown = page(alice, cast, "compute").split('id="instance-types"')[1]
    assert "H100" not in shown and "Standard_DS1_v2" in shown and "NC64as_T4_v3" in shown
    assert "H100" in page(alice, cast, "compute?all=1").split('id="instance-types"')[1]


# Access ---------------------------------------------------------------------------------------------------

READING = ("models", "models/diabetes", "environments", "environments/sklearn", "compute")
WRITING = (
    "models/register",
    "models/diabetes/archive",
    "environments/register",
    "environments/sklearn/archive",
    "environments/check",
)


@pytest.fixture
def assets(cast: Cast) -> None:
    make_model(cast.workspace)
    make_environment(cast.workspace)


@pytest.mark.usefixtures("assets")
def test_a_reader_looks_without_buttons(bob: Client, cast: Cast) -> None:
    for rest in READING:
        text = page(bob, cast, rest)
        for word in ("/register", "/archive", "endpoints/create?"):
            assert word not in text, rest


@pytest.mark.usefixtures("assets")
def test_a_reader_may_not_write_and_a_stranger_finds_nothing(
    bob: Client, charlie: Client, cast: Cast
) -> None:
    for rest in WRITING:
        assert bob.post(url(cast, rest), {"name": "x"}).status_code == 403
        assert charlie.post(url(cast, rest), {"name": "x"}).status_code == 404
    for rest in READING:
        assert charlie.get(url(cast, rest)).status_code == 404
    assert Model.objects.get().archived_at is None


def test_an_asset_of_another_workspace_is_not_found(alice: Client, cast: Cast) -> None:
    make_model(make_workspace(), "theirs")
    page(alice, cast, "models/theirs", 404)
    assert alice.post(url(cast, "models/theirs/archive")).status_code == 404
