"""Programs of the house that a local deployment needs: each gets one JSON order, and answers with JSON lines."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from cli.faults import ClientFault

Tell = Callable[[str], None]


def run(program: str, order: Mapping[str, Any], *, tell: Tell) -> dict[str, Any]:
    """The last line of `python -m <program>`; `tell` gets the lines of its log. `ClientFault` if it said nothing."""
    # Without the working directory on its path: a module there must not stand in for one of ours.
    command = [sys.executable, "-P", "-m", program]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        with suppress(BrokenPipeError):  # it has ended already, and says why
            process.stdin.write(json.dumps(order))
            process.stdin.close()
        said: dict[str, Any] = {}
        for line in process.stdout:
            said = json.loads(line)
            if "log" in said:
                tell(said["log"])
    if not said or "log" in said:
        raise ClientFault(
            f"'{' '.join(command)}' ended with code {process.returncode} and no answer; what it said is above."
        )
    return said
