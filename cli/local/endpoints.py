"""`ml online-endpoint … --local`"""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cli.faults import ClientFault, MissingFault, UsageFault
from cli.local import lifecycle, records
from cli.local.records import DeploymentRecord, EndpointRecord
from cli.names import checked_name
from cli.table import load

ENDPOINT_OF = "cli.local.reading#endpoint_of"
LOCATION = "local"


def create(scope: Mapping[str, str], **values: Any) -> dict[str, Any]:
    """Keep the endpoint, in place of one of the same name; its deployments go on."""
    return _keep(load(ENDPOINT_OF)(values))


def update(scope: Mapping[str, str], **values: Any) -> dict[str, Any]:
    """A file is the whole wish; without one, tags are added. There is no traffic to split."""
    if values["traffic"] or values["mirror_traffic"]:
        raise UsageFault(
            "Local endpoints split and mirror no traffic. Choose a deployment with 'invoke --deployment-name'."
        )
    endpoint = load(ENDPOINT_OF)(values)
    before = lifecycle.find_endpoint(str(endpoint.name))
    if values["file"] is not None:
        return _keep(endpoint)
    tags = {str(key): str(value) for key, value in (endpoint.tags or {}).items()}
    records.write_endpoint(
        replace(
            before,
            tags={**before.tags, **tags},
            description=endpoint.description or before.description,
        )
    )
    return show({}, before.name)


def show(scope: Mapping[str, str], name: str) -> dict[str, Any]:
    """`scoring_uri` is that of its deployment; without one there is none."""
    return _as_answer(lifecycle.find_endpoint(name))


def list_all(scope: Mapping[str, str]) -> list[dict[str, Any]]:
    """All local endpoints, by name."""
    return [_as_answer(record) for record in records.endpoints()]


def delete(scope: Mapping[str, str], name: str, **_: Any) -> None:
    """With all its deployments."""
    lifecycle.find_endpoint(name)
    for record in records.deployments(name):
        lifecycle.remove(name, record.name)
    records.forget_endpoint(name)


def invoke(
    scope: Mapping[str, str], name: str, request_file: str, deployment_name: str | None
) -> str:
    """The body of the answer; `ClientFault` with it when it is an error.

    With several deployments one must be named: local endpoints split no traffic.
    """
    record = _chosen(name, deployment_name or "")
    try:
        body = Path(request_file).read_bytes()
    except OSError as error:
        raise UsageFault(
            f"--request-file {request_file} cannot be read: {error.strerror}."
        ) from error
    state, failure = lifecycle.state_of(record)
    if state != records.SUCCEEDED:
        reason = f" {failure.message}" if failure else ""
        raise ClientFault(
            f"The local deployment '{record.name}' of '{name}' is {state} and cannot be invoked.{reason}"
        )
    connection = http.client.HTTPConnection("127.0.0.1", record.port)
    try:
        connection.request("POST", record.scoring_path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        raise ClientFault(
            f"{record.scoring_uri} did not answer ({error or type(error).__name__}). 'portico ml online-deployment "
            f"get-logs --local -e {name} -n {record.name}' shows why."
        ) from error
    finally:
        connection.close()
    if answer.status >= 400:
        raise ClientFault(
            f"The deployment answered {answer.status}: {text}\n'portico ml online-deployment get-logs --local "
            f"-e {name} -n {record.name}' shows more."
        )
    return text


def _keep(endpoint: Any) -> dict[str, Any]:
    name = checked_name("endpoint", endpoint.name)
    records.write_endpoint(
        EndpointRecord(
            name,
            auth_mode=str(endpoint.auth_mode or "key"),
            description=str(endpoint.description or ""),
            tags={str(key): str(value) for key, value in (endpoint.tags or {}).items()},
        )
    )
    return show({}, name)


def _chosen(name: str, deployment_name: str) -> DeploymentRecord:
    lifecycle.find_endpoint(name)
    found = records.deployments(name)
    names = ", ".join(f"'{record.name}'" for record in found)
    if not found:
        raise MissingFault(
            f"The local endpoint '{name}' has no deployment. 'portico ml online-deployment create --local -f <file>' "
            "makes one."
        )
    if deployment_name:
        chosen = next((record for record in found if record.name == deployment_name), None)
        if chosen is None:
            raise MissingFault(
                f"The local endpoint '{name}' has no deployment '{deployment_name}'. It has {names}."
            )
        return chosen
    if len(found) > 1:
        raise UsageFault(
            f"The local endpoint '{name}' has several deployments and splits no traffic. Choose one of {names} with "
            "--deployment-name."
        )
    return found[0]


def _as_answer(record: EndpointRecord) -> dict[str, Any]:
    """The fields that Azure's local endpoints show."""
    states = [(one, lifecycle.state_of(one)[0]) for one in records.deployments(record.name)]
    serving = [one for one, state in states if state == records.SUCCEEDED]
    state = records.SUCCEEDED if serving or not states else states[0][1]
    return {
        "auth_mode": record.auth_mode,
        "description": record.description or None,
        "location": LOCATION,
        "name": record.name,
        "properties": record.properties,
        "provisioning_state": state,
        "scoring_uri": serving[0].scoring_uri if serving else None,
        "tags": record.tags,
        "traffic": {},
    }
