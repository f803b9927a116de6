"""No route without a word on who may: what `api/urls.py` offers against tables of role and answer.

Routes below a workspace stand in `test_access`; here are the others, and that none is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, resolve
from rest_framework.permissions import IsAuthenticated

from api.arm import ArmView
from api.identity import TokenAuthentication
from api.urls import urlpatterns
from tests.api.conftest import Api, speak_as
from tests.api.test_access import PLACE, ROUTES, _methods, _words
from tests.factories import Cast, make_batch_endpoint
from workspaces import access, access_tokens, tokens
from workspaces.models import Role

OPEN = "open"
"""Takes no token: what it tells is for everybody, or it checks a secret by itself."""
OWN = "own"
"""For everybody with a token, about themselves or what they may see."""
SIGNED = "signed"
"""Files: a signed address or a token, as `test_blobs` and `test_oauth` try."""
REST = "rest"
"""What is not there."""
TABLE = "table"
"""Of a workspace, at another address than its resources."""
# Method, address, and what the owner, the reader and the stranger are answered. {ws} is the workspace.
ANSWERS = [
    ("GET", "{ws}/operations/nonsense", 404, 404, 403),
    ("GET", "/batch/nightly/jobs", 200, 200, 403),
    ("POST", "/batch/nightly/jobs", 400, 403, 403),
    ("GET", "/batch/nightly/jobs/j", 404, 404, 403),
    ("GET", "/history/v1.0{ws}/runs/j", 404, 404, 403),
    ("GET", "/history/v1.0{ws}/runs/j/details", 404, 404, 403),
    ("GET", "/history/v1.0{ws}/runs/j/children", 404, 404, 403),
    ("POST", "/history/v1.0{ws}/rundata", 404, 404, 403),
]

OTHERS = {
    "cloud-metadata": OPEN,
    "identity-token": OPEN,
    "instance-discovery": OPEN,
    "adfs-configuration": OPEN,
    "openid-configuration": OPEN,
    "signing-keys": OPEN,
    "oauth-token": OPEN,
    "tokens": OWN,
    "token": OWN,
    "arm-subscriptions": OWN,
    "arm-workspaces-of-subscription": OWN,
    "arm-workspaces": OWN,
    "arm-vm-sizes": OWN,
    "arm-usages": OWN,
    "arm-quotas": OWN,
    "arm-update-quotas": OWN,
    "discovery": OPEN,
    "schema": OPEN,
    "arm-operation": TABLE,
    "batch-jobs": TABLE,
    "batch-job": TABLE,
    "run": TABLE,
    "run-details": TABLE,
    "run-children": TABLE,
    "run-data": TABLE,
    "blobs": SIGNED,
    "blobs-unsupported": REST,
    "arm-unsupported": REST,
}
TOKEN = re.compile(r"eyJ\w{20}|ptcs?_[\w-]{20}")
VALUES = {
    "tenant": "portico",
    "token": "0",
    "subscription": "00000000-0000-0000-0000-000000000001",
    "resource_group": "portico",
    "location": "local",
}


def patterns(kind: str) -> Iterator[tuple[URLPattern, str]]:
    """The routes of a kind, each with an address."""
    for pattern in urlpatterns:
        if OTHERS.get(str(pattern.name)) == kind:
            address = _words(pattern)
            for name, value in VALUES.items():
                address = address.replace(f"{{{name}}}", value)
            assert "{" not in address, address
            yield pattern, f"/{address}"


def test_every_route_stands_in_a_table() -> None:
    tried = {str(resolve(route.address(PLACE)).url_name) for route in ROUTES}
    offered = {str(pattern.name) for pattern in urlpatterns}
    assert offered - tried - set(OTHERS) == set(), "nobody says who may use these"
    assert set(OTHERS) - offered == set(), "these are gone"


def test_every_view_of_a_workspace_names_a_right_that_some_role_has() -> None:
    """A right that nobody spelled like this before would be the owner's alone by accident."""
    for pattern in urlpatterns:
        view: Any = getattr(pattern.callback, "cls", None)
        if view is None or not issubclass(view, ArmView) or pattern.name == "arm-unsupported":
            continue
        instance = view(**pattern.callback.initkwargs)  # type: ignore[attr-defined]
        for method in _methods(pattern):
            action = instance.action_of(method)
            assert action, (pattern.name, method)
            ending = action.rpartition("/")[2]
            assert ending in {"read", "write", "delete", "action"}, (pattern.name, action)
            assert access.role_may(Role.OWNER, action)
            is_read = ending == "read"
            assert access.role_may(Role.READER, action) is is_read, (pattern.name, action)


