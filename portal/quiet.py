"""Keeps out of the logs what opens doors."""

from __future__ import annotations

import logging
import re

SIGN_IN_LINK = re.compile(r"(/sign-in/)[^\s/?#]+")


class WithoutSignInLinks(logging.Filter):
    """Takes the secret out of the address of a sign-in link: Django logs the paths of what it refuses."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(_without_secret(item) for item in record.args)
        record.msg = _without_secret(record.msg)
        return True


def _without_secret(value: object) -> object:
    return SIGN_IN_LINK.sub(r"\1…", value) if isinstance(value, str) else value
