"""The life of a local deployment: brought up, replaced, looked at, removed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cli.faults import MissingFault
from cli.local import builds, choice, records, running
from cli.local.assets import Assets
from cli.local.builds import Built
from cli.local.failures import DeploymentFailed
from cli.local.records import DeploymentRecord, EndpointRecord, Failure
from cli.local.wishes import Wish, wish_of, yaml_of
from cli.names import checked_name

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import OnlineDeployment

CANCELED = Failure(
    "OperationCanceled", "The command that made this deployment was interrupted. Run it again."
)
Tell = Callable[[str], None]


def bring_up(
    deployment: OnlineDeployment,
    *,
    sign_in: Callable[[], MLClient],
    tell: Tell,
    wants_gpu: bool = False,
    is_debugged: bool = False,
) -> DeploymentRecord:
    """Build the environment, start the server, wait until it is ready; replaces one of the same name.

    What served before goes on until the new environment is built. `tell` gets progress, line by line; `sign_in` is
    called only for assets of the portal. Raises `ClientFault`; `DeploymentFailed` carries the failure card.
    """
    endpoint_name = checked_name("endpoint", deployment.endpoint_name)
    name = checked_name("deployment", deployment.name)
    # Before any sign-in, which has this process trust the portal's authority and no other.
    own = dict(os.environ)
    with records.work_on(endpoint_name, name):
        before = records.read_deployment(endpoint_name, name)
        new = DeploymentRecord(endpoint_name, name, yaml_of(deployment))
        if before is None:
            has_endpoint = records.read_endpoint(endpoint_name) is not None
            new = _begin(new, has_endpoint=has_endpoint)
        else:
            new = replace(
                new, port=before.port, created_at=before.created_at, state=records.UPDATING
            )
        assets = Assets(new.folder / "fetched", sign_in)
        try:
            wish = wish_of(deployment, assets, wants_gpu=wants_gpu, is_debugged=is_debugged)
            runtime, built = _prepare(wish, tell)
        except BaseException:
            if before is None:
                _forget(new, with_endpoint=not has_endpoint)
            raise
        if before is not None:
            # What is stopped is known by where it ran, until something else runs.
            records.write_deployment(replace(new, runtime=before.runtime))
            running.stop(before)
        new = replace(new, runtime=runtime, image=built.image, python=built.python)
        new = running.prepared(new, before, wish)
        tell(_starting(new, wish))
        new, failure = running.bring_up(new, wish, built, own)
        assets.forget_older()
        return _settle(new, failure, tell)


def remove(endpoint_name: str, name: str) -> None:
    """End the server and remove its files; built environments stay, for the next one. Missing is success."""
    with records.work_on(endpoint_name, name):
        record = records.read_deployment(endpoint_name, name)
        if record is not None:
            running.stop(record)
        records.forget_deployment(endpoint_name, name)


def state_of(record: DeploymentRecord) -> tuple[str, Failure | None]:
    """The state now, whatever the last command has left: it may have been killed, and so may the server."""
    if records.is_worked_on(record.endpoint_name, record.name):
        return (records.CREATING if record.state == records.CREATING else records.UPDATING), None
    if record.state in {records.CREATING, records.UPDATING}:
        return records.FAILED, CANCELED
    if record.state == records.FAILED:
        return records.FAILED, record.failure
    failure = running.failure_now(record)
    return (records.FAILED, failure) if failure else (records.SUCCEEDED, None)


def find_endpoint(name: str) -> EndpointRecord:
    """`MissingFault` that says what there is instead."""
    found = records.read_endpoint(name)
    if found is not None:
        return found
    known = ", ".join(f"'{endpoint.name}'" for endpoint in records.endpoints())
    hint = f"There is {known}." if known else "There is none."
    raise MissingFault(
        f"There is no local endpoint '{name}'. {hint} Creating a local deployment makes its endpoint, too."
    )


def find(endpoint_name: str, name: str) -> DeploymentRecord:
    """`MissingFault` that says what there is instead."""
    record = records.read_deployment(endpoint_name, name)
    if record is not None:
        return record
    find_endpoint(endpoint_name)
    known = ", ".join(f"'{one.name}'" for one in records.deployments(endpoint_name))
    hint = f"It has {known}." if known else "It has none."
    raise MissingFault(f"The local endpoint '{endpoint_name}' has no deployment '{name}'. {hint}")


def answer_of(record: DeploymentRecord) -> dict[str, Any]:
    """As the YAML says, with `provisioning_state`, `scoring_uri`, and why it failed if it did."""
    state, failure = state_of(record)
    answer = {
        **record.yaml,
        "instance_type": "local",
        "instance_count": 1,
        "provisioning_state": state,
        "scoring_uri": record.scoring_uri if state == records.SUCCEEDED else None,
        "local_runtime": record.runtime,
        "log_file": str(record.console) if record.runtime == records.PROCESS else None,
    }
    if failure is not None:
        answer["error"] = {
            "code": failure.code,
            "message": failure.message,
            "evidence": list(failure.evidence),
        }
    return answer


def _prepare(wish: Wish, tell: Tell) -> tuple[str, Built]:
    """Where it is to run, and what in."""
    runtime, warnings = choice.runtime_for(wish)
    for warning in warnings:
        tell(f"Warning: {warning}")
    if runtime == records.DOCKER:
        tell("Building the image")
        built = builds.build_image(wish.surroundings.image_order(), tell=tell)
    else:
        tell("Building the environment")
        script = wish.code_dir / wish.script if wish.code_dir and wish.script else None
        built = builds.build(wish.surroundings.packages, script=script, tell=tell)
    for warning in built.warnings:
        tell(f"Warning: {warning}")
    return runtime, built


def _starting(record: DeploymentRecord, wish: Wish) -> str:
    what = "the container" if record.runtime == records.DOCKER else "the server"
    return f"Starting {what}{', and init() of the scoring script in it' if wish.script else ''}"


def _settle(record: DeploymentRecord, failure: Failure | None, tell: Tell) -> DeploymentRecord:
    state = records.FAILED if failure else records.SUCCEEDED
    record = records.write_deployment(replace(record, state=state, failure=failure))
    if failure is not None:
        raise DeploymentFailed(failure)
    tell(f"Ready at {record.scoring_uri}")
    return record


def _begin(record: DeploymentRecord, *, has_endpoint: bool) -> DeploymentRecord:
    """Let `list` show it while its environment is built."""
    if not has_endpoint:
        records.write_endpoint(EndpointRecord(record.endpoint_name))
    return records.write_deployment(record)


def _forget(record: DeploymentRecord, *, with_endpoint: bool) -> None:
    """Nothing was started, so nothing is kept."""
    records.forget_deployment(record.endpoint_name, record.name)
    if with_endpoint:
        records.forget_endpoint(record.endpoint_name)
