"""Typed readers of environment variables, the only door for configuration.

Each reader remembers the names it was asked for, so a test can compare them with `docs/settings.md`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

names_read: set[str] = set()


def string(name: str, default: str = "") -> str:
    names_read.add(name)
    return os.environ.get(name, "").strip() or default


def boolean(name: str, default: bool = False) -> bool:
    text = string(name).lower()
    if not text:
        return default
    if text in {"1", "true", "yes", "on"}:
        return True
    if text in {"0", "false", "no", "off"}:
        return False
    raise ImproperlyConfigured(f"{name} is '{text}'. Set it to true or false.")


def integer(name: str, default: int, *, minimum: int = 0, maximum: int = 2**31 - 1) -> int:
    text = string(name)
    if not text:
        return default
    try:
        value = int(text)
    except ValueError:
        raise ImproperlyConfigured(f"{name} is '{text}'. Set it to a whole number.") from None
    if not minimum <= value <= maximum:
        raise ImproperlyConfigured(
            f"{name} is {value}. Set it to a number from {minimum} to {maximum}."
        )
    return value


def choice(name: str, allowed: tuple[str, ...]) -> str:
    """One of `allowed`; the first one when the variable is not set."""
    text = string(name, allowed[0])
    if text not in allowed:
        raise ImproperlyConfigured(f"{name} is '{text}'. Set it to {' or '.join(allowed)}.")
    return text


def words(name: str) -> list[str]:
    """A comma-separated list, without blanks and empty parts."""
    return [part.strip() for part in string(name).split(",") if part.strip()]


def pairs(name: str) -> dict[str, str]:
    """A comma-separated list of `key=value`."""
    found = dict(word.partition("=")[::2] for word in words(name))
    if not all(found) or not all(found.values()):
        raise ImproperlyConfigured(
            f"{name} is '{string(name)}'. Set it to name=value, several separated by commas."
        )
    return found


def secret(name: str) -> str:
    """The variable, or the content of the file that `<name>_FILE` points to (mounted secrets)."""
    names_read.add(name + "_FILE")
    path = os.environ.get(name + "_FILE", "").strip()
    if not path:
        return string(name)
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise ImproperlyConfigured(
            f"{name}_FILE points to {path}, which cannot be read: {error.strerror}."
        ) from error


def database(url: str, *, pool_size: int) -> dict[str, Any]:
    """Django's form of a PostgreSQL URL; a socket folder may stand in the query as `host`."""
    try:
        parts = urlsplit(url)
        port = parts.port
        if "@" in parts.path:  # of a password whose / was not quoted
            raise ValueError
    except ValueError:
        raise ImproperlyConfigured(
            "DATABASE_URL cannot be understood. Its form is postgresql://user:password@host:5432/name; "
            "write characters such as @ and / of the password as %40 and %2F."
        ) from None
    if parts.scheme not in {"postgres", "postgresql"}:
        raise ImproperlyConfigured(
            "DATABASE_URL must begin with postgresql://. Portico keeps its state in PostgreSQL only."
        )
    options: dict[str, Any] = dict(parse_qsl(parts.query))
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")) or "portico",
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": options.pop("host", "") or parts.hostname or "",
        "PORT": str(port or options.pop("port", "")),
        "CONN_HEALTH_CHECKS": True,
        # Not CONN_MAX_AGE: under ASGI each request may have a thread, and a connection, of its own.
        "OPTIONS": {
            "connect_timeout": 5,
            **options,
            "pool": {"min_size": 1, "max_size": pool_size, "timeout": 15},
        },
    }


def bucket(*, endpoint: str, region: str, key: str, secret: str, ca_bundle: str) -> dict[str, Any]:
    """Options of fsspec for a bucket; what is not set is left to what the machine has (its role, its profile)."""
    if bool(key) != bool(secret):
        raise ImproperlyConfigured(
            "PORTICO_STORAGE_KEY and PORTICO_STORAGE_SECRET belong together. Set both, or none of them."
        )
    client = {"region_name": region, "verify": ca_bundle}
    options = {
        "endpoint_url": endpoint,
        "key": key,
        "secret": secret,
        # Pairs and not a mapping, so that options can be compared.
        "client_kwargs": tuple((name, value) for name, value in client.items() if value),
    }
    return {name: value for name, value in options.items() if value}
