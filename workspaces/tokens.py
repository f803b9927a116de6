"""Personal access tokens and one-time sign-in links; only hashes are kept."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.utils import timezone

from workspaces import lifetimes
from workspaces.errors import Conflict, Forbidden, NotFound, UserError
from workspaces.models import Limits, PersonalToken, SignInLink, TokenScope, User, Workspace

PREFIX = "ptc_"
LONGEST_NAME = 100
MOST_TOKENS = 100
NOTED_EVERY = timedelta(minutes=1)


def create_token(
    user: User,
    name: str,
    *,
    scope: str = TokenScope.FULL,
    workspace: Workspace | None = None,
    lifetime: timedelta | None = None,
) -> tuple[PersonalToken, str]:
    """Make a token; its text is returned this once and cannot be read again.

    None as `lifetime` is the usual one. Who comes with a token needs an unlimited one, and gets none that ends
    later than that.
    """
    _require_unlimited(user)
    if user.is_program:
        raise Forbidden(
            "A service principal has secrets, no personal access tokens. The owners of its workspace add them.",
            target="token",
        )
    _check_name(name)
    if scope not in TokenScope.values:
        raise UserError(
            f"The scope '{scope[:40]}' is not known. Use one of {', '.join(TokenScope.values)}.",
            target="scope",
        )
    ends = lifetimes.end_of(lifetime, target="lifetime")
    limit = user.limits.expires_at if user.limits else None
    if limit is not None and (ends is None or ends > limit):
        ends = limit
    if user.personal_tokens.count() >= MOST_TOKENS:
        raise Conflict(
            f"You have {MOST_TOKENS} tokens. Revoke those that nothing uses any more.",
            target="name",
        )
    text = PREFIX + secrets.token_urlsafe(32)
    try:
        with transaction.atomic():
            token = PersonalToken.objects.create(
                user=user,
                name=name.strip(),
                digest=digest(text),
                scope=scope,
                workspace=workspace,
                expires_at=ends,
            )
    except IntegrityError as error:
        if "personal_token_name" not in str(error):
            raise
        raise Conflict(
            f"You already have a token named '{name.strip()}'. Choose another name or revoke that one.",
            target="name",
        ) from error
    return token, text


def set_token(user: User, name: str, text: str) -> PersonalToken:
    """Make `text`, which an operator chose, the user's token `name`; replaces an older one of that name."""
    if len(text) < 16:
        raise UserError(
            f"The token '{name}' has {len(text)} characters. Give it at least 16.", target=name
        )
    whole = {"scope": TokenScope.FULL, "workspace": None, "expires_at": None}
    token, _ = PersonalToken.objects.update_or_create(
        user=user, name=name, defaults={"digest": digest(text), **whole}
    )
    return token


def revoke_token(user: User, pk: int) -> None:
    """End one of the user's tokens at once; a limited token may end itself alone."""
    if user.limits is None or user.limits.token_id != pk:
        _require_unlimited(user)
    deleted, _rows = user.personal_tokens.filter(pk=pk).delete()
    if not deleted:
        raise NotFound("You have no such token; perhaps it was revoked before.", target="id")


def find_token(text: str) -> PersonalToken | None:
    """The token, if it is usable now; notes the use at most once a minute."""
    # The digest is looked up by index: timing tells nothing about a token that is not known already.
    found = PersonalToken.objects.usable().select_related("user").filter(digest=digest(text))
    return _used(found.first())


def find_token_by_id(pk: int) -> PersonalToken | None:
    """The token behind a short-lived one, if it is still usable; notes the use as above."""
    return _used(PersonalToken.objects.usable().select_related("user").filter(pk=pk).first())


def user_of(text: str) -> User | None:
    """Whose token this is, with what the token leaves of the user's rights, if it is usable now."""
    token = find_token(text)
    return limited_user(token) if token else None


def limited_user(token: PersonalToken) -> User:
    """The token's user, who may no more than the token."""
    user = token.user
    user.limits = Limits(token.scope, token.workspace_id, token.pk, token.expires_at)
    return user


def create_sign_in_link(user: User) -> str:
    """The secret part of a link that signs `user` in once; earlier unused links of the user end."""
    user.sign_in_links.filter(used_at__isnull=True).delete()
    text = secrets.token_urlsafe(24)
    SignInLink.objects.create(user=user, digest=digest(text))
    return text


def use_sign_in_link(text: str) -> User | None:
    """The user to sign in, once; None for a link that is unknown or was used."""
    links = SignInLink.objects.filter(
        digest=digest(text), used_at__isnull=True, user__is_active=True
    )
    if not links.update(used_at=timezone.now()):
        return None
    return User.objects.get(sign_in_links__digest=digest(text))


def is_open(text: str) -> bool:
    """Whether the link is still to be used (the page asks before it signs in, since previews fetch links)."""
    return SignInLink.objects.filter(digest=digest(text), used_at__isnull=True).exists()


def is_stale(noted_at: datetime | None) -> bool:
    """Whether a use is to be noted again: writing each one would make a write of every read."""
    return noted_at is None or timezone.now() - noted_at > NOTED_EVERY


def digest(text: str) -> str:
    """What is kept of a random text of ours: SHA-256 alone, since there is nothing in it to guess."""
    return hashlib.sha256(text.encode()).hexdigest()


def _used(token: PersonalToken | None) -> PersonalToken | None:
    if token is not None and is_stale(token.last_used_at):
        PersonalToken.objects.filter(pk=token.pk).update(last_used_at=timezone.now())
    return token


def _check_name(name: str) -> None:
    if not name.strip():
        raise UserError("The token needs a name, for example 'laptop'.", target="name")
    if len(name) > LONGEST_NAME:
        raise UserError(
            f"The token's name has {len(name)} characters. Give it at most {LONGEST_NAME}.",
            target="name",
        )


def _require_unlimited(user: User) -> None:
    if user.limits is not None and not user.limits.are_none:
        raise Forbidden(
            "This access token is limited, so it cannot make or revoke others. Use one with full access to all "
            "workspaces, or the Account page of the studio.",
            target="token",
        )
