"""Requests to the portal for what the SDK has no operation for: the same token, trust and errors."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from azure.core import PipelineClient
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError, map_error
from azure.core.pipeline.policies import HeadersPolicy, RetryPolicy
from azure.core.rest import HttpRequest

from cli.session import Session

PROVIDER = "Microsoft.MachineLearningServices"
API_VERSION = "2024-10-01"


def call(session: Session, method: str, *path: str, body: Any = None) -> Any:
    """The answer's JSON (None without one); `path` are the words of the address below the workspace.

    Raises `ResourceNotFoundError` and `HttpResponseError` as the SDK does.
    """
    address = f"{address_of(session, *path)}?api-version={API_VERSION}"
    request = HttpRequest(method, address, json=body)
    headers = HeadersPolicy({"Authorization": f"Bearer {session.profile.token}"})
    with PipelineClient(session.profile.url, policies=[headers, RetryPolicy()]) as client:
        answer = client.send_request(request)
        if answer.status_code >= 400:
            map_error(answer.status_code, answer, {404: ResourceNotFoundError})
            raise HttpResponseError(response=answer)
        return answer.json() if answer.content else None


def address_of(session: Session, *path: str) -> str:
    """Of what the words of `path` name below the workspace."""
    ml = session.ml
    base = (
        f"{session.profile.url}/subscriptions/{quote(ml.subscription_id)}"
        f"/resourceGroups/{quote(ml.resource_group_name)}/providers/{PROVIDER}"
        f"/workspaces/{quote(ml.workspace_name)}"
    )
    return "/".join([base, *(quote(word, safe="") for word in path)])
