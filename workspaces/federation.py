"""Programs that prove who they are by a token of a foreign issuer, such as a Kubernetes cluster or a CI service.

The issuer's public keys are kept here, given by an owner: nothing is fetched when somebody presents a token.
"""

from __future__ import annotations

import uuid
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from workspaces.activity import record
from workspaces.errors import Conflict, NotFound, UserError
from workspaces.models import FederatedCredential, ServicePrincipal, User
from workspaces.tokens import is_stale

USUAL_AUDIENCE = "api://AzureADTokenExchange"
"""What issuers put into `aud` for Azure's workload identities."""
MOST_CREDENTIALS = 10
MOST_KEYS = 20
SMALLEST_RSA_BITS = 2048
LONGEST_ASSERTION = 8192
RSA_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
CLOCK_SKEW_SECONDS = 30


@transaction.atomic
def add_federated(
    principal: ServicePrincipal,
    name: str,
    *,
    issuer: str,
    subject: str,
    keys: object,
    audience: str = "",
    by: User | None,
) -> FederatedCredential:
    """Let whoever has a token of `issuer` for exactly `subject` sign in as the principal.

    `keys` is the issuer's JSON Web Key Set: public keys for RSA (2048 bits or more) or elliptic curves.
    """
    fields = {"name": name.strip(), "issuer": issuer.strip(), "subject": subject.strip()}
    for field, value in fields.items():
        longest = 100 if field == "name" else 500
        if not value or len(value) > longest or not value.isprintable():
            raise UserError(f"{field} must be a text of 1 to {longest} characters.", target=field)
    if not fields["issuer"].startswith("https://"):
        raise UserError(
            f"issuer is '{issuer[:100]}'. It must be the address in the tokens' 'iss', which begins with https://.",
            target="issuer",
        )
    audience = audience.strip() or USUAL_AUDIENCE
    if len(audience) > 200 or not audience.isprintable():
        raise UserError("audience must be a text of at most 200 characters.", target="audience")
    checked = {"keys": [_public(item) for item in _items(keys)]}
    ServicePrincipal.objects.select_for_update().get(pk=principal.pk)
    if principal.federated_credentials.count() >= MOST_CREDENTIALS:
        raise Conflict(
            f"'{principal}' has {MOST_CREDENTIALS} federated credentials. Remove one first.",
            target="name",
        )
    try:
        with transaction.atomic():
            made = principal.federated_credentials.create(
                **fields, audience=audience, keys=checked
            )
    except IntegrityError as error:
        raise Conflict(
            f"'{principal}' has a federated credential named '{fields['name']}' already.",
            target="name",
        ) from error
    record(
        principal.workspace,
        "add federated credential",
        principal,
        by=by,
        after={"issuer": made.issuer, "subject": made.subject, "audience": audience},
    )
    return made


@transaction.atomic
def remove_federated(principal: ServicePrincipal, pk: int, *, by: User | None) -> None:
    """Believe the issuer no longer; access tokens that were given on its word end at once."""
    found = principal.federated_credentials.filter(pk=pk).first()
    if found is None:
        raise NotFound(f"'{principal}' has no such federated credential.", target="id")
    record(
        principal.workspace,
        "remove federated credential",
        principal,
        by=by,
        before={"issuer": found.issuer, "subject": found.subject, "audience": found.audience},
    )
    found.delete()


def find_federated(client_id: str, assertion: str) -> FederatedCredential | None:
    """The credential by which this token of a foreign issuer signs the client in, if there is one."""
    try:
        client = uuid.UUID(client_id)
        if len(assertion) > LONGEST_ASSERTION:
            return None
        header = jwt.get_unverified_header(assertion)
    except (ValueError, jwt.PyJWTError):
        return None
    for row in _usable().filter(principal__client_id=client):
        if _proves(row, assertion, str(header.get("kid", ""))):
            return _used(row)
    return None


def find_federated_by_id(pk: int) -> FederatedCredential | None:
    """The credential behind an access token, if it is still there; notes the use."""
    found = _usable().filter(pk=pk).first()
    return _used(found) if found else None


def _proves(row: FederatedCredential, assertion: str, key_id: str) -> bool:
    for item in row.keys["keys"]:
        if key_id and item.get("kid", key_id) != key_id:
            continue
        key = jwt.PyJWK(item, _algorithms(item)[0]).key
        try:
            claims = jwt.decode(
                assertion,
                key,
                # Of the key's own kind alone: what the token says of itself is not believed.
                algorithms=_algorithms(item),
                issuer=row.issuer,
                audience=row.audience,
                leeway=CLOCK_SKEW_SECONDS,
                options={"require": ["exp", "iss", "sub", "aud"]},
            )
        except (jwt.PyJWTError, ValueError):
            continue
        return bool(claims["sub"] == row.subject)
    return False


def _items(keys: object) -> list[dict[str, Any]]:
    items = keys.get("keys") if isinstance(keys, dict) else None
    if not isinstance(items, list) or not 0 < len(items) <= MOST_KEYS:
        raise _not_keys(f"an object whose 'keys' are a list of 1 to {MOST_KEYS} keys")
    if not all(isinstance(item, dict) for item in items):
        raise _not_keys("an object whose 'keys' are a list of objects")
    return items


def _public(item: dict[str, Any]) -> dict[str, str]:
    """The key without anything that is not needed; refused when it is private, symmetric, weak or broken."""
    if item.get("kty") not in {"RSA", "EC"}:
        raise _not_keys("made of keys whose 'kty' is RSA or EC")
    if "d" in item:
        raise _not_keys("made of public keys: one of these is private, so do not use it any more")
    names = ("kty", "kid", "n", "e", "crv", "x", "y")
    found = {name: str(item[name]) for name in names if item.get(name) is not None}
    try:
        _algorithms(found)
    except (jwt.PyJWTError, ValueError, KeyError) as error:
        raise _not_keys(f"made of whole keys; one cannot be read: {error}") from error
    return found


def _algorithms(item: dict[str, Any]) -> list[str]:
    """The algorithms that may be checked with the key."""
    if item["kty"] == "RSA":
        key = jwt.PyJWK(item, "RS256").key
        if not isinstance(key, rsa.RSAPublicKey) or key.key_size < SMALLEST_RSA_BITS:
            raise ValueError(f"an RSA key must have {SMALLEST_RSA_BITS} bits or more")
        return list(RSA_ALGORITHMS)
    curve = CURVES.get(item.get("crv", ""))
    if curve is None:
        raise ValueError("the curve must be P-256, P-384 or P-521")
    key = jwt.PyJWK(item, curve).key
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("it is no public key")
    return [curve]


def _not_keys(wanted: str) -> UserError:
    return UserError(
        f"keys must be {wanted}. Give the issuer's JSON Web Key Set, as it stands at the 'jwks_uri' of its "
        "configuration.",
        target="keys",
    )


def _usable() -> QuerySet[FederatedCredential]:
    rows = FederatedCredential.objects.filter(principal__user__is_active=True)
    return rows.select_related("principal__user")


def _used(row: FederatedCredential) -> FederatedCredential:
    if is_stale(row.last_used_at):
        FederatedCredential.objects.filter(pk=row.pk).update(last_used_at=timezone.now())
    return row
