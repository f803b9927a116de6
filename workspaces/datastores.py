"""Datastores: those of Portico's own storage, and records of others, whose secrets are sealed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from workspaces import vault
from workspaces.activity import record
from workspaces.errors import Conflict, NotFound, UserError, all_of
from workspaces.models import Datastore, User, Workspace

MAIN = "workspaceblobstore"
"""Where clients upload; the default until another is made it."""
ARTIFACTS = "workspaceartifactstore"
"""Where clients look for what jobs wrote: the same container."""
BUILT_IN = (MAIN, ARTIFACTS)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]{0,254}")
LONGEST = 255
LONGEST_SECRET = 20_000

Type, Credentials = Datastore.Type, Datastore.Credentials
LAKES: set[str] = {Type.LAKE1, Type.LAKE2}
FITTING: dict[str, set[str]] = {
    Credentials.NONE: set(Type.values),
    Credentials.ACCOUNT_KEY: {Type.BLOB, Type.FILE},
    Credentials.SAS: {Type.BLOB, Type.FILE},
    Credentials.SERVICE_PRINCIPAL: {Type.BLOB, *LAKES},
    Credentials.CERTIFICATE: LAKES,
}


@dataclass(frozen=True)
class Wish:
    """What a datastore is to be. An empty `secret` keeps the one there is, if it is of the same kind."""

    type: str
    container: str
    account_name: str = ""
    endpoint: str = "core.windows.net"
    protocol: str = "https"
    credentials: str = Credentials.NONE
    identity: dict[str, str] = field(default_factory=dict)
    secret: str = field(default="", repr=False)
    description: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)


def is_built_in(name: str) -> bool:
    return name.lower() in BUILT_IN


def rows(workspace: Workspace) -> QuerySet[Datastore]:
    """The records, with who made them."""
    return Datastore.objects.filter(workspace=workspace).select_related("created_by", "workspace")


def find(workspace: Workspace, name: str) -> Datastore:
    """The record of that name; the built-in ones have none."""
    found = rows(workspace).filter(name__iexact=name).first()
    if found is None:
        raise NotFound(
            f"There is no datastore '{name[:100]}'. Workspace '{workspace.name}' has {MAIN}"
            f"{_others(workspace)}.",
            target="datastore",
        )
    return found


def default_name(workspace: Workspace) -> str:
    found = rows(workspace).filter(is_default=True).values_list("name", flat=True).first()
    return found or MAIN


@transaction.atomic
def save(
    workspace: Workspace, name: str, wish: Wish, *, by: User | None
) -> tuple[Datastore, bool]:
    """Make the record or change it, and whether it is new. The same again changes nothing."""
    _check(name, wish)
    _one_at_a_time(workspace)
    present = Datastore.objects.select_for_update().filter(workspace=workspace, name__iexact=name)
    found = present.first()
    keeps = found is not None and found.credentials == wish.credentials and not wish.secret
    if wish.credentials != Credentials.NONE and not wish.secret and not keeps:
        raise UserError(
            f"The credentials of the datastore '{name}' are of the kind {wish.credentials}, and its secret is "
            "missing. Send it along.",
            target="credentials.secrets",
        )
    values = {
        "type": wish.type,
        "account_name": wish.account_name,
        "container": wish.container,
        "endpoint": wish.endpoint,
        "protocol": wish.protocol,
        "credentials": wish.credentials,
        "identity": wish.identity,
        "description": wish.description,
        "tags": wish.tags,
        "properties": wish.properties,
    }
    if found is None:
        made = Datastore.objects.create(
            workspace=workspace,
            name=name,
            secret_sealed=vault.seal(wish.secret),
            created_by=by,
            **values,
        )
        record(workspace, "create", made, by=by, after=_told(made))
        return made, True
    before = _told(found)
    is_other_secret = bool(wish.secret) and vault.unseal(found.secret_sealed) != wish.secret
    if is_other_secret or any(getattr(found, key) != value for key, value in values.items()):
        for key, value in values.items():
            setattr(found, key, value)
        if not keeps:
            found.secret_sealed = vault.seal(wish.secret)
        found.updated_at = timezone.now()
        found.save()
        note = "another secret" if is_other_secret else ""
        record(workspace, "update", found, by=by, before=before, after=_told(found), note=note)
    return found, False


@transaction.atomic
def set_default(workspace: Workspace, name: str, *, by: User | None) -> None:
    """Make it the one that clients get who ask for the default; uploads go to ours all the same."""
    _one_at_a_time(workspace)
    before = default_name(workspace)
    found = None if is_built_in(name) else find(workspace, name)
    if found is None and name.lower() != MAIN:
        raise UserError(
            f"Of the built-in datastores only {MAIN} can be the default.", target="datastore"
        )
    if before.lower() == name.lower():
        return
    rows(workspace).filter(is_default=True).update(is_default=False)
    if found is not None:
        rows(workspace).filter(pk=found.pk).update(is_default=True)
    record(
        workspace,
        "set default datastore",
        found or workspace,
        by=by,
        before={"name": before},
        after={"name": found.name if found else MAIN},
    )


def delete(workspace: Workspace, name: str, *, by: User | None) -> bool:
    """Forget the record, whose data stays where it is; whether there was one."""
    if is_built_in(name):
        raise Conflict(
            f"The datastore '{name}' belongs to the workspace and cannot be deleted.",
            target="datastore",
        )
    found = rows(workspace).filter(name__iexact=name).first()
    if found is None:
        return False
    if found.is_default:
        raise Conflict(
            f"The datastore '{found.name}' is the default. Make another one the default first.",
            target="datastore",
        )
    record(workspace, "delete", found, by=by, before=_told(found))
    found.delete()
    return True


def secret_of(datastore: Datastore) -> str:
    """In clear; only for who may list secrets."""
    return vault.unseal(datastore.secret_sealed)


def _one_at_a_time(workspace: Workspace) -> None:
    """Whoever else writes datastores of the workspace waits for the end of this transaction."""
    Workspace.objects.select_for_update(no_key=True).get(pk=workspace.pk)


def _check(name: str, wish: Wish) -> None:
    errors = []
    if is_built_in(name):
        raise Conflict(
            f"The datastore '{name}' belongs to the workspace. Take another name.",
            target="datastore",
        )
    if not NAME.fullmatch(name):
        errors.append(
            UserError(
                f"The datastore name {name[:100]!r} is not allowed. Use 1 to 255 letters, digits and '_', "
                "beginning with a letter or digit.",
                target="datastore",
            )
        )
    if wish.type not in Type.values:
        errors.append(
            UserError(
                f"The type of the datastore must be one of {', '.join(Type.values)}.",
                target="type",
            )
        )
    if not wish.container:
        errors.append(
            UserError(
                "The datastore names no container, share or file system.", target="container"
            )
        )
    if not wish.account_name and wish.type != Type.LAKE1:
        errors.append(UserError("The datastore names no storage account.", target="account_name"))
    for key in ("account_name", "container", "endpoint", "protocol"):
        value = getattr(wish, key)
        limit = 20 if key == "protocol" else LONGEST
        if len(value) > limit or re.search(r"[\s\x00-\x1f]", value):
            errors.append(
                UserError(f"{key} must be a word of at most {limit} characters.", target=key)
            )
    if wish.type not in FITTING.get(wish.credentials, set()):
        errors.append(
            UserError(
                f"Credentials of the kind '{wish.credentials}' do not fit a datastore of the type '{wish.type}'.",
                target="credentials",
            )
        )
    if errors:
        raise all_of(errors)


def _told(datastore: Datastore) -> dict[str, str]:
    """For the activity: nothing secret."""
    return {
        "type": datastore.type,
        "account": datastore.account_name,
        "container": datastore.container,
        "credentials": datastore.credentials,
    }


def _others(workspace: Workspace) -> str:
    names = list(rows(workspace).values_list("name", flat=True)[:5])
    return f" and {', '.join(names)}" if names else ""
