"""Keeps containers from what Docker's networks leave open to them.

From internal networks nothing gets out of the machine, but its own addresses can be reached from there: the
portal, the gateway, whatever else listens. Answers to the gateway pass, new connections do not.
From all networks the metadata service of a cloud can be reached, which gives whoever asks the machine's credentials.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Sequence

logger = logging.getLogger(__name__)

SECONDS = 10
FIREWALL_PATH = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin"
TO_THIS_MACHINE = (
    ("filter", "INPUT", "-p", "tcp", "--syn"),
    ("filter", "INPUT", "!", "-p", "tcp"),
)
# Before anybody gives them another destination. Names may be asked for: some clouds do that at the same address.
# Link-local of nearly all; then Alibaba's, Azure's own ("wire server") and Oracle's.
METADATA = ("169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32")
TO_METADATA = tuple(
    ("raw", "PREROUTING", "-d", place, "-p", "tcp", "!", "--dport", "53") for place in METADATA
)

Rule = tuple[str, ...]


def build(subnet: str) -> bool:
    """Let nobody in that subnet open a connection to this machine; False (and a warning) where we may not say so."""
    if _built(subnet, TO_THIS_MACHINE):
        return True
    logger.warning(
        "containers of %s without egress can still reach addresses of this machine: that needs root and iptables",
        subnet,
    )
    return False


def close_metadata(subnet: str) -> bool:
    """Keep that subnet from link-local addresses; False where we may not say so."""
    return _built(subnet, TO_METADATA)


def take_down(subnet: str) -> None:
    """May be repeated."""
    for rule in (*TO_THIS_MACHINE, *TO_METADATA):
        _told("-D", subnet, rule)


def _built(subnet: str, rules: Sequence[Rule]) -> bool:
    """Each rule once, however often this is called."""
    return all(_told("-C", subnet, rule) or _told("-I", subnet, rule) for rule in rules)


def _told(action: str, subnet: str, rule: Rule) -> bool:
    table, chain, *match = rule
    program = shutil.which("iptables", path=FIREWALL_PATH)
    if program is None or os.geteuid() != 0:
        return False
    try:
        done = subprocess.run(
            [program, "-w", "5", "-t", table, action, chain, "-s", subnet, *match, "-j", "DROP"],
            capture_output=True,
            timeout=SECONDS,
            env={"PATH": FIREWALL_PATH},
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
