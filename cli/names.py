"""Azure's rule for the names of endpoints and deployments, as the portal has it, too."""

from __future__ import annotations

import re

from cli.faults import UsageFault

SHORTEST, LONGEST = 3, 32
RULE = (
    f"It must have {SHORTEST} to {LONGEST} characters, start with a letter, end with a letter or digit, and hold only "
    "letters, digits and '-'."
)
_PATTERN = re.compile(r"[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?")


def checked_name(kind: str, name: object) -> str:
    """The name, if Azure allows it; else `UsageFault`. Of local ones it becomes the name of a folder, too."""
    if (
        isinstance(name, str)
        and SHORTEST <= len(name) <= LONGEST
        and _PATTERN.fullmatch(name) is not None
    ):
        return name
    raise UsageFault(refusal(kind, name))


def refusal(kind: str, name: object) -> str:
    """The sentence for a name that is not allowed, or not there."""
    if name is None or name == "":
        return f"The {kind} needs a name. {RULE}"
    return f"The {kind} name {str(name)[:60]!r} is not allowed. {RULE}"
