"""Tokens of foreign issuers in place of secrets: only exactly the one that an owner named is believed."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.factories import Cast, make_cast
from workspaces import access_tokens, federation, principals
from workspaces.errors import Conflict, NotFound, UserError
from workspaces.models import FederatedCredential, Role, ServicePrincipal

pytestmark = pytest.mark.django_db

ISSUER, SUBJECT = "https://cluster.example.com", "system:serviceaccount:default:nightly"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CURVE_KEY = ec.generate_private_key(ec.SECP256R1())


def public(key: Any, kid: str) -> dict[str, Any]:
    algorithm = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid}


KEYS = {"keys": [public(RSA_KEY, "one"), public(CURVE_KEY, "two")]}


def assertion(
    key: Any = RSA_KEY, algorithm: str = "RS256", kid: str = "one", **changes: Any
) -> str:
    claims = {
        "iss": ISSUER,
        "sub": SUBJECT,
        "aud": federation.USUAL_AUDIENCE,
        "exp": int(time.time()) + 600,
        **changes,
    }
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key, algorithm, headers={"kid": kid} if kid else {})


@pytest.fixture
def cast() -> Cast:
    return make_cast()


@pytest.fixture
def nightly(cast: Cast) -> ServicePrincipal:
    return principals.create_principal(cast.workspace, "nightly", Role.READER, by=cast.alice)


@pytest.fixture
def trusted(cast: Cast, nightly: ServicePrincipal) -> FederatedCredential:
    return add(nightly, cast)


def add(principal: ServicePrincipal, cast: Cast, **changes: Any) -> FederatedCredential:
    fields = {"name": "cluster", "issuer": ISSUER, "subject": SUBJECT, "keys": KEYS, **changes}
    name = fields.pop("name")
    return federation.add_federated(principal, name, **fields, by=cast.alice)


def test_a_token_of_the_issuer_signs_the_program_in(
    nightly: ServicePrincipal, trusted: FederatedCredential
) -> None:
    client = str(nightly.client_id)
    for text in (
        assertion(),
        assertion(kid=""),
        assertion(aud=["other", federation.USUAL_AUDIENCE]),
        assertion(CURVE_KEY, "ES256", "two"),
    ):
        assert federation.find_federated(client, text) == trusted
    trusted.refresh_from_db()
    assert trusted.last_used_at is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://elsewhere.example.com"},
        {"iss": ISSUER + "/"},
        {"sub": "system:serviceaccount:default:other"},
        {"sub": SUBJECT.upper()},
        {"aud": "https://kubernetes.default.svc"},
        {"aud": None},
        {"exp": None},
        {"sub": None},
        {"exp": int(time.time()) - 60},
        {"nbf": int(time.time()) + 600},
        {"kid": "two"},
        {"kid": "nobody's"},
        {"key": rsa.generate_private_key(public_exponent=65537, key_size=2048)},
        {"key": ec.generate_private_key(ec.SECP256R1()), "algorithm": "ES256", "kid": "two"},
        {"key": "x" * 64, "algorithm": "HS256"},
        {"key": "", "algorithm": "none"},
    ],
    ids=lambda changes: ",".join(changes),
)
def test_anything_that_differs_is_not_believed(
    nightly: ServicePrincipal, trusted: FederatedCredential, changes: dict[str, Any]
) -> None:
    assert federation.find_federated(str(nightly.client_id), assertion(**changes)) is None


def test_a_public_key_is_no_shared_secret(
    nightly: ServicePrincipal, trusted: FederatedCredential
) -> None:
    """The old trick: sign by HMAC with the public key, which everybody has."""
    text = assertion("0" * 64, "HS256")
    assert federation.find_federated(str(nightly.client_id), text) is None


@pytest.mark.parametrize("text", ["", "a.b.c", "x" * 9000, "\x00", "..", "ptcs_x"])
def test_what_is_no_token_is_nothing(
    nightly: ServicePrincipal, trusted: FederatedCredential, text: str
) -> None:
    assert federation.find_federated(str(nightly.client_id), text) is None
    assert federation.find_federated("nonsense", assertion()) is None


def test_it_is_good_for_its_own_client_alone(
    cast: Cast, nightly: ServicePrincipal, trusted: FederatedCredential
) -> None:
    other = principals.create_principal(cast.workspace, "other", Role.OWNER, by=cast.alice)
    assert federation.find_federated(str(other.client_id), assertion()) is None


def test_an_access_token_ends_with_it(
    cast: Cast, nightly: ServicePrincipal, trusted: FederatedCredential
) -> None:
    text = access_tokens.issue(trusted, "https://management.azure.com").text
    found = access_tokens.present(text)
    assert found is not None and found.user == nightly.user
    federation.remove_federated(nightly, trusted.pk, by=cast.alice)
    assert access_tokens.present(text) is None
    assert federation.find_federated(str(nightly.client_id), assertion()) is None
    with pytest.raises(NotFound):
        federation.remove_federated(nightly, trusted.pk, by=cast.alice)


PRIVATE = json.loads(RSAAlgorithm.to_jwk(RSA_KEY))
WEAK = public(rsa.generate_private_key(public_exponent=65537, key_size=1024), "weak")


@pytest.mark.parametrize(
    ("changes", "target"),
    [
        ({"name": " "}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"issuer": ""}, "issuer"),
        ({"issuer": "http://plain.example.com"}, "issuer"),
        ({"issuer": "https://a\x00b"}, "issuer"),
        ({"subject": ""}, "subject"),
        ({"subject": "x" * 501}, "subject"),
        ({"audience": "x" * 201}, "audience"),
        ({"keys": {}}, "keys"),
        ({"keys": []}, "keys"),
        ({"keys": {"keys": []}}, "keys"),
        ({"keys": {"keys": ["x"]}}, "keys"),
        ({"keys": {"keys": [PRIVATE]}}, "keys"),
        ({"keys": {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}}, "keys"),
        ({"keys": {"keys": [WEAK]}}, "keys"),
        ({"keys": {"keys": [{"kty": "RSA", "n": "!", "e": "AQAB"}]}}, "keys"),
        ({"keys": {"keys": [{"kty": "EC", "crv": "secp256k1", "x": "a", "y": "b"}]}}, "keys"),
        ({"keys": {"keys": [KEYS["keys"][0]] * 21}}, "keys"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_trusted_is_refused(
    cast: Cast, nightly: ServicePrincipal, changes: dict[str, Any], target: str
) -> None:
    with pytest.raises(UserError) as caught:
        add(nightly, cast, **changes)
    assert caught.value.target == target
    assert not FederatedCredential.objects.exists()


def test_a_name_is_taken_once_and_their_number_is_bounded(
    cast: Cast, nightly: ServicePrincipal, trusted: FederatedCredential
) -> None:
    with pytest.raises(Conflict, match="already"):
        add(nightly, cast, name="Cluster")
    for number in range(federation.MOST_CREDENTIALS - 1):
        add(nightly, cast, name=f"more-{number}")
    with pytest.raises(Conflict, match="Remove one"):
        add(nightly, cast, name="one too many")
