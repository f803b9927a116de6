"""An answer that is made already: its status, headers and body are sent as they are.

Runs in the deployment's interpreter: standard library, Python 3.8 to 3.13.
"""

from __future__ import annotations

from typing import NamedTuple


class OwnAnswer(NamedTuple):
    """What run() of our own servers of models returns; `headers` are lines that end in CRLF."""

    status: int
    headers: bytes
    body: bytes
