"""Secrets at rest: sealed with a key file outside the database (mode 0600)."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from workspaces.errors import PlatformError
from workspaces.keyfile import read_or_make_keys


@cache
def _fernet() -> MultiFernet:
    return MultiFernet(
        [Fernet(key) for key in read_or_make_keys(settings.SECRETS_DIR / "vault.key")]
    )


def seal(text: str) -> str:
    """Encrypt and authenticate `text`; the empty text stays empty."""
    return _fernet().encrypt(text.encode()).decode() if text else ""


def unseal(sealed: str) -> str:
    """The text that was sealed; `PlatformError` when the key file is not the one it was sealed with."""
    if not sealed:
        return ""
    try:
        return _fernet().decrypt(sealed.encode()).decode()
    except InvalidToken:
        raise PlatformError(
            "A stored secret cannot be opened with secrets/vault.key. Put back the key file that "
            "belongs to this database."
        ) from None


def seal_map(values: dict[str, Any]) -> str:
    return seal(json.dumps(values, sort_keys=True)) if values else ""


def unseal_map(sealed: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(unseal(sealed)) if sealed else {}
    return values
