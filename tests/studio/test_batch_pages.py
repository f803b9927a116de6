"""Batch endpoints in the studio: made, read, changed, deleted, and the notice that jobs cannot be run yet."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import Settings

from deployments.models import BatchDeployment
from endpoints.models import BatchEndpoint
from tests.factories import (
    Cast,
    make_batch_deployment,
    make_batch_endpoint,
    make_component,
    make_compute,
    make_environment,
    make_model,
)
from workspaces import storage, vault
from workspaces.models import Code, Compute

HTMX = {"HX-Request": "true"}
SCRIPT = "def init(): ...\ndef run(files):\n    return files\n"
WISH = {
    "name": "blue",
    "model_version": "diabetes:1",
    "code_source": "write",
    "script": SCRIPT,
    "scoring_script": "batch.py",
    "environment_version": "sklearn:1",
    "compute": "cpu",
    "instance_count": "2",
    "max_concurrency_per_instance": "3",
    "mini_batch_size": "5",
    "timeout_seconds": "60",
    "max_retries": "1",
    "error_threshold": "-1",
    "output_action": "append_row",
    "output_file_name": "mine.csv",
    "logging_level": "debug",
    "environment_variables": "A=hush5",
    "tags": "team=risk",
    "is_default": "on",
}


@pytest.fixture(autouse=True)
def own_store(settings: Settings, tmp_path: Path) -> None:
    settings.STORAGE_ROOT = tmp_path / "store"
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)


@pytest.fixture
def endpoint(cast: Cast) -> BatchEndpoint:
    make_compute(cast.workspace, "cpu")
    make_model(cast.workspace)
    make_environment(cast.workspace)
    return make_batch_endpoint(cast.workspace, "nightly")


def url(cast: Cast, name: str, *names: str) -> str:
    return reverse(f"studio:{name}", args=[cast.workspace.name, *names])


def test_the_empty_list_says_what_this_is_and_that_jobs_cannot_be_run(
    alice: Client, cast: Cast
) -> None:
    page = alice.get(url(cast, "batch_endpoints")).content.decode()
    assert "No batch endpoints yet" in page
    assert "It cannot run their jobs yet" in page
    assert url(cast, "create_batch_endpoint") in page


def test_an_endpoint_is_made_and_changed(alice: Client, cast: Cast) -> None:
    wish = {"name": "nightly", "description": "d", "tags": "a=b"}
    reply = alice.post(url(cast, "create_batch_endpoint"), wish)
    assert reply.headers["Location"] == url(cast, "batch_endpoint", "nightly")
    made = BatchEndpoint.objects.get()
    assert (made.description, made.tags, made.created_by) == ("d", {"a": "b"}, cast.alice)
    page = alice.get(url(cast, "batch_endpoint", "NIGHTLY")).content.decode()
    assert made.scoring_uri in page
    assert "No deployments yet" in page
    alice.post(url(cast, "edit_batch_endpoint", "nightly"), {"description": "e", "tags": ""})
    made.refresh_from_db()
    assert (made.description, made.tags) == ("e", {})


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"name": "1st"}, "is not allowed"),
        ({"name": ""}, "This field is required"),
        ({"name": "nightly", "tags": "x"}, "Write name=value"),
    ],
)
def test_what_is_wrong_with_an_endpoint_is_listed(
    alice: Client, cast: Cast, wish: dict[str, str], words: str
) -> None:
    for headers in ({}, HTMX):
        reply = alice.post(url(cast, "create_batch_endpoint"), wish, headers=headers)
        assert reply.status_code == 422
        assert words in reply.content.decode()
    assert not BatchEndpoint.objects.exists()


def test_a_taken_name_is_told(alice: Client, cast: Cast) -> None:
    make_batch_endpoint(name="nightly")
    reply = alice.post(url(cast, "create_batch_endpoint"), {"name": "Nightly"})
    assert "is in use" in reply.content.decode()


def test_a_deployment_is_made_from_a_typed_script(
    alice: Client, cast: Cast, endpoint: BatchEndpoint
) -> None:
    reply = alice.post(url(cast, "create_batch_deployment", "nightly"), WISH)
    assert reply.status_code == 303, reply.content.decode()
    made = BatchDeployment.objects.get()
    assert (made.instance_count, made.max_concurrency_per_instance, made.mini_batch_size) == (
        2,
        3,
        5,
    )
    assert (made.timeout_seconds, made.max_retries, made.error_threshold) == (60, 1, -1)
    assert (made.output_file_name, made.logging_level) == ("mine.csv", "debug")
    assert made.environment_variables == {"A": "hush5"}
    assert made.is_default
    assert made.code_version is not None
    stored = storage.read_file(made.code_version.content_hash, "batch.py", limit=1000)
    assert stored.decode() == SCRIPT
    page = alice.get(url(cast, "batch_endpoint", "nightly")).content.decode()
    assert "diabetes:1" in page
    assert "hush5" not in page


def test_a_deployment_is_made_from_an_uploaded_file_and_a_curated_environment(
    alice: Client, cast: Cast, endpoint: BatchEndpoint
) -> None:
    script = io.BytesIO(SCRIPT.encode())
    script.name = "mine.py"
    page = alice.get(url(cast, "create_batch_deployment", "nightly")).content.decode()
    curated = page.split('value="curated:')[1].split('"')[0]
    wish = {
        **WISH,
        "code_source": "upload",
        "code_files": script,
        "scoring_script": "",
        "environment_version": f"curated:{curated}",
        "output_action": "summary_only",
    }
    reply = alice.post(url(cast, "create_batch_deployment", "nightly"), wish)
    assert reply.status_code == 303, reply.content.decode()
    made = BatchDeployment.objects.get()
    assert (made.scoring_script, made.output_file_name) == ("mine.py", "")
    assert made.environment_version is not None
    assert made.environment_version.curated == curated


def test_a_script_that_is_named_must_be_the_file_that_is_uploaded(
    alice: Client, cast: Cast, endpoint: BatchEndpoint
) -> None:
    def send(named: str) -> Any:
        script = io.BytesIO(SCRIPT.encode())
        script.name = "mine.py"
        wish = {
            **WISH,
            "code_source": "upload",
            "code_files": script,
            "scoring_script": named,
        }
        return alice.post(url(cast, "create_batch_deployment", "nightly"), wish)

    refused = send("other.py")
    assert refused.status_code == 422
    assert "other.py" in refused.content.decode()
    assert not BatchDeployment.objects.exists()
    # What the form begins with is nobody's word for it.
    assert send("score.py").status_code == 303
    assert BatchDeployment.objects.get().scoring_script == "mine.py"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "1"}, "at least 3"),
        ({"model_version": "none:1"}, "none"),
        ({"model_version": "keep"}, "keep"),
        ({"environment_version": ""}, "needs an environment"),
        ({"environment_version": "curated:nothing"}, "no such curated environment"),
        ({"compute": "gone"}, "no compute"),
        ({"instance_count": "9"}, "at most 4 nodes"),
        ({"mini_batch_size": "0"}, "whole number from 1"),
        ({"timeout_seconds": "soon"}, "Enter a whole number"),
        ({"code_source": "none"}, "has no scoring script"),
        ({"code_source": "upload"}, "Choose the scoring script"),
        ({"code_source": "elsewhere"}, "Select a valid choice"),
        ({"script": "def init(:"}, "line 1"),
        ({"scoring_script": "../x.py"}, "x.py"),
        ({"output_file_name": "a/b"}, "without a folder"),
    ],
)
def test_what_is_wrong_with_a_deployment_is_listed_and_nothing_is_registered(
    alice: Client, cast: Cast, endpoint: BatchEndpoint, changes: dict[str, str], words: str
) -> None:
    wish = {**WISH, **changes}
    reply = alice.post(url(cast, "create_batch_deployment", "nightly"), wish, headers=HTMX)
    assert reply.status_code == 422
    assert words in reply.content.decode()
    assert not BatchDeployment.objects.exists()
    assert not Code.objects.exists()


def test_an_edit_keeps_what_is_not_chosen_anew(alice: Client, cast: Cast) -> None:
    endpoint = make_batch_endpoint(cast.workspace, "nightly")
    sealed = vault.seal_map({"A": "1"})
    content = storage.put_tree([("score.py", io.BytesIO(SCRIPT.encode()))])
    made = make_batch_deployment(endpoint, environment_variables_sealed=sealed)
    assert made.code_version is not None
    made.code_version.content_hash = content.content_hash
    made.code_version.save()
    place = url(cast, "edit_batch_deployment", "nightly", "blue")
    page = alice.get(place).content.decode()
    assert 'name="is_default"' not in page
    assert "A=1" in page
    wish = {
        **WISH,
        "model_version": "keep",
        "environment_version": "keep",
        "code_source": "keep",
        "scoring_script": "score.py",
    }
    reply = alice.post(place, wish)
    assert reply.status_code == 303, reply.content.decode()
    changed = BatchDeployment.objects.get()
    assert changed.code_version == made.code_version
    assert changed.model_version == made.model_version
    assert (changed.mini_batch_size, changed.environment_variables) == (5, {"A": "hush5"})


def test_a_deployment_of_a_pipeline_is_shown_and_changed_elsewhere(
    alice: Client, cast: Cast, endpoint: BatchEndpoint
) -> None:
    flow = make_component(cast.workspace, "flow", type="pipeline")
    empty = dict.fromkeys(("model_version", "code_version", "environment_version"))
    settings = {"force_rerun": True}
    make_batch_deployment(
        endpoint,
        "flow",
        type="pipeline",
        component_version=flow,
        pipeline_settings=settings,
        **empty,
    )
    page = alice.get(url(cast, "batch_endpoint", "nightly")).content.decode()
    assert "flow:1" in page
    assert "force_rerun" in page
    reply = alice.get(url(cast, "edit_batch_deployment", "nightly", "flow"))
    assert reply.status_code == 400
    assert "by its YAML" in reply.content.decode()


def test_the_default_is_chosen_and_taken_away(alice: Client, cast: Cast) -> None:
    endpoint = make_batch_endpoint(cast.workspace, "nightly", deployments=["blue", "green"])
    place = url(cast, "set_default_deployment", "nightly")
    for name in ("green", ""):
        assert alice.post(place, {"deployment": name}).status_code == 303
        endpoint.refresh_from_db()
        assert endpoint.default_deployment == name
    assert alice.post(place, {"deployment": "red"}).status_code == 400


def test_deleting_asks_and_takes_away(alice: Client, cast: Cast) -> None:
    make_batch_endpoint(cast.workspace, "nightly", deployments=["blue"])
    page = alice.get(url(cast, "batch_endpoint", "nightly")).content.decode()
    assert "1 deployment goes with it" in page
    assert "It is the default: the endpoint has none afterwards" in page
    alice.post(url(cast, "delete_batch_deployment", "nightly", "blue"))
    assert BatchEndpoint.objects.get().default_deployment == ""
    reply = alice.post(url(cast, "delete_batch_endpoint", "nightly"))
    assert reply.headers["Location"] == url(cast, "batch_endpoints")
    assert not BatchEndpoint.objects.exists()


def test_a_compute_that_is_gone_is_shown(alice: Client, cast: Cast) -> None:
    make_batch_endpoint(cast.workspace, "nightly", deployments=["blue"])
    Compute.objects.all().delete()
    page = alice.get(url(cast, "batch_endpoint", "nightly")).content.decode()
    assert "its compute is gone" in page
    form = alice.get(url(cast, "edit_batch_deployment", "nightly", "blue")).content.decode()
    assert '<option value="cpu" selected' in form


def test_a_reader_sees_no_buttons_and_no_values(bob: Client, cast: Cast) -> None:
    endpoint = make_batch_endpoint(cast.workspace, "nightly")
    make_batch_deployment(endpoint, environment_variables_sealed=vault.seal_map({"A": "hidden1"}))
    page = bob.get(url(cast, "batch_endpoint", "nightly")).content.decode()
    assert "hidden1" not in page
    for name in ("edit_batch_endpoint", "delete_batch_endpoint", "create_batch_deployment"):
        assert url(cast, name, "nightly") not in page


def test_the_list_is_searched_and_costs_the_same_for_many(alice: Client, cast: Cast) -> None:
    def cost() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert alice.get(url(cast, "batch_endpoints")).status_code == 200
        return len(queries)

    make_batch_endpoint(cast.workspace, "nightly", deployments=["blue"])
    cost()
    before = cost()
    for name in ("weekly", "monthly"):
        make_batch_endpoint(cast.workspace, name, deployments=["blue"])
    assert cost() == before
    part = alice.get(url(cast, "batch_endpoints"), {"q": "WEEK"}, headers=HTMX).content.decode()
    assert "weekly" in part
    assert "nightly" not in part
    assert "<html" not in part
    none = alice.get(url(cast, "batch_endpoints"), {"q": "zzz"}).content.decode()
    assert "No batch endpoint matches" in none
