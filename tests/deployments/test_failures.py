"""What stands on the failure card, and what it offers to do."""

from __future__ import annotations

from typing import Any

import pytest

from deployments.failures import Failure, from_instance, never_ready
from deployments.fixes import fixes_of, in_words
from deployments.images.failures import dockerfile_failed
from deployments.models import OnlineDeployment
from deployments.runtimes import InstanceStatus, Phase
from tests.factories import make_deployment, make_environment

BUILDKIT = """\
#1 [internal] load build definition from Dockerfile
#4 [1/3] FROM docker.io/library/debian:12-python
#6 [3/3] RUN apt-get install -y nonesuch
#6 0.412 Reading package lists...
#6 0.600 E: Unable to locate package nonesuch
#6 ERROR: executor failed running [/bin/sh -c apt-get install -y nonesuch]: exit code: 100
------
 > [3/3] RUN apt-get install -y nonesuch:
#6 0.600 E: Unable to locate package nonesuch
------
executor failed running [/bin/sh -c apt-get install -y nonesuch]: exit code: 100
"""


def test_a_card_holds_nothing_that_a_database_refuses() -> None:
    """A build printed it: a card that cannot be stored would leave the deployment in 'Creating' for ever."""
    card = Failure(
        "ImageBuildFailure", "Build environment", "a\0b", ("\x1b[31mred\0", "c")
    ).as_dict()
    assert (card["cause"], card["evidence"]) == ("a\ufffdb", ["red\ufffd", "c"])


def words(deployment: OnlineDeployment, code: str, cause: str = "It failed.") -> list[str]:
    card = Failure(code, "Load model", cause).as_dict()
    return [in_words(fix, deployment) for fix in fixes_of(card, deployment)]


@pytest.mark.django_db
def test_out_of_memory_names_the_next_type_and_the_command() -> None:
    deployment = make_deployment(name="blue", instance_type="Standard_F2s_v2")
    first, *rest = words(deployment, "OutOfMemory")
    names = f"-e {deployment.endpoint.name} -n blue"
    assert first.startswith("Use Standard_")
    assert f"portico ml online-deployment update {names} --set instance_type=Standard_" in first
    assert rest == [f"Read the whole log: portico ml online-deployment get-logs {names}"]


@pytest.mark.django_db
@pytest.mark.parametrize("code", ["UserScriptImportError", "UserScriptInitFailed"])
def test_a_module_that_is_missing_is_named_first(code: str) -> None:
    said = words(make_deployment(), code, "ModuleNotFoundError: No module named 'sklearn'")
    assert said[0].startswith("Add scikit-learn to the packages of the environment")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("facts", "label", "told"),
    [
        ({"image": "team/base:1"}, "Add joblib and retry", "a conda_file with joblib"),
        (
            {"build_context_hash": "a" * 64},
            "Install joblib in the Dockerfile",
            "'RUN pip install joblib' into the Dockerfile",
        ),
        (
            {"image": "team/own:1", "inference_config": {"scoring_route": {"port": 80}}},
            "Install joblib in the image",
            "install joblib where that image is made",
        ),
    ],
)
def test_a_module_that_an_image_lacks_is_added_where_that_helps(
    facts: dict[str, Any], label: str, told: str
) -> None:
    deployment = make_deployment()
    assert deployment.revision is not None
    deployment.revision.environment_version = make_environment(
        deployment.endpoint.workspace, "imaged", conda_file="", **facts
    )
    evidence = ("ModuleNotFoundError: No module named 'joblib'",)
    card = Failure("UserScriptImportError", "Load model", "It failed.", evidence).as_dict()
    first = fixes_of(card, deployment)[0]
    assert first.label == label
    assert told in in_words(first, deployment)


@pytest.mark.django_db
def test_every_card_says_in_words_what_helps() -> None:
    deployment = make_deployment()
    for code in ("ResourceNotReady", "ImageBuildFailure", "BadArgument", "DiskFull", "Unheard"):
        said = words(deployment, code)
        assert said and all(text.endswith(".") or "portico " in text for text in said), said
        assert not any("{" in text for text in said)


def test_a_wrong_port_of_a_custom_container_is_called_so() -> None:
    found = "Readiness probe failed: HTTP probe failed: connection refused (8 times in a row)."
    card = never_ready(8, 9.0, (), found, is_custom=True).as_dict()
    assert "inference_config" in card["cause"] and "init()" not in card["cause"]
    assert card["fixes"][0]["kind"] == "edit_environment"


def test_more_patience_is_not_offered_for_a_container_that_ended() -> None:
    status = InstanceStatus(Phase.EXITED, reason="The container ended with code 0.", exit_code=0)
    card = from_instance(status, "Load model").as_dict()
    assert [fix["kind"] for fix in card["fixes"]] == ["open_log", "edit_environment"]
    assert card["title"] == "The server ended before it was ready"


def test_the_evidence_of_a_dockerfile_begins_at_the_step_that_failed() -> None:
    failure = dockerfile_failed(BUILDKIT, line=3, step="RUN apt-get", name="Dockerfile")
    assert failure.evidence[0] == "[3/3] RUN apt-get install -y nonesuch"
    assert len([line for line in failure.evidence if "Unable to locate" in line]) == 1
