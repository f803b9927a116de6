"""How programs that cannot import the house order work: one JSON object in, one JSON object per line out.

Lines are `log` while it goes on, at the end one `built` (or whatever is asked for) or `failed`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deployments.environments.failures import BuildFailed
from deployments.environments.specification import EnvironmentSpec
from deployments.environments.uv_command import EnvironmentSettings
from workspaces.errors import UserError

LISTS = ("extra_index_urls", "find_links")
Order = Mapping[str, Any]


def serve(kind: str, work: Callable[[Order], Mapping[str, Any]]) -> int:
    """Do what standard input orders and say the answer as `kind`; the exit code: 1 when it failed, 130 after Ctrl-C."""
    try:
        say(kind, work(json.load(sys.stdin)))
    except UserError as error:
        say("failed", _as_failure(error))
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def say(kind: str, value: object) -> None:
    print(json.dumps({kind: value}), flush=True)


def log(line: str) -> None:
    say("log", line)


def settings_of(values: Mapping[str, Any]) -> EnvironmentSettings:
    lists = {name: tuple(values[name]) for name in LISTS if name in values}
    return EnvironmentSettings(**{**values, **lists})


def spec_of(values: Mapping[str, str]) -> EnvironmentSpec:
    folder = values.get("folder", "")
    rest = {name: text for name, text in values.items() if name != "folder"}
    return EnvironmentSpec(**rest, folder=Path(folder) if folder else None)


def _as_failure(error: UserError) -> dict[str, Any]:
    failure = error.failure if isinstance(error, BuildFailed) else None
    return {
        "code": error.code,
        "message": error.message,
        "target": error.target,
        "evidence": list(failure.evidence) if failure else [],
        "fixes": [asdict(fix) for fix in failure.fixes] if failure else [],
    }
