"""Workload identities over the wire: an assertion for an access token, and the addresses to set them up."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from django.core.cache import cache
from django.test import Client
from pytest_django import Settings

from tests.api.conftest import Api
from tests.factories import Cast
from tests.workspaces.test_federation import ISSUER, KEYS, SUBJECT, assertion
from workspaces import principals
from workspaces.models import Role, ServicePrincipal

FIELDS = {"name": "cluster", "issuer": ISSUER, "subject": SUBJECT, "keys": KEYS}


@pytest.fixture(autouse=True)
def own_key(settings: Settings, tmp_path: Path) -> None:
    settings.SECRETS_DIR = tmp_path / "secrets"
    cache.clear()


@pytest.fixture
def nightly(cast: Cast) -> ServicePrincipal:
    return principals.create_principal(cast.workspace, "nightly", Role.READER, by=cast.alice)


def sign_in(client: object, text: str) -> Any:
    form = {
        "client_id": str(client),
        "client_assertion": text,
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "grant_type": "client_credentials",
        "scope": "https://management.azure.com/.default",
    }
    kind = "application/x-www-form-urlencoded"
    return Client().post("/portico/oauth2/v2.0/token", urlencode(form), kind, secure=True)


def test_an_owner_names_an_issuer_and_its_tokens_sign_in(
    alice: Api, cast: Cast, nightly: ServicePrincipal
) -> None:
    place = f"servicePrincipals/{nightly.client_id}/federatedCredentials"
    assert sign_in(nightly.client_id, assertion()).status_code == 401
    made = alice.post(place, FIELDS)
    assert made.status == 201, made
    assert made.json["audience"] == "api://AzureADTokenExchange"
    answer = sign_in(nightly.client_id, assertion())
    assert answer.status_code == 200, answer.content
    assert Api(cast.workspace, answer.json()["access_token"]).get().status == 200
    [row] = alice.get(place).json["value"]
    assert row["lastUsedAt"]
    assert alice.delete(f"{place}/{row['id']}").status == 200
    assert alice.delete(f"{place}/{row['id']}").status == 204
    assert Api(cast.workspace, answer.json()["access_token"]).get().status == 401
    refused = sign_in(nightly.client_id, assertion())
    assert refused.json()["error_description"].startswith("AADSTS700213")


@pytest.mark.parametrize(
    ("change", "target"),
    [
        ({"keys": "x"}, "keys"),
        ({"keys": {"keys": "x"}}, "keys"),
        ({"issuer": 5}, "issuer"),
        ({"issuer": "http://x"}, "issuer"),
        ({"name": ""}, "name"),
    ],
)
def test_what_is_wrong_is_named(
    alice: Api, nightly: ServicePrincipal, change: dict[str, Any], target: str
) -> None:
    place = f"servicePrincipals/{nightly.client_id}/federatedCredentials"
    reply = alice.post(place, {**FIELDS, **change})
    assert (reply.status, reply.error["target"]) == (400, target)
    assert not nightly.federated_credentials.exists()