def test_only_the_open_routes_do_without_the_usual_guards() -> None:
    for pattern in urlpatterns:
        view: Any = getattr(pattern.callback, "cls", None)
        if view is None or OTHERS.get(str(pattern.name)) == OPEN:
            continue
        assert view.authentication_classes == [TokenAuthentication], pattern.name
        assert view.permission_classes == [IsAuthenticated], pattern.name


def test_the_open_routes_give_nobody_a_token(cast: Cast) -> None:
    _, text = tokens.create_token(cast.alice, "laptop")
    for pattern, address in patterns(OPEN):
        for method in _methods(pattern):
            bearer = {"authorization": f"Bearer {text}"}
            for headers in ({}, bearer):
                answer = Client().generic(method, address, headers=headers)
                assert answer.status_code < 500, (method, address)
                found = TOKEN.search(answer.content.decode())
                assert found is None, (method, address, found)


def test_ones_own_routes_need_a_token_and_tell_nothing_of_others(cast: Cast) -> None:
    hers = speak_as(cast.alice, cast.workspace)
    his = speak_as(cast.charlie, cast.workspace)
    for pattern, address in patterns(OWN):
        for method in _methods(pattern):
            nobody = Client().generic(method, address)
            assert nobody.status_code == 401, (method, address)
            assert nobody["WWW-Authenticate"].startswith("Bearer")
            assert hers.ask(method, address).status < 500, (method, address)
            told = his.ask(method, address)
            assert told.status < 500, (method, address)
            assert cast.workspace.name not in told.text, (method, address)
            assert "alice" not in told.text, (method, address)


@pytest.mark.parametrize(("who", "column"), [("alice", 2), ("bob", 3), ("charlie", 4)])
def test_each_role_is_answered_as_the_table_says(cast: Cast, who: str, column: int) -> None:
    make_batch_endpoint(cast.workspace, "nightly")
    api = speak_as(getattr(cast, who), cast.workspace)
    for row in ANSWERS:
        method, address = row[0], row[1].format(ws=cast.workspace.arm_id)
        reply = api.ask(method, address, {} if method == "POST" else None)
        assert reply.status == row[column], (row, reply)
        if reply.status == 403:
            assert reply.error["code"] == "AuthorizationFailed"
        assert Client().generic(method, address).status_code == 401, row


def test_the_table_has_every_route_it_is_said_to_have() -> None:
    tried = {(row[0], resolve(row[1].format(ws=PLACE)).url_name) for row in ANSWERS}
    offered = {
        (method, pattern.name)
        for pattern in urlpatterns
        if OTHERS.get(str(pattern.name)) == TABLE
        for method in _methods(pattern)
    }
    assert tried == offered


def test_jobs_of_batch_endpoints_take_tokens_for_machine_learning(cast: Cast) -> None:
    make_batch_endpoint(cast.workspace, "nightly")
    token, _ = tokens.create_token(cast.alice, "laptop")
    api = Api(cast.workspace, access_tokens.issue(token, "https://ml.azure.com").text)
    front_end = f"/mferp/managementfrontend{cast.workspace.arm_id}"
    for address in ("/batch/nightly/jobs", f"{front_end}/batchEndpoints/nightly/jobs"):
        assert api.get(address).status == 200, address
    assert api.get("batchEndpoints/nightly").status == 401
