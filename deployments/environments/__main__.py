"""`python -m deployments.environments`: builds one environment for a program that cannot import the house.

On standard input one JSON object: `root`, `spec` and `settings` by the names of `EnvironmentSpec` and
`EnvironmentSettings`, and the `script` whose imports are compiled. On standard output one JSON object per line: `log`
while it works, at the end `built` or `failed`. Needs no Django, no database and no portal.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from deployments.environments.orders import Order, log, serve, settings_of, spec_of
from deployments.environments.store import EnvironmentStore


def main() -> int:
    """0 once the environment is there, 1 when it cannot be built, 130 after Ctrl-C."""
    return serve("built", _build)


def _build(order: Order) -> dict[str, Any]:
    store = EnvironmentStore(Path(order["root"]), settings_of(order.get("settings", {})))
    built = store.build(spec_of(order["spec"]), log=log)
    if order.get("script") and not built.was_cached:
        store.precompile(built, Path(order["script"]))
    return {
        "key": built.key,
        "python": str(built.python),
        "python_version": built.python_version,
        "warnings": list(built.warnings),
        "was_cached": built.was_cached,
    }


if __name__ == "__main__":
    sys.exit(main())
