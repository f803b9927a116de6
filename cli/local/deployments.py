"""`ml online-deployment … --local`"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

from cli.faults import UsageFault
from cli.local import editor, lifecycle, records, running
from cli.table import load
from cli.terminal import shown

READING = "cli.local.reading#"
"""It brings the SDK, which the commands that only look do without."""
Scope = Mapping[str, str]
"""Where to sign in, should an asset of a portal be asked for."""


def create(scope: Scope, **values: Any) -> dict[str, Any]:
    """One of the same name is replaced. The flags for traffic and waiting change nothing here."""
    return _bring_up(scope, load(f"{READING}deployment_of")(values), values)


def update(scope: Scope, **values: Any) -> dict[str, Any]:
    """A file is the whole wish; without one the deployment as it is, changed by `--set`. It starts anew."""
    name, endpoint_name = values["name"], values["endpoint_name"]
    if values["file"] is not None:
        deployment = load(f"{READING}deployment_of")(values)
        lifecycle.find(str(deployment.endpoint_name), str(deployment.name))
    elif name and endpoint_name:
        deployment = load(f"{READING}kept_deployment")(endpoint_name, name, values["sets"] or [])
    else:
        raise UsageFault("Which deployment? --name and --endpoint-name, or --file with a YAML.")
    return _bring_up(scope, deployment, values)


def show(scope: Scope, name: str, endpoint_name: str) -> dict[str, Any]:
    return lifecycle.answer_of(lifecycle.find(endpoint_name, name))


def list_all(scope: Scope, endpoint_name: str) -> list[dict[str, Any]]:
    lifecycle.find_endpoint(endpoint_name)
    return [lifecycle.answer_of(record) for record in records.deployments(endpoint_name)]


def delete(scope: Scope, name: str, endpoint_name: str, **_: Any) -> None:
    lifecycle.find(endpoint_name, name)
    lifecycle.remove(endpoint_name, name)


def get_logs(
    scope: Scope, name: str, endpoint_name: str, lines: int, container: str | None
) -> str:
    """The end of the server's (or the container's) console since its last start."""
    if container not in {None, "inference-server"}:
        raise UsageFault(
            f"--container is '{container}'. A local deployment has the log of its inference-server only."
        )
    if lines < 1:
        raise UsageFault(f"--lines is {lines}. It must be at least 1.")
    return shown("\n".join(running.tail(lifecycle.find(endpoint_name, name), lines)))


def _bring_up(scope: Scope, deployment: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    record = lifecycle.bring_up(
        deployment,
        sign_in=partial(load(f"{READING}sign_in"), scope),
        tell=_tell,
        wants_gpu=values["local_enable_gpu"],
        is_debugged=values["vscode_debug"],
    )
    if record.debug_port:
        editor.prepare(record, tell=_tell)
    return lifecycle.answer_of(record)


def _tell(line: str) -> None:
    if "--only-show-errors" not in sys.argv:
        print(line, file=sys.stderr, flush=True)
