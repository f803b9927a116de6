"""Keys and tokens that clients of models present to the gateway."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import jwt
from django.conf import settings
from django.db import transaction

from endpoints.gateway import publish
from endpoints.models import OnlineEndpoint
from workspaces import vault
from workspaces.access_tokens import ISSUER
from workspaces.activity import record
from workspaces.errors import UserError
from workspaces.models import User
from workspaces.signing import ensure_signing_key

KeyType = Literal["primary", "secondary"]
TOKEN_LIFETIME = timedelta(hours=1)
SHORTEST_KEY = 16


@dataclass(frozen=True)
class Keys:
    primary: str
    secondary: str


@dataclass(frozen=True)
class EndpointToken:
    access_token: str
    expires_at: datetime
    refresh_after: datetime


def make_key() -> str:
    """A fresh key: 32 letters and digits, as Azure's keys look."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    return "".join(secrets.choice(alphabet) for _ in range(32))


def list_keys(endpoint: OnlineEndpoint, *, by: User | None) -> Keys:
    """Both keys in plain text; that somebody looked is recorded."""
    _require_key_mode(endpoint)
    record(endpoint.workspace, "list keys", endpoint, by=by, endpoint_name=endpoint.name)
    return keys_of(endpoint)


def keys_of(endpoint: OnlineEndpoint) -> Keys:
    """Both keys, for the gateway; nothing is recorded."""
    return Keys(
        vault.unseal(endpoint.primary_key_sealed), vault.unseal(endpoint.secondary_key_sealed)
    )


@transaction.atomic
def regenerate_key(
    endpoint: OnlineEndpoint, key_type: str, *, by: User | None, value: str = ""
) -> Keys:
    """Replace one key at once; clients with the old one get 401 from the next request on.

    `value` sets a key of the caller's choice (at least 16 visible characters, unlike the other one).
    """
    wanted = key_type.lower()
    if wanted not in {"primary", "secondary"}:
        raise UserError(
            f"The key type '{key_type}' is not known. Use primary or secondary.", target="key_type"
        )
    locked = OnlineEndpoint.objects.select_for_update().get(pk=endpoint.pk)
    _require_key_mode(locked)
    current = keys_of(locked)
    other = current.secondary if wanted == "primary" else current.primary
    key = _chosen(value, other) if value else make_key()
    setattr(locked, f"{wanted}_key_sealed", vault.seal(key))
    locked.save(update_fields=[f"{wanted}_key_sealed"])
    publish.touch(locked)
    record(locked.workspace, f"regenerate {wanted} key", locked, by=by, endpoint_name=locked.name)
    return keys_of(locked)


def issue_token(endpoint: OnlineEndpoint, *, by: User | None) -> EndpointToken:
    """A token that opens this endpoint alone for one hour (auth mode `aml_token`)."""
    if endpoint.auth_mode != OnlineEndpoint.AuthMode.AML_TOKEN:
        raise UserError(
            f"Endpoint '{endpoint.name}' does not use tokens for authentication. Its keys are what clients send.",
            target="auth_mode",
        )
    now = datetime.now(UTC)
    expires_at = now + TOKEN_LIFETIME
    claims = {
        "iss": ISSUER,
        "sub": by.get_username() if by else "portico",
        "endpoint": endpoint.name.lower(),
        "iat": int(now.timestamp()),
        "exp": int(expires_at.timestamp()),
    }
    key = ensure_signing_key(settings.SECRETS_DIR)
    text = jwt.encode(claims, key.private_pem, algorithm="ES256", headers={"kid": key.id})
    return EndpointToken(text, expires_at, now + TOKEN_LIFETIME / 2)


def _chosen(value: str, other: str) -> str:
    if len(value) < SHORTEST_KEY or not value.isascii() or not value.isprintable() or " " in value:
        raise UserError(
            f"A key must have at least {SHORTEST_KEY} visible ASCII characters and no blanks.",
            target="key_value",
        )
    # Envoy refuses an endpoint whose two keys are equal.
    if secrets.compare_digest(value, other):
        raise UserError("The primary and the secondary key must differ.", target="key_value")
    return value


def _require_key_mode(endpoint: OnlineEndpoint) -> None:
    if endpoint.auth_mode != OnlineEndpoint.AuthMode.KEY:
        raise UserError(
            f"Endpoint '{endpoint.name}' does not use keys for authentication.", target="auth_mode"
        )
