"""Builds environments by the program that the portal builds them with: nothing of the house is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.faults import ClientFault
from cli.local.failures import DeploymentFailed
from cli.local.packages import package_settings
from cli.local.records import Failure, environments_root

PROGRAM = "deployments.environments"


@dataclass(frozen=True)
class BuiltEnvironment:
    python: Path
    warnings: tuple[str, ...]


def build(
    spec: Mapping[str, str], *, script: Path, tell: Callable[[str], None]
) -> BuiltEnvironment:
    """The environment for `spec` (`conda_text` and `folder`, or `curated_name`, or nothing), built if it is missing.

    `tell` gets the lines of the build log. Raises `DeploymentFailed`.
    """
    order = {
        "root": str(environments_root()),
        "spec": dict(spec),
        "settings": {**package_settings(), "for_others": False},
        "script": str(script),
    }
    environments_root().mkdir(mode=0o700, parents=True, exist_ok=True)
    # Without the working directory on its path: a module there must not stand in for one of ours.
    command = [sys.executable, "-P", "-m", PROGRAM]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdin is not None and program.stdout is not None
        with suppress(BrokenPipeError):  # it has ended already, and says why
            program.stdin.write(json.dumps(order))
            program.stdin.close()
        said: dict[str, Any] = {}
        for line in program.stdout:
            said = json.loads(line)
            if "log" in said:
                tell(said["log"])
    if "built" in said:
        return BuiltEnvironment(Path(said["built"]["python"]), tuple(said["built"]["warnings"]))
    if "failed" in said:
        raise DeploymentFailed(_failure(said["failed"]))
    raise ClientFault(
        f"The environment could not be built: '{' '.join(command)}' ended with code {program.returncode}; what it "
        "said is above."
    )


def _failure(failed: Mapping[str, Any]) -> Failure:
    return Failure(
        failed["code"], failed["message"], tuple(failed["evidence"]), tuple(failed["fixes"])
    )
