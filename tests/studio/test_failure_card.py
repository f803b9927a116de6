"""The failure card: how its sentences are shown, and where its buttons lead."""

from __future__ import annotations

import io
from typing import Any

import yaml
from django.test import Client
from pytest_django import Settings

from deployments.changes import spec_of
from deployments.failures import Failure, from_instance
from deployments.models import OnlineDeployment
from deployments.runtimes import InstanceStatus, Phase
from tests.factories import Cast, make_environment
from tests.studio.test_deployment_page import (
    edit,
    failed,
    fix_urls,
    own_store,
    page,
    runnable,
    stored_code,
)
from workspaces import storage

__all__ = ["own_store"]
FILLED_IN = "The fix is filled in below"
LACKING = Failure(
    "UserScriptImportError",
    "Load model",
    "score.py imports joblib, which is not in the environment.",
    ("ModuleNotFoundError: No module named 'joblib'",),
).as_dict()


def lacking(cast: Cast, **facts: Any) -> OnlineDeployment:
    """A deployment whose script imports joblib and numpy, in an environment of these facts."""
    script = "import joblib, numpy\nimport json\ndef init(): pass\ndef run(data): return data\n"
    revision = {
        "environment_version": make_environment(
            cast.workspace, "imaged", **{"conda_file": "", **facts}
        ),
        "code_version": stored_code(cast, score__py=script),
    }
    return runnable(cast, state="Failed", failure=LACKING, revision=revision)


def test_a_package_is_put_on_top_of_an_image_with_all_that_the_script_imports(
    alice: Client, cast: Cast, settings: Settings
) -> None:
    settings.DEPLOYMENT_RUNTIME = "docker"
    deployment = lacking(cast, image="team/base:1")
    answer = alice.get(fix_urls(alice, cast)["Add joblib and retry"])
    assert FILLED_IN in answer.content.decode()
    form = answer.context["form"]
    fields = ("environment_source", "image", "image_conda_file")
    wish = {name: form[name].value() for name in fields}
    assert (wish["environment_source"], wish["image"]) == ("image", "team/base:1")
    pip = yaml.safe_load(wish["image_conda_file"])["dependencies"][-1]["pip"]
    assert sorted(pip) == ["joblib", "numpy"]
    plan = edit(alice, cast, only_check="1", **wish).content.decode()
    assert "tried again as it is" not in plan and "environment" in plan
    assert edit(alice, cast, **wish)["HX-Redirect"]
    deployment.refresh_from_db()
    wanted = spec_of(deployment).environment
    assert wanted is not None and wanted.image == "team/base:1"
    assert "joblib" in wanted.conda_file


def test_the_plan_of_an_image_alone_does_not_speak_of_building(
    alice: Client, cast: Cast, settings: Settings
) -> None:
    settings.DEPLOYMENT_RUNTIME = "docker"
    lacking(cast, image="team/base:1")
    wish = {"environment_source": "image", "image": "team/other:1", "only_check": "1"}
    plan = edit(alice, cast, **wish).content.decode()
    assert "Updates 1 field: environment." in plan
    assert "will be built" not in plan and "the image is used as it is" in plan


def test_an_image_keeps_its_place_below_packages_that_are_changed(
    alice: Client, cast: Cast
) -> None:
    lacking(cast, image="team/base:1", conda_file="dependencies: [python=3.11, numpy]")
    form = alice.get(fix_urls(alice, cast)["Add joblib and retry"]).context["form"]
    assert (form["environment_source"].value(), form["image"].value()) == ("image", "team/base:1")
    assert "numpy" in form["image_conda_file"].value()
    assert "joblib" in form["image_conda_file"].value()


def test_a_server_of_its_own_is_told_what_to_do_and_nothing_is_pretended(
    alice: Client, cast: Cast
) -> None:
    told = {"scoring_route": {"path": "/predict", "port": 8501}}
    lacking(cast, image="team/own:1", inference_config=told)
    link = fix_urls(alice, cast)["Install joblib in the image"]
    for address in (link, link.replace("install=", "add=")):
        answer = alice.get(address)
        assert FILLED_IN not in answer.content.decode()
        assert "install joblib where the image is made" in answer.content.decode()
    form = alice.get(link).context["form"]
    assert (form["image"].value(), form["server_port"].value()) == ("team/own:1", 8501)


def test_a_dockerfile_is_shown_with_the_line_that_it_lacks(alice: Client, cast: Cast) -> None:
    content = storage.put_tree([("Dockerfile", io.BytesIO(b"FROM team/base:1\n"))])
    lacking(cast, build_context_hash=content.content_hash, dockerfile_path="Dockerfile")
    answer = alice.get(fix_urls(alice, cast)["Install joblib in the Dockerfile"])
    assert FILLED_IN not in answer.content.decode()
    assert "<code>RUN pip install joblib</code>" in answer.content.decode()
    form = answer.context["form"]
    assert form["environment_source"].value() == "dockerfile"
    assert form["dockerfile"].value() == "FROM team/base:1\n"


def test_a_dockerfile_with_other_files_is_not_taken_from_them(alice: Client, cast: Cast) -> None:
    files = [("Dockerfile", io.BytesIO(b"FROM team/base:1\n")), ("a.txt", io.BytesIO(b"x"))]
    content = storage.put_tree(files)
    lacking(cast, build_context_hash=content.content_hash, dockerfile_path="Dockerfile")
    answer = alice.get(fix_urls(alice, cast)["Install joblib in the Dockerfile"])
    assert "hand in its folder" in answer.content.decode()
    assert answer.context["form"]["environment_source"].value() == "keep"


def test_correcting_a_package_shows_the_text_that_names_it(alice: Client, cast: Cast) -> None:
    deployment = failed(cast, "ImageBuildFailure", "Package `sklern` does not exist.")
    fixes = [{"label": "Correct or remove sklern", "kind": "edit_environment", "detail": "sklern"}]
    deployment.failure = {**(deployment.failure or {}), "fixes": fixes}
    deployment.save()
    answer = alice.get(fix_urls(alice, cast)["Correct or remove sklern"])
    form = answer.context["form"]
    assert form["environment_source"].value() == "conda"
    assert "scikit-learn" in form["conda_file"].value()
    assert "The fix is filled in below" not in answer.content.decode()


def test_the_card_shows_names_as_code_and_evidence_without_an_empty_line(
    alice: Client, cast: Cast
) -> None:
    failed(cast, "ImageBuildFailure", "Package `<b>` does not exist.", evidence=("one", "two"))
    text = page(alice, cast)
    assert "Package <code>&lt;b&gt;</code> does not exist." in text
    evidence = text.split('class="failure__evidence"')[1].split("</pre>")[0]
    assert evidence.endswith(">one\ntwo")


def test_the_cause_of_an_instance_is_a_whole_sentence() -> None:
    status = InstanceStatus(
        Phase.EXITED,
        exit_code=1,
        reason="score.py imports xgboost, which is not in the environment",
    )
    assert from_instance(status, "Load model").cause.endswith("environment.")
