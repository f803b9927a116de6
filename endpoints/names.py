"""Azure's rules for the names of endpoints and deployments (facts 3.1)."""

from __future__ import annotations

import re

from django.db import connection

from endpoints.models import BatchEndpoint, OnlineEndpoint
from workspaces.errors import Conflict, UserError

SHORTEST, LONGEST = 3, 32
_PATTERN = re.compile(r"[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?")


def check_name(kind: str, name: object, *, target: str = "name") -> str:
    """The name, if it is allowed; `UserError` with a suggestion where one can be made."""
    if not isinstance(name, str) or not name:
        raise UserError(f"The {kind} needs a name.", target=target)
    if not SHORTEST <= len(name) <= LONGEST:
        raise UserError(
            f"The {kind} name '{name[:60]}' has {len(name)} characters. It must have at least {SHORTEST} and at "
            f"most {LONGEST}.",
            target=target,
        )
    if not _PATTERN.fullmatch(name):
        better = suggest(name)
        hint = f" For example '{better}'." if better else ""
        raise UserError(
            f"The {kind} name {name!r} is not allowed. It must start with a letter, end with a letter or "
            f"digit, and hold only letters, digits and '-'.{hint}",
            target=target,
        )
    return name


def claim_name(name: str) -> None:
    """Hold the name until the transaction ends; `Conflict` when an endpoint of either kind has it.

    Endpoints of all kinds share their names, and no constraint of the database spans two tables.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [f"endpoint {name.lower()}"])
    kinds = (OnlineEndpoint, BatchEndpoint)
    if any(kind._base_manager.filter(name__iexact=name).exists() for kind in kinds):
        raise Conflict(
            f"The endpoint name '{name}' is in use. Endpoint names are unique in this installation, whatever kind "
            "they are of and without regard to case: choose another one.",
            target="name",
        )


def suggest(name: str) -> str:
    """An allowed name close to `name`, or an empty text when there is none."""
    better = re.sub(r"[^a-zA-Z0-9]+", "-", name).strip("-")
    better = re.sub(r"^[^a-zA-Z]+", "", better)[:LONGEST].rstrip("-")
    return better if len(better) >= SHORTEST and _PATTERN.fullmatch(better) else ""
