"""Personal access tokens and one-time sign-in links; only hashes are kept."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta

from django.utils import timezone

from workspaces.errors import UserError
from workspaces.models import PersonalToken, SignInLink, User

PREFIX = "ptc_"
LONGEST_NAME = 100


def create_token(
    user: User, name: str, *, expires_at: datetime | None = None
) -> tuple[PersonalToken, str]:
    """Make a token; its text is returned this once and cannot be read again."""
    if not name.strip():
        raise UserError("The token needs a name, for example 'laptop'.", target="name")
    if len(name) > LONGEST_NAME:
        raise UserError(
            f"The token's name has {len(name)} characters. Give it at most {LONGEST_NAME}.",
            target="name",
        )
    if user.personal_tokens.filter(name=name).exists():
        raise UserError(
            f"You already have a token named '{name}'. Choose another name or revoke that one.",
            code="Conflict",
            target="name",
            status=409,
        )
    text = PREFIX + secrets.token_urlsafe(32)
    token = PersonalToken.objects.create(
        user=user, name=name.strip(), digest=_digest(text), expires_at=expires_at
    )
    return token, text


def set_token(user: User, name: str, text: str) -> PersonalToken:
    """Make `text`, which an operator chose, the user's token `name`; replaces an older one of that name."""
    if len(text) < 16:
        raise UserError(
            f"The token '{name}' has {len(text)} characters. Give it at least 16.", target=name
        )
    token, _ = PersonalToken.objects.update_or_create(
        user=user, name=name, defaults={"digest": _digest(text), "expires_at": None}
    )
    return token


def user_of(text: str) -> User | None:
    """Whose token this is, if it is usable now; notes the use at most once a minute."""
    # The digest is looked up by index: timing tells nothing about a token that is not known already.
    token = (
        PersonalToken.objects.usable().select_related("user").filter(digest=_digest(text)).first()
    )
    if token is None:
        return None
    now = timezone.now()
    if token.last_used_at is None or now - token.last_used_at > timedelta(minutes=1):
        PersonalToken.objects.filter(pk=token.pk).update(last_used_at=now)
    return token.user


def create_sign_in_link(user: User) -> str:
    """The secret part of a link that signs `user` in once; earlier unused links of the user end."""
    user.sign_in_links.filter(used_at__isnull=True).delete()
    text = secrets.token_urlsafe(24)
    SignInLink.objects.create(user=user, digest=_digest(text))
    return text


def use_sign_in_link(text: str) -> User | None:
    """The user to sign in, once; None for a link that is unknown or was used."""
    links = SignInLink.objects.filter(
        digest=_digest(text), used_at__isnull=True, user__is_active=True
    )
    if not links.update(used_at=timezone.now()):
        return None
    return User.objects.get(sign_in_links__digest=_digest(text))


def is_open(text: str) -> bool:
    """Whether the link is still to be used (the page asks before it signs in, since previews fetch links)."""
    return SignInLink.objects.filter(digest=_digest(text), used_at__isnull=True).exists()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
