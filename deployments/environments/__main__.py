"""`python -m deployments.environments`: builds one environment for a program that cannot import the house.

On standard input one JSON object: `root`, `spec` and `settings` by the names of `EnvironmentSpec` and
`EnvironmentSettings`, and the `script` whose imports are compiled. On standard output one JSON object per line: `log`
while it works, at the end `built` or `failed`. Needs no Django, no database and no portal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployments.environments.failures import BuildFailed
from deployments.environments.specification import EnvironmentSpec
from deployments.environments.store import BuiltEnvironment, EnvironmentStore
from deployments.environments.uv_command import EnvironmentSettings
from workspaces.errors import UserError

LISTS = ("extra_index_urls", "find_links")


def main() -> int:
    """0 once the environment is there, 1 when it cannot be built, 130 after Ctrl-C."""
    try:
        _say("built", _as_answer(_build(json.load(sys.stdin))))
    except UserError as error:
        _say("failed", _as_failure(error))
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _build(order: Mapping[str, Any]) -> BuiltEnvironment:
    settings = dict(order.get("settings", {}))
    settings |= {name: tuple(settings[name]) for name in LISTS if name in settings}
    spec = dict(order["spec"])
    folder = spec.pop("folder", "")
    store = EnvironmentStore(Path(order["root"]), EnvironmentSettings(**settings))
    built = store.build(EnvironmentSpec(**spec, folder=Path(folder) if folder else None), log=_log)
    if order.get("script") and not built.was_cached:
        store.precompile(built, Path(order["script"]))
    return built


def _as_answer(built: BuiltEnvironment) -> dict[str, Any]:
    return {
        "key": built.key,
        "python": str(built.python),
        "python_version": built.python_version,
        "warnings": list(built.warnings),
        "was_cached": built.was_cached,
    }


def _as_failure(error: UserError) -> dict[str, Any]:
    failure = error.failure if isinstance(error, BuildFailed) else None
    return {
        "code": error.code,
        "message": error.message,
        "target": error.target,
        "evidence": list(failure.evidence) if failure else [],
        "fixes": [fix.label for fix in failure.fixes] if failure else [],
    }


def _log(line: str) -> None:
    _say("log", line)


def _say(kind: str, value: object) -> None:
    print(json.dumps({kind: value}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
