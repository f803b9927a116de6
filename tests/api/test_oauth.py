"""Access tokens by client credentials and by managed identity: who gets one, for what, and where it opens."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
from django.core.cache import cache
from django.test import Client
from pytest_django import Settings

from api import throttle
from api.audiences import Audience, audience_of
from tests.api.conftest import Api
from tests.factories import Cast, make_workspace
from workspaces import access_tokens, principals, tokens
from workspaces.models import PrincipalSecret, Role, ServicePrincipal, TokenScope

MANAGEMENT = "https://management.azure.com"
FORM = "application/x-www-form-urlencoded"
TOKEN = "/adfs/oauth2/v2.0/token"


@pytest.fixture(autouse=True)
def own_key(settings: Settings, tmp_path: Path) -> Iterator[None]:
    settings.SECRETS_DIR = tmp_path / "secrets"
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def ci(cast: Cast) -> ServicePrincipal:
    return principals.create_principal(cast.workspace, "ci", Role.DATA_SCIENTIST, by=cast.alice)


@pytest.fixture
def secret(ci: ServicePrincipal, cast: Cast) -> str:
    return principals.add_secret(ci, by=cast.alice)[1]


def ask(
    client: object,
    secret: str,
    *,
    scope: str = f"{MANAGEMENT}/.default",
    address: str = "10.0.0.1",
    path: str = TOKEN,
    **fields: str,
) -> Any:
    form = {
        "client_id": str(client),
        "client_secret": secret,
        "grant_type": "client_credentials",
        "scope": scope,
        **fields,
    }
    sent = urlencode({name: value for name, value in form.items() if value})
    return send(sent, address=address, path=path)


def send(body: str | bytes, *, address: str = "10.0.0.1", path: str = TOKEN, **more: Any) -> Any:
    headers = {"x-envoy-external-address": address, **more}
    return Client().post(path, body, content_type=FORM, secure=True, headers=headers)


def access_token(client: object, secret: str, **more: Any) -> str:
    answer = ask(client, secret, **more)
    assert answer.status_code == 200, answer.content
    return str(answer.json()["access_token"])


# Client credentials ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("tenant", ["adfs", "portico", "00000000-0000-0000-0000-000000000001"])
def test_a_service_principal_gets_a_token_that_opens_the_api_with_its_role(
    cast: Cast, ci: ServicePrincipal, secret: str, tenant: str
) -> None:
    answer = ask(ci.client_id, secret, path=f"/{tenant}/oauth2/v2.0/token")
    assert answer.status_code == 200, answer.content
    assert "no-store" in answer["Cache-Control"]
    told = answer.json()
    assert told["token_type"] == "Bearer" and 3590 <= told["expires_in"] <= 3600
    api = Api(cast.workspace, told["access_token"])
    assert api.get("onlineEndpoints").status == 200
    made = api.put("onlineEndpoints/churn", {})
    assert made.status == 201
    assert made.json["systemData"]["createdBy"] == "app:ci@" + cast.workspace.name
    refused = api.post("servicePrincipals", {"name": "mine"})
    assert refused.status == 403


def test_the_audience_is_the_resource_as_it_was_asked_for(
    ci: ServicePrincipal, secret: str
) -> None:
    for resource in (MANAGEMENT, "https://ml.azure.com", "https://testserver", f"{MANAGEMENT}/"):
        text = access_token(ci.client_id, secret, scope=f"{resource}/.default")
        assert jwt.decode(text, options={"verify_signature": False})["aud"] == resource


def test_client_and_secret_may_stand_in_the_header(ci: ServicePrincipal, secret: str) -> None:
    form = urlencode({"grant_type": "client_credentials", "scope": f"{MANAGEMENT}/.default"})
    word = base64.b64encode(f"{ci.client_id}:{secret}".encode()).decode()
    assert send(form, authorization=f"Basic {word}").status_code == 200
    assert send(form, authorization="Basic !").json()["error"] == "invalid_client"


def test_the_first_version_names_a_resource(ci: ServicePrincipal, secret: str) -> None:
    assert ask(ci.client_id, secret, scope="", resource=MANAGEMENT).status_code == 200


@pytest.mark.parametrize(
    ("fields", "status", "error"),
    [
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": ""}, 400, "invalid_request"),
        ({"scope": ""}, 400, "invalid_scope"),
        ({"scope": "openid profile"}, 400, "invalid_scope"),
        ({"scope": "https://evil.example.com/.default"}, 400, "invalid_resource"),
        ({"scope": "http://testserver/.default"}, 400, "invalid_resource"),
        ({"client_id": ""}, 400, "invalid_request"),
        ({"client_secret": ""}, 400, "invalid_request"),
        ({"client_secret": "ptcs_wrong"}, 401, "invalid_client"),
        ({"client_id": "00000000-0000-0000-0000-000000000000"}, 401, "invalid_client"),
        ({"client_id": "nobody"}, 401, "invalid_client"),
        ({"client_secret": "x" * 9000}, 400, "invalid_request"),
        ({"client_secret": "a\x00b"}, 400, "invalid_request"),
    ],
    ids=str,
)
def test_what_is_wrong_is_told_as_oauth_tells_it(
    ci: ServicePrincipal, secret: str, fields: dict[str, str], status: int, error: str
) -> None:
    form = {"client_id": str(ci.client_id), "client_secret": secret, **fields}
    client, given = form.pop("client_id"), form.pop("client_secret")
    answer = ask(client, given, **form)
    assert (answer.status_code, answer.json()["error"]) == (status, error), answer.content
    assert answer.json()["error_description"].startswith("AADSTS")
    assert secret not in answer.content.decode()


def test_an_unknown_client_is_told_the_same_as_a_wrong_secret(ci: ServicePrincipal) -> None:
    known, unknown = (ask(client, "ptcs_wrong").json() for client in (ci.client_id, "nobody"))
    assert known["error_description"] == unknown["error_description"]


@pytest.mark.parametrize("body", [b"\xff\xfe", b"a=%ff", b"&" * 20_000, b"{}", b""])
def test_forms_that_cannot_be_read_are_the_callers_fault(db: None, body: bytes) -> None:
    answer = send(body)
    assert answer.status_code == 400, answer.content
    assert answer.json()["error"] == "invalid_request"


def test_a_personal_token_is_no_client_secret(cast: Cast, ci: ServicePrincipal) -> None:
    _, text = tokens.create_token(cast.alice, "laptop")
    assert ask(ci.client_id, text).status_code == 401
    assert ask("alice", text).status_code == 401


def test_a_removed_secret_ends_what_it_got(cast: Cast, ci: ServicePrincipal, secret: str) -> None:
    api = Api(cast.workspace, access_token(ci.client_id, secret))
    assert api.get().status == 200
    principals.remove_secret(ci, PrincipalSecret.objects.get().pk, by=cast.alice)
    assert api.get().status == 401
    assert ask(ci.client_id, secret).status_code == 401


# Guessing -------------------------------------------------------------------------------------------------


def test_who_guesses_must_wait_and_nobody_else(
    cast: Cast, ci: ServicePrincipal, secret: str
) -> None:
    other = principals.create_principal(cast.workspace, "other", Role.READER, by=cast.alice)
    _, others = principals.add_secret(other, by=cast.alice)
    answers = [ask(ci.client_id, f"ptcs_{n}") for n in range(throttle.MOST_FAILURES + 2)]
    assert answers[0].status_code == 401
    assert answers[-1].status_code == 429
    assert answers[-1]["Retry-After"] == "60"
    assert ask(ci.client_id, secret).status_code == 429
    assert ask(ci.client_id, secret, address="10.0.0.2").status_code == 200
    assert ask(other.client_id, others).status_code == 200
    cache.clear()  # as time does
    assert ask(ci.client_id, secret).status_code == 200


def test_an_address_that_tries_many_clients_is_slowed_and_right_secrets_still_work(
    ci: ServicePrincipal, secret: str
) -> None:
    tried = [ask(f"client-{n}", "x") for n in range(throttle.MOST_FAILURES_OF_ADDRESS + 1)]
    assert {answer.status_code for answer in tried[:-1]} == {401}
    assert tried[-1].status_code == 429
    assert ask(ci.client_id, secret).status_code == 200


def test_a_success_forgets_the_failures(ci: ServicePrincipal, secret: str) -> None:
    for _ in range(3):
        for number in range(throttle.MOST_FAILURES - 1):
            assert ask(ci.client_id, f"ptcs_{number}").status_code == 401
        assert ask(ci.client_id, secret).status_code == 200


# Managed identity -----------------------------------------------------------------------------------------


def identity(version: str = "2019-08-01", *, resource: str = MANAGEMENT, **headers: str) -> Any:
    path = f"/identity/token?api-version={version}&resource={resource}"
    return Client().get(path, headers=headers, secure=True)


@pytest.mark.parametrize(
    ("version", "header"), [("2019-08-01", "X-IDENTITY-HEADER"), ("2017-09-01", "secret")]
)
def test_managed_identity_gives_an_access_token_for_a_personal_one(
    cast: Cast, version: str, header: str
) -> None:
    _, text = tokens.create_token(cast.alice, "laptop")
    answer = identity(version, **{header: text})
    assert answer.status_code == 200, answer.content
    told = answer.json()
    assert told["resource"] == MANAGEMENT and told["token_type"] == "Bearer"
    assert 600 <= int(told["expires_in"]) <= 3600
    assert text not in answer.content.decode()
    assert Api(cast.workspace, told["access_token"]).get().status == 200


def test_managed_identity_takes_a_client_and_its_secret_as_well(
    cast: Cast, ci: ServicePrincipal, secret: str
) -> None:
    answer = identity(**{"X-IDENTITY-HEADER": f"{ci.client_id}:{secret}"})
    assert Api(cast.workspace, answer.json()["access_token"]).get().status == 200
    wrong = identity(**{"X-IDENTITY-HEADER": f"{ci.client_id}:wrong"})
    assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_client")


def test_what_managed_identity_gives_is_limited_as_the_token_is(cast: Cast) -> None:
    other = make_workspace("other", owner=cast.alice)
    _, text = tokens.create_token(
        cast.alice, "nightly", scope=TokenScope.READ, workspace=cast.workspace
    )
    given = identity(**{"X-IDENTITY-HEADER": text}).json()["access_token"]
    assert Api(cast.workspace, given).get().status == 200
    assert Api(cast.workspace, given).put("onlineEndpoints/new", {}).status == 403
    assert Api(other, given).get().status == 403
    assert Api(cast.workspace, given).post("/api/tokens", {"name": "wider"}).status == 403
    assert not cast.workspace.online_endpoints.exists()


@pytest.mark.parametrize(
    ("headers", "resource", "status"),
    [
        ({}, MANAGEMENT, 401),
        ({"X-IDENTITY-HEADER": "ptc_wrong"}, MANAGEMENT, 401),
        ({"X-IDENTITY-HEADER": ":"}, MANAGEMENT, 401),
        ({"X-IDENTITY-HEADER": "\xff"}, MANAGEMENT, 401),
    ],
    ids=str,
)
def test_nobody_else_gets_one(
    db: None, headers: dict[str, str], resource: str, status: int
) -> None:
    answer = identity(resource=resource, **headers)
    assert answer.status_code == status, answer.content
    assert answer.json()["error"] == "invalid_client"


@pytest.mark.parametrize("resource", ["", "https://graph.microsoft.com", "nonsense"])
def test_a_resource_that_is_not_here_is_refused(cast: Cast, resource: str) -> None:
    _, text = tokens.create_token(cast.alice, "laptop")
    answer = identity(resource=resource, **{"X-IDENTITY-HEADER": text})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_resource")


# Audiences ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resource", "audience"),
    [
        ("https://management.azure.com", Audience.MANAGEMENT),
        ("https://management.azure.com/", Audience.MANAGEMENT),
        ("https://management.core.windows.net/", Audience.MANAGEMENT),
        ("https://testserver", Audience.MANAGEMENT),
        ("https://localhost:8443/", Audience.MANAGEMENT),
        ("https://[::1]:8443", Audience.MANAGEMENT),
        ("https://ml.azure.com", Audience.MACHINE_LEARNING),
        ("https://ml.azure.", Audience.MACHINE_LEARNING),
        ("https://storage.azure.com/", Audience.STORAGE),
        ("https://localhost:8443/other", None),
        ("https://user@localhost", None),
        ("http://localhost", None),
        ("https://localhost.evil.com", None),
        ("https://ml.azure.com.evil.com/x", None),
        ("https://[", None),
        ("", None),
    ],
)
def test_resources_have_their_doors(resource: str, audience: Audience | None) -> None:
    assert audience_of(resource) == audience


@pytest.mark.parametrize("resource", ["https://ml.azure.com", "https://storage.azure.com"])
def test_a_token_for_another_door_is_told_so_and_changes_nothing(
    cast: Cast, resource: str
) -> None:
    token, _ = tokens.create_token(cast.alice, "laptop")
    text = access_tokens.issue(token, resource).text
    reply = Api(cast.workspace, text).put("onlineEndpoints/new", {})
    assert (reply.status, reply.error["code"]) == (401, "InvalidAuthenticationTokenAudience")
    assert resource in reply.error["message"] and MANAGEMENT in reply.error["message"]
    assert reply.headers["WWW-Authenticate"].startswith("Bearer")
    assert not cast.workspace.online_endpoints.exists()
    assert Api(cast.workspace, text).post("/api/tokens", {"name": "more"}).status == 401


def test_files_want_the_audience_of_storage(cast: Cast) -> None:
    token, text = tokens.create_token(cast.alice, "laptop")
    place = f"/storage/{cast.workspace.name}.blob.core.windows.net/azureml/a.txt"

    def put(bearer: str) -> int:
        headers = {"authorization": f"Bearer {bearer}", "x-ms-blob-type": "BlockBlob"}
        answer = Client().put(place, b"a", content_type="text/plain", headers=headers)
        return int(answer.status_code)

    for_storage = access_tokens.issue(token, "https://storage.azure.com").text
    assert put(access_tokens.issue(token, MANAGEMENT).text) == 403
    assert put(for_storage) == 201
    assert put(text) == 201
    tokens.revoke_token(cast.alice, token.pk)
    assert put(for_storage) == 403


# Discovery ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "tenant"),
    [
        ("/adfs/.well-known/openid-configuration", "adfs"),
        ("/portico/v2.0/.well-known/openid-configuration", "portico"),
    ],
)
def test_clients_find_the_doors_under_the_name_they_used(path: str, tenant: str) -> None:
    told = Client().get(path, secure=True).json()
    base = f"https://testserver/{tenant}"
    assert told["token_endpoint"] == f"{base}/oauth2/v2.0/token"
    assert told["issuer"] == f"{base}/v2.0"
    assert told["jwks_uri"].startswith(base)


def test_the_public_keys_check_what_is_given_out(ci: ServicePrincipal, secret: str) -> None:
    text = access_token(ci.client_id, secret)
    keys = jwt.PyJWKSet.from_json(
        Client().get("/portico/discovery/v2.0/keys", secure=True).content.decode()
    )
    key = keys[jwt.get_unverified_header(text)["kid"]]
    assert jwt.decode(text, key, ["ES256"], audience=MANAGEMENT)["appid"] == str(ci.client_id)


def test_an_authority_says_that_it_is_one() -> None:
    told = Client().get("/common/discovery/instance?api-version=1.1", secure=True).json()
    assert told["tenant_discovery_endpoint"].startswith("https://testserver/")
    assert told["metadata"][0]["aliases"] == ["testserver"]
