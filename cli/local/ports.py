"""Ports of this machine that local deployments are reached at."""

from __future__ import annotations

import os
import socket

PORT_VARIABLE = "PORTICO_LOCAL_PORT"
USUAL_PORT = 5001
USUAL_DEBUG_PORT = 5678


def usual_port() -> int:
    """The genuine server's, unless PORTICO_LOCAL_PORT names another."""
    named = os.environ.get(PORT_VARIABLE, "")
    return int(named) if named.isdecimal() and 0 < int(named) < 65_536 else USUAL_PORT


def free_port(wanted: int = 0) -> int:
    """The one that is wanted, if nobody has it; else any that is free."""
    if wanted and _is_free(wanted):
        return wanted
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
