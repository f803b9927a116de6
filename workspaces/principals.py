"""Service principals: programs with a client id, secrets and a role, made by the owners of a workspace."""

from __future__ import annotations

import re
import secrets
import uuid
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from workspaces import lifetimes, members
from workspaces.activity import record
from workspaces.errors import Conflict, NotFound, UserError
from workspaces.models import Membership, PrincipalSecret, ServicePrincipal, User, Workspace
from workspaces.tokens import digest, is_stale

PREFIX = "ptcs_"
MOST_SECRETS = 10
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")


@transaction.atomic
def create_principal(
    workspace: Workspace, name: str, role: str, *, by: User | None
) -> ServicePrincipal:
    """A program that may do in the workspace what `role` allows; it needs a secret to sign in."""
    check_name(workspace, name)
    # People's names cannot hold a colon, so no program can pass for a person.
    user = User(username=f"app:{name}@{workspace.name}".lower())
    user.set_unusable_password()
    try:
        with transaction.atomic():
            user.save()
            principal = ServicePrincipal.objects.create(
                user=user, workspace=workspace, name=name, created_by=by
            )
    except IntegrityError as error:
        raise _taken(workspace, name) from error
    members.add_member(workspace, user.username, role, by=by)
    return principal


def check_name(workspace: Workspace, name: str) -> None:
    """Raise unless a service principal of the workspace may be called so."""
    if not NAME.fullmatch(name):
        raise UserError(
            f"The name {name[:60]!r} cannot be used. Take 1 to 60 letters, digits, '.', '_' and '-', beginning with "
            "a letter or digit.",
            target="name",
        )
    if workspace.service_principals.filter(name__iexact=name).exists():
        raise _taken(workspace, name)


@transaction.atomic
def delete_principal(principal: ServicePrincipal, *, by: User | None) -> None:
    """End it and everything it signs in with, in all workspaces, at once; what it made and did stays on record."""
    user = principal.user
    for member in Membership.objects.filter(user=user).select_related("workspace", "user"):
        members.remove_member(member, by=by)
    principal.delete()
    user.is_active = False
    user.username = f"{user.username}#{user.pk}"  # the name is free again
    user.save(update_fields=["is_active", "username"])


@transaction.atomic
def add_secret(
    principal: ServicePrincipal,
    name: str = "",
    *,
    lifetime: timedelta | None = None,
    by: User | None,
) -> tuple[PrincipalSecret, str]:
    """Another secret; its text is returned this once and cannot be read again."""
    if len(name) > 100:
        raise UserError(
            f"The secret's name has {len(name)} characters. Give it at most 100.", target="name"
        )
    ends = lifetimes.end_of(lifetime, target="lifetime")
    ServicePrincipal.objects.select_for_update().get(pk=principal.pk)
    if principal.secrets.count() >= MOST_SECRETS:
        raise Conflict(
            f"'{principal}' has {MOST_SECRETS} secrets. Remove those that nothing uses any more.",
            target="secret",
        )
    text = PREFIX + secrets.token_urlsafe(32)
    secret = principal.secrets.create(name=name.strip(), digest=digest(text), expires_at=ends)
    record(principal.workspace, "add secret", principal, by=by, after={"secret": secret.pk})
    return secret, text


@transaction.atomic
def remove_secret(principal: ServicePrincipal, pk: int, *, by: User | None) -> None:
    """End a secret, and with it the access tokens that were given for it, at once."""
    deleted, _rows = principal.secrets.filter(pk=pk).delete()
    if not deleted:
        raise NotFound(
            f"'{principal}' has no such secret; perhaps it was removed before.", target="secret"
        )
    record(principal.workspace, "remove secret", principal, by=by, before={"secret": pk})


def find_secret(client_id: str, text: str) -> PrincipalSecret | None:
    """The secret, if it is usable now and belongs to the client; notes the use at most once a minute."""
    # Found by the index of its hash, as tokens are: nothing to measure for who does not know it.
    found = _usable().filter(digest=digest(text)).first()
    if found is None or not _is_client(found.principal, client_id):
        return None
    return _used(found)


def find_secret_by_id(pk: int) -> PrincipalSecret | None:
    """The secret behind an access token, if it is still usable; notes the use as above."""
    found = _usable().filter(pk=pk).first()
    return _used(found) if found else None


def _taken(workspace: Workspace, name: str) -> Conflict:
    return Conflict(
        f"Workspace '{workspace.name}' has a service principal named '{name}' already.",
        target="name",
    )


def _usable() -> QuerySet[PrincipalSecret]:
    return PrincipalSecret.objects.usable().select_related("principal__user")


def _is_client(principal: ServicePrincipal, client_id: str) -> bool:
    try:
        return uuid.UUID(client_id) == principal.client_id
    except ValueError:
        return False


def _used(secret: PrincipalSecret) -> PrincipalSecret:
    if is_stale(secret.last_used_at):
        PrincipalSecret.objects.filter(pk=secret.pk).update(last_used_at=timezone.now())
    return secret
