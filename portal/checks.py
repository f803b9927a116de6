"""Django checks of the settings: a wrong value stops the start with a hint instead of a surprise later."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register, run_checks
from django.core.management import CommandError

BUCKET = re.compile(r"s3://[A-Za-z0-9][A-Za-z0-9.-]{1,62}(/[^/?#\s]+)*/?")
LOOPBACK = {"127.0.0.1", "::1", "localhost"}


@register(Tags.security)
def check_settings(app_configs: Sequence[AppConfig] | None = None, **_: Any) -> list[CheckMessage]:
    """Every setting that can be wrong without anybody noticing."""
    found: list[CheckMessage] = []
    if settings.LOG_LEVEL not in logging.getLevelNamesMapping():
        found.append(
            Error(
                f"PORTICO_LOG_LEVEL is '{settings.LOG_LEVEL}'.",
                hint="Set it to DEBUG, INFO, WARNING or ERROR.",
                id="portico.E001",
            )
        )
    if not _is_address(settings.PORTICO_BIND):
        found.append(
            Error(
                f"PORTICO_BIND is '{settings.PORTICO_BIND}', which is no IP address.",
                hint="Set it to 127.0.0.1, 0.0.0.0, or an address of this machine.",
                id="portico.E002",
            )
        )
    if settings.DEBUG and settings.PORTICO_BIND not in LOOPBACK:
        found.append(
            Error(
                "PORTICO_DEBUG is on while PORTICO_BIND lets other machines in.",
                hint="Debug pages show secrets. Unset one of the two.",
                id="portico.E003",
            )
        )
    if settings.CA_BUNDLE and not os.access(settings.CA_BUNDLE, os.R_OK):
        found.append(
            Error(
                f"PORTICO_CA_BUNDLE (or SSL_CERT_FILE) is '{settings.CA_BUNDLE}', which cannot be read.",
                hint="Set it to a PEM file with the authorities to trust, or unset it.",
                id="portico.E004",
            )
        )
    if settings.STORAGE_URL and not BUCKET.fullmatch(settings.STORAGE_URL):
        found.append(
            Error(
                f"PORTICO_STORAGE_URL is '{settings.STORAGE_URL}'.",
                hint="Set it to s3://<bucket> or s3://<bucket>/<prefix>, or unset it to store on this disk.",
                id="portico.E006",
            )
        )
    if len(settings.SECRET_KEY) < 32:
        found.append(
            Error(
                f"PORTICO_SECRET_KEY has {len(settings.SECRET_KEY)} characters.",
                hint="Give it at least 32 random ones, or unset it: then one is made and kept.",
                id="portico.E005",
            )
        )
    if settings.PORTICO_BIND not in LOOPBACK and settings.PORTICO_HOST == "localhost":
        found.append(
            Warning(
                "PORTICO_BIND lets other machines in, but PORTICO_HOST is 'localhost'.",
                hint="Set PORTICO_HOST to the name by which they reach this one.",
                id="portico.W001",
            )
        )
    return found


def refuse_faults() -> None:
    """Raise `CommandError` with the first error of all checks, as one sentence and its hint."""
    errors = [found for found in run_checks() if found.is_serious() and not found.is_silenced()]
    if errors:
        raise CommandError(sentence(errors[0]))


def sentence(found: CheckMessage) -> str:
    return f"{found.msg} {found.hint or ''}".strip()


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
