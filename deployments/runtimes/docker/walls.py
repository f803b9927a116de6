"""Keeps cut-off containers from this machine itself.

Docker's internal networks let nothing out of the machine, but its own addresses can be reached from there: the
portal, the gateway, whatever else listens. Answers to the gateway pass, new connections do not.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess

logger = logging.getLogger(__name__)

SECONDS = 10
FIREWALL_PATH = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin"
RULES = (["-p", "tcp", "--syn"], ["!", "-p", "tcp"])


def build(subnet: str) -> bool:
    """Let nobody in that subnet open a connection to this machine; False (and a warning) where we may not say so."""
    for rule in RULES:
        if _told("-C", subnet, rule):
            continue
        if not _told("-I", subnet, rule):
            logger.warning(
                "containers of %s without egress can still reach addresses of this machine: that needs root and "
                "iptables",
                subnet,
            )
            return False
    return True


def take_down(subnet: str) -> None:
    """May be repeated."""
    for rule in RULES:
        _told("-D", subnet, rule)


def _told(action: str, subnet: str, rule: list[str]) -> bool:
    program = shutil.which("iptables", path=FIREWALL_PATH)
    if program is None or os.geteuid() != 0:
        return False
    try:
        done = subprocess.run(
            [program, "-w", "5", action, "INPUT", "-s", subnet, *rule, "-j", "DROP"],
            capture_output=True,
            timeout=SECONDS,
            env={"PATH": FIREWALL_PATH},
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
