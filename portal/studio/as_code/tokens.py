"""Access tokens: Azure has no such resource, so there is REST alone. Pure."""

from __future__ import annotations

import shlex
from typing import Any

from portal.studio.as_code.forms import Forms
from portal.studio.as_code.place import Place
from portal.studio.as_code.writing import Step, pretty, script, without_empty


def create_token(
    place: Place, name: str, *, scope: str = "", workspace: str = "", days: int | None = None
) -> Forms:
    """`days` None takes the usual lifetime, 0 none."""
    facts: dict[str, Any] = without_empty({"name": name, "scope": scope, "workspace": workspace})
    if days is not None:
        facts["expiresInDays"] = days
    call = f"{_call(place, 'POST', '/api/tokens')} --data-binary @-"
    return Forms(yaml={}, rest=script(Step(call, pretty(facts), "JSON")))


def revoke_token(place: Place, number: int) -> Forms:
    return Forms(yaml={}, rest=script(Step(_call(place, "DELETE", f"/api/tokens/{number}"))))


def _call(place: Place, method: str, path: str) -> str:
    trust = ' --cacert "$REQUESTS_CA_BUNDLE"' if place.ca_path else ""
    return f"""\
curl --silent --show-error --fail-with-body{trust} --request {method} \\
  --header "Authorization: Bearer $PORTICO_TOKEN" --header 'Content-Type: application/json' \\
  {shlex.quote(place.url + path)}"""
