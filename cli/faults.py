"""What ends a command, as sentences and exit codes that CI can tell apart; the codes are those of `az`."""

from __future__ import annotations

FAILED = 1
"""The service refused, or could not be reached."""
USAGE = 2
"""The command line itself is wrong, or nobody is signed in."""
NOT_FOUND = 3
INTERRUPTED = 130


class ClientFault(Exception):
    """Shown as it is."""

    exit_code = FAILED


class UsageFault(ClientFault):
    """To be put right in the command line, a file, or by `portico login`."""

    exit_code = USAGE


class MissingFault(ClientFault):
    """What was named does not exist."""

    exit_code = NOT_FOUND
