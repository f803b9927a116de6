"""Names of endpoints and deployments that are not allowed, and endpoints that are not there."""

from __future__ import annotations

import importlib
import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from cli.client import run
from cli.faults import MissingFault, UsageFault
from cli.names import RULE, checked_name

# The SDK's own, and those of the library it reads YAML with.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("name", ["abc", "a-b", "A1-2", "x" * 32])
def test_names_that_azure_allows_are_allowed(name: str) -> None:
    assert checked_name("endpoint", name) == name


@pytest.mark.parametrize("name", ["ab", "x" * 33, "1abc", "my_endpoint", "abc-", "abc\n"])
def test_other_names_are_told_with_the_rule(name: str) -> None:
    with pytest.raises(UsageFault) as fault:
        checked_name("deployment", name)
    assert str(fault.value) == f"The deployment name {name!r} is not allowed. {RULE}"


def test_a_missing_name_is_said_to_be_missing() -> None:
    with pytest.raises(UsageFault, match=r"The deployment needs a name\."):
        checked_name("deployment", None)


@pytest.mark.thorough
def test_the_sdk_s_refusal_of_a_name_is_told_in_our_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert run("ml", ["online-endpoint", "create", "--local", "-n", "my_endpoint"]) == 2
    assert caplog.messages == [f"name: The endpoint name 'my_endpoint' is not allowed. {RULE}"]


class Deployments:
    """The SDK's operations against a portal that has no endpoint, or lacks something else."""

    def __init__(self, target: str) -> None:
        self.target = target

    def begin_create_or_update(self, deployment: Any, **_: Any) -> Any:
        message = f"There is no {self.target} 'x' in workspace 'main'."
        told = {"code": "ResourceNotFound", "message": message, "target": self.target}
        response = SimpleNamespace(
            text=lambda: json.dumps({"error": told}), status_code=404, reason="Not Found"
        )
        raise importlib.import_module("azure.core.exceptions").ResourceNotFoundError(
            response=response
        )


def create(target: str, endpoint_name: str = "my-endpoint") -> None:
    session = SimpleNamespace(ml=SimpleNamespace(online_deployments=Deployments(target)))
    unset = dict.fromkeys(
        ("file", "model", "environment", "code", "scoring_script", "description", "tags", "sets")
    )
    importlib.import_module("cli.ml.online_deployments").create(
        session,
        name="blue",
        endpoint_name=endpoint_name,
        instance_type="Standard_DS3_v2",
        instance_count=1,
        all_traffic=False,
        skip_script_validation=True,
        no_wait=False,
        **unset,
    )


def test_deploying_to_a_missing_endpoint_says_how_to_make_it() -> None:
    with pytest.raises(MissingFault) as fault:
        create("endpoint")
    assert str(fault.value).splitlines() == [
        "(ResourceNotFound) There is no endpoint 'x' in workspace 'main'.",
        "  What helps:",
        "    - portico ml online-endpoint create -n my-endpoint",
    ]


def test_whatever_else_is_missing_is_told_as_the_portal_says_it() -> None:
    errors = importlib.import_module("azure.core.exceptions")
    with pytest.raises(errors.ResourceNotFoundError):
        create("model")


def test_a_deployment_is_not_sent_to_an_endpoint_that_cannot_be() -> None:
    with pytest.raises(UsageFault, match="The endpoint name 'my_endpoint' is not allowed"):
        create("endpoint", "my_endpoint")


@pytest.mark.parametrize(
    ("kind", "names"),
    [("endpoint", ("blue", "my_endpoint")), ("deployment", ("1blue", "my-endpoint"))],
)
def test_a_batch_deployment_is_checked_before_it_is_sent(
    kind: str, names: tuple[str, str]
) -> None:
    unset = dict.fromkeys(
        ("file", "environment", "code", "scoring_script", "description", "tags", "sets")
    )
    with pytest.raises(UsageFault, match=f"The {kind} name '.*' is not allowed"):
        importlib.import_module("cli.ml.batch_deployments").create(
            SimpleNamespace(),
            name=names[0],
            endpoint_name=names[1],
            model="my-model:1",
            compute="cpu",
            mini_batch_size=None,
            set_default=False,
            skip_script_validation=True,
            no_wait=False,
            **unset,
        )


@pytest.mark.parametrize(("flags", "is_told"), [([], False), (["--debug"], True)])
def test_what_the_sdk_calls_experimental_is_told_only_to_those_who_debug(
    flags: list[str], is_told: bool
) -> None:
    run("ml", ["online-endpoint", "list", "--local", *flags])
    notices = logging.getLogger("azure.ai.ml._utils._experimental")
    assert notices.isEnabledFor(logging.WARNING) is is_told
