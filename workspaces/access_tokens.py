"""Short-lived access tokens: given for a personal token or a secret, signed by the installation's key.

Each names what it was given for, and is worth no more than that is at the moment it is used.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from django.conf import settings

from workspaces import access, federation, principals, tokens
from workspaces.models import (
    FederatedCredential,
    Limits,
    PersonalToken,
    PrincipalSecret,
    TokenScope,
    User,
)
from workspaces.signing import SigningKey, ensure_signing_key

ISSUER = "portico"
TENANT = "portico"
TYPE = "at+jwt"
"""In the header: tokens for a single endpoint are signed by the same key, and are not for the API."""
LIFETIME = timedelta(hours=1)
LONGEST_TEXT = 16_384
CLOCK_SKEW = timedelta(seconds=5)

Credential = PersonalToken | PrincipalSecret | FederatedCredential


@dataclass(frozen=True)
class AccessToken:
    text: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"AccessToken({self.expires_at:%H:%M:%S})"

    @property
    def seconds_left(self) -> int:
        return max(0, int((self.expires_at - datetime.now(UTC)).total_seconds()))


@dataclass(frozen=True)
class Presented:
    """Who presents an access token, and to whom it is addressed."""

    user: User
    audience: str


def issue(credential: Credential, audience: str, *, for_scoring: bool = False) -> AccessToken:
    """A token addressed to `audience`, for one hour at most.

    With `for_scoring` it also names the workspaces whose models its user may call, for the gateway, which asks
    nobody.
    """
    user = user_of(credential)
    now = datetime.now(UTC).replace(microsecond=0)
    expires_at = min(now + LIFETIME, credential.expires_at or now + LIFETIME)
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "aud": audience,
        "iat": int(now.timestamp()),
        "nbf": int(now.timestamp()),
        "exp": int(expires_at.timestamp()),
        "tid": TENANT,
        "ver": "1.0",
        "sub": object_id(user),
        "oid": object_id(user),
        "unique_name": user.get_username(),
        "uti": uuid.uuid4().hex,
        "cred": _name_of(credential),
        **_kind_of(credential),
    }
    if for_scoring:
        claims["score"] = access.workspaces_to_score(user)
    key = _key()
    text = jwt.encode(
        claims, key.private_pem, algorithm="ES256", headers={"kid": key.id, "typ": TYPE}
    )
    return AccessToken(text, expires_at)


def present(text: str) -> Presented | None:
    """Who comes with the token; None unless it is ours, has not expired, and what it was given for still holds."""
    claims = _claims(text)
    if claims is None:
        return None
    credential = _find(str(claims["cred"]))
    if credential is None:
        return None
    user = user_of(credential)
    if claims.get("oid") != object_id(user):
        return None
    return Presented(user, claims["aud"])


def looks_like_one(text: str) -> bool:
    """Whether it has the three parts of a signed token."""
    return text.count(".") == 2


def user_of(credential: Credential) -> User:
    """Whose it is, with what it leaves of the user's rights."""
    if isinstance(credential, PersonalToken):
        return tokens.limited_user(credential)
    user = credential.principal.user
    user.limits = Limits(TokenScope.FULL, expires_at=credential.expires_at)
    return user


def object_id(user: User) -> str:
    """Azure's `oid`: the same for ever, and another one in another installation."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"portico:{settings.INSTALLATION}:{user.pk}"))


def jwks() -> str:
    """The public half of the key, for whoever wants to check tokens."""
    return _key().jwks


def _claims(text: str) -> dict[str, Any] | None:
    if len(text) > LONGEST_TEXT:
        return None
    try:
        if jwt.get_unverified_header(text).get("typ") != TYPE:
            return None
        claims: dict[str, Any] = jwt.decode(
            text,
            _key().public_key,
            algorithms=["ES256"],
            issuer=ISSUER,
            leeway=CLOCK_SKEW,
            # To whom it must be addressed depends on the door, which compares `aud` itself.
            options={"require": ["exp", "iat", "aud", "oid", "cred"], "verify_aud": False},
        )
    except (jwt.PyJWTError, ValueError):
        return None
    return claims if isinstance(claims["aud"], str) else None


def _find(name: str) -> Credential | None:
    kind, _, number = name.partition(".")
    if not (number.isascii() and number.isdecimal() and len(number) < 19):
        return None
    if kind == "pat":
        return tokens.find_token_by_id(int(number))
    if kind == "secret":
        return principals.find_secret_by_id(int(number))
    if kind == "federated":
        return federation.find_federated_by_id(int(number))
    return None


def _name_of(credential: Credential) -> str:
    if isinstance(credential, PersonalToken):
        return f"pat.{credential.pk}"
    kind = "secret" if isinstance(credential, PrincipalSecret) else "federated"
    return f"{kind}.{credential.pk}"


def _kind_of(credential: Credential) -> dict[str, str]:
    if isinstance(credential, PersonalToken):
        return {"idtyp": "user", "scp": credential.scope}
    client_id = str(credential.principal.client_id)
    return {"idtyp": "app", "appid": client_id, "azp": client_id}


def _key() -> SigningKey:
    return ensure_signing_key(settings.SECRETS_DIR)
