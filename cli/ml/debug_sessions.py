"""`ml online-deployment start-debug|show-debug|stop-debug`, and requests to what is debugged: Portico's own."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from azure.core import PipelineClient
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.policies import HeadersPolicy
from azure.core.rest import HttpRequest

from cli.arm import call
from cli.faults import ClientFault
from cli.session import Session

SUFFIX = ".debug"
STARTING, RUNNING = "Starting", "Running"
PAUSE_SECONDS = 0.5
LONGEST_SECONDS = 8 * 3600
"""As long as a session: a request may stand at a breakpoint all the time."""


def start(session: Session, name: str, endpoint_name: str, minutes: int, no_wait: bool) -> Any:
    """How to attach, as soon as that can be; `ClientFault` if its script fails."""
    found = call(session, "PUT", *address(name, endpoint_name), body={"minutes": minutes})
    if no_wait:
        return found
    with session.progress.of(f"Starting a debug session of '{name}'"):
        while found["state"] == STARTING:
            time.sleep(PAUSE_SECONDS)
            found = show(session, name, endpoint_name)
    if found["state"] != RUNNING:
        error = found.get("error", {"code": found["state"], "message": "It is being removed."})
        raise ClientFault(f"({error['code']}) {error['message']}")
    return found


def show(session: Session, name: str, endpoint_name: str) -> Any:
    return call(session, "GET", *address(name, endpoint_name))


def stop(session: Session, name: str, endpoint_name: str) -> None:
    call(session, "DELETE", *address(name, endpoint_name))


def is_meant_by(deployment_name: str) -> bool:
    """Whether a request with this deployment's name is for a debug session: no deployment has a dot in its name."""
    return deployment_name.endswith(SUFFIX)


def invoke(session: Session, endpoint_name: str, request_file: str, header: str) -> str:
    """The body of the answer, for which it waits as long as a session may last.

    The SDK would refuse the name, which is in no list of deployments, and give up after five minutes.
    """
    endpoint = session.ml.online_endpoints.get(endpoint_name)
    keys = session.ml.online_endpoints.get_keys(endpoint_name)
    key = getattr(keys, "primary_key", None) or getattr(keys, "access_token", "")
    headers = {"Authorization": f"Bearer {key}", "azureml-model-deployment": header}
    request = HttpRequest(
        "POST", endpoint.scoring_uri, json=json.loads(Path(request_file).read_bytes())
    )
    with PipelineClient(endpoint.scoring_uri, policies=[HeadersPolicy(headers)]) as client:
        answer = client.send_request(request, read_timeout=LONGEST_SECONDS)
        if answer.status_code >= 400:
            raise HttpResponseError(response=answer)
        return str(answer.text())


def address(name: str, endpoint_name: str) -> tuple[str, ...]:
    """The words of its address below the workspace."""
    return ("onlineEndpoints", endpoint_name, "deployments", name, "debugSession")
