"""Members and service principals. The SDK and `az ml` have no operation for them, so there is REST alone. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from portal.studio.as_code.forms import Forms
from portal.studio.as_code.place import Place
from portal.studio.as_code.writing import Step, request, rest, segment, without_empty

ASSIGNMENTS = "providers/Microsoft.Authorization/roleAssignments"


def assign(place: Place, principal: str, role: str, *, assignment: str) -> Forms:
    """Let somebody in, or give them another role; `role` is the name or the id of one."""
    body = {"properties": {"roleDefinitionId": role, "principalId": principal}}
    return _rest(place, request("PUT", f"{ASSIGNMENTS}/{assignment}", body))


def remove(place: Place, assignment: str) -> Forms:
    return _rest(place, request("DELETE", f"{ASSIGNMENTS}/{assignment}"))


def create_principal(place: Place, name: str, role: str, *, days: int | None) -> Forms:
    """With its first secret, which the answer tells; `days` None takes the usual lifetime."""
    body: dict[str, Any] = {"name": name, "role": role}
    return _rest(place, request("POST", "servicePrincipals", _with_days(body, days)))


def delete_principal(place: Place, client: str) -> Forms:
    return _rest(place, request("DELETE", _path(client)))


def add_secret(place: Place, client: str, name: str, *, days: int | None) -> Forms:
    body: dict[str, Any] = without_empty({"name": name})
    return _rest(place, request("POST", f"{_path(client)}/secrets", _with_days(body, days)))


def remove_secret(place: Place, client: str, number: int) -> Forms:
    return _rest(place, request("DELETE", f"{_path(client)}/secrets/{number}"))


def add_federated(place: Place, client: str, fields: Mapping[str, Any]) -> Forms:
    """`fields`: name, issuer, subject, audience and keys."""
    path = f"{_path(client)}/federatedCredentials"
    return _rest(place, request("POST", path, without_empty(fields)))


def remove_federated(place: Place, client: str, number: int) -> Forms:
    return _rest(place, request("DELETE", f"{_path(client)}/federatedCredentials/{number}"))


def _rest(place: Place, step: Step) -> Forms:
    return Forms(yaml={}, rest=rest(place, step))


def _with_days(body: dict[str, Any], days: int | None) -> dict[str, Any]:
    return body if days is None else {**body, "expiresInDays": days}


def _path(client: str) -> str:
    return f"servicePrincipals/{segment(client)}"
