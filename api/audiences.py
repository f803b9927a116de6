"""To whom an access token is addressed, in Azure's words: a token for one door opens no other."""

from __future__ import annotations

import re
from enum import StrEnum
from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import validate_host


class Audience(StrEnum):
    """A door; the value is what Azure calls it in its public cloud."""

    MANAGEMENT = "https://management.azure.com"
    MACHINE_LEARNING = "https://ml.azure.com"
    STORAGE = "https://storage.azure.com"


DATA_PLANE = (Audience.MACHINE_LEARNING, Audience.MANAGEMENT)
"""For what the SDK asks with tokens for machine learning: batch endpoints' jobs."""
NAMES: dict[str, Audience] = {
    **{audience.value: audience for audience in Audience},
    "https://management.core.windows.net": Audience.MANAGEMENT,
}
# Of a cloud's metadata the SDK makes https://ml.azure. and the end of the portal's name (wire 2.2).
MACHINE_LEARNING = re.compile(r"https://ml\.azure\.[A-Za-z0-9.:-]{0,200}")


def audience_of(resource: str) -> Audience | None:
    """The door that a resource names; None for one that is not ours. Our own addresses stand for management."""
    name = resource.rstrip("/")
    if name in NAMES:
        return NAMES[name]
    if MACHINE_LEARNING.fullmatch(name):
        return Audience.MACHINE_LEARNING
    return Audience.MANAGEMENT if _is_ours(name) else None


def _is_ours(address: str) -> bool:
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
    except ValueError:
        return False
    is_bare = not (parts.path or parts.query or parts.fragment or parts.username)
    if parts.scheme != "https" or not host or not is_bare:
        return False
    name = f"[{host}]" if ":" in host else host
    return validate_host(name, settings.ALLOWED_HOSTS)
