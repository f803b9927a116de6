"""Where clients look for jobs: empty lists in the right shape, and a plain word instead of a job."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from endpoints.models import BatchEndpoint
from tests.api.conftest import Api, speak_as
from tests.factories import Cast, make_batch_endpoint, make_workspace
from workspaces import tokens
from workspaces.models import Activity, TokenScope

EMPTY: dict[str, Any] = {"value": [], "nextLink": None}
# As azure-ai-ml sends it (wire 13.3).
JOB = {
    "properties": {
        "inputData": {
            "UriFolder": {
                "jobInputType": "UriFolder",
                "uri": "azureml://datastores/workspaceblobstore/paths/LocalUpload/x/bin/",
            }
        }
    }
}


@pytest.fixture
def endpoint(cast: Cast) -> BatchEndpoint:
    return make_batch_endpoint(cast.workspace, "churn", deployments=["blue"])


def test_lists_of_jobs_are_empty_pages(bob: Api, endpoint: BatchEndpoint) -> None:
    place = f"/mferp/managementfrontend{endpoint.arm_id}"
    for path in (
        "jobs?listViewType=ActiveOnly",
        f"{place}/jobs",
        f"{place}/deployments/blue/jobs",
    ):
        reply = bob.get(path)
        assert (reply.status, reply.json) == (200, EMPTY), path
    assert bob.get("/batch/churn/jobs").json == EMPTY
    for path in (f"{place}x/jobs", f"{place}/deployments/None/jobs"):
        assert bob.get(path).error["code"] == "ResourceNotFound"


def test_a_job_is_not_found_under_any_address(bob: Api, endpoint: BatchEndpoint) -> None:
    history = f"/history/v1.0{bob.workspace.arm_id}"
    for method, path, body in (
        ("GET", "jobs/j1", None),
        ("GET", "/batch/churn/jobs/j1", None),
        ("GET", f"{history}/runs/j1", None),
        ("GET", f"{history}/runs/j1/details", None),
        ("GET", f"{history}/runs/j1/children", None),
    ):
        reply = bob.ask(method, path, body)
        assert (reply.status, reply.error["code"]) == (404, "ResourceNotFound"), path
        assert "no job 'j1'" in reply.error["message"]


def test_a_job_sent_to_a_batch_endpoint_is_refused_with_a_sentence(
    alice: Api, endpoint: BatchEndpoint
) -> None:
    before = Activity.objects.count()
    reply = alice.post("/batch/CHURN/jobs", JOB)
    assert (reply.status, reply.error["code"]) == (400, "OperationNotSupported")
    assert "cannot run their jobs yet. Nothing was started." in reply.error["message"]
    refused = alice.put("jobs/j1", {"properties": {"jobType": "Command"}})
    assert (refused.status, refused.error["code"]) == (400, "OperationNotSupported")
    assert Activity.objects.count() == before


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b"\xff", b'{"a": NaN}'])
def test_a_body_that_is_no_json_object_is_named(
    alice: Api, endpoint: BatchEndpoint, body: bytes
) -> None:
    for path in ("/batch/churn/jobs", f"/history/v1.0{alice.workspace.arm_id}/rundata"):
        reply = alice.post(path, body)
        assert (reply.status, reply.error["code"]) == (400, "InvalidRequestContent")


def test_a_reader_starts_nothing(bob: Api, endpoint: BatchEndpoint) -> None:
    reply = bob.post("/batch/churn/jobs", JOB)
    assert (reply.status, reply.error["code"]) == (403, "AuthorizationFailed")
    assert "Ask alice" in reply.error["message"]


def test_a_token_for_scoring_alone_may_send_jobs_and_change_nothing(
    cast: Cast, endpoint: BatchEndpoint
) -> None:
    _, text = tokens.create_token(cast.alice, "scorer", scope=TokenScope.SCORE)
    api = Api(cast.workspace, text)
    assert api.post("/batch/churn/jobs", JOB).error["code"] == "OperationNotSupported"
    assert api.put("batchEndpoints/other", {}).status == 403


def test_a_stranger_cannot_tell_which_batch_endpoints_exist(
    charlie: Api, endpoint: BatchEndpoint
) -> None:
    for method in ("GET", "POST"):
        here = charlie.ask(method, "/batch/churn/jobs", JOB)
        there = charlie.ask(method, "/batch/nothing/jobs", JOB)
        assert (here.status, here.text.replace("churn", "nothing")) == (403, there.text)
        assert Api(charlie.workspace).ask(method, "/batch/churn/jobs", JOB).status == 401


def test_an_administrators_token_for_one_workspace_cannot_tell_what_others_hold(
    cast: Cast, endpoint: BatchEndpoint
) -> None:
    cast.alice.is_superuser = True
    cast.alice.save()
    elsewhere = make_workspace("elsewhere")
    _, text = tokens.create_token(cast.alice, "there", workspace=elsewhere)
    there = Api(cast.workspace, text)
    known, unknown = there.get("/batch/churn/jobs"), there.get("/batch/absent/jobs")
    assert known.status == unknown.status == 403
    assert known.text.replace("churn", "absent") == unknown.text


def test_an_administrator_is_told_that_an_endpoint_does_not_exist(cast: Cast) -> None:
    cast.charlie.is_superuser = True
    cast.charlie.save()
    reply = speak_as(cast.charlie, cast.workspace).get("/batch/nothing/jobs")
    assert (reply.status, reply.error["code"]) == (404, "ResourceNotFound")


def test_the_workspace_names_the_place_that_tells_the_rest(bob: Api, client: Client) -> None:
    url: Any = bob.get().json["properties"]["discoveryUrl"]
    assert url.endswith("/discovery")
    assert url.startswith("https://")
    assert (
        bob.get(f"{bob.workspace.arm_id.rpartition('/')[0]}").json["value"][0]["properties"][
            "discoveryUrl"
        ]
        == url
    )
    told = client.get("/discovery").json()
    assert told == {"api": url.removesuffix("/discovery"), "history": told["api"]}
    secure = client.get("/discovery", secure=True, headers={"Host": "localhost"})
    assert secure.json()["api"] == "https://localhost"
