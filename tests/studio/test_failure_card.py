"""The failure card: how its sentences are shown, and where its buttons lead."""

from __future__ import annotations

from django.test import Client

from deployments.failures import from_instance
from deployments.runtimes import InstanceStatus, Phase
from tests.factories import Cast
from tests.studio.test_deployment_page import failed, fix_urls, own_store, page

__all__ = ["own_store"]


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
