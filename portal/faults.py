"""What keeps Portico from starting, in one sentence with the way out."""

from __future__ import annotations


class StartFault(Exception):
    """Shown to the operator as it is, without a traceback; the command ends with exit code 1."""
