"""Changing and deleting one real-time deployment. Pure."""

from __future__ import annotations

from portal.studio.as_code.deployments import (
    REQUEST_SETTINGS,
    deployment_path,
    deployment_requests,
    deployment_steps,
    deployment_yaml,
    differing,
    python_fields,
)
from portal.studio.as_code.forms import Forms
from portal.studio.as_code.place import Place
from portal.studio.as_code.values import Deployment, Local
from portal.studio.as_code.writing import (
    Program,
    Step,
    command,
    request,
    rest,
    script,
)

# What `--set` can say in a word, and where it stands in the YAML.
SETTABLE = {
    "instance_type": "instance_type",
    "instance_count": "instance_count",
    **{name: f"request_settings.{name}" for name in REQUEST_SETTINGS},
}
# Attributes of the SDK's class that hold several of our fields.
ATTRIBUTES = {
    "code": "code_configuration",
    "scoring_script": "code_configuration",
    **dict.fromkeys(REQUEST_SETTINGS, "request_settings"),
}


def update(place: Place, deployment: Deployment, current: Deployment) -> Forms:
    """From `current` to `deployment`; where nothing differs, the whole wish as it stands."""
    changed = differing(deployment, current)
    return Forms(
        yaml={"deployment.yml": deployment_yaml(deployment)},
        cli=script(*_update_steps(place, deployment, changed)),
        python=_update_program(place, deployment, changed),
        rest=rest(place, *_update_requests(place, deployment, changed)),
    )


def delete(place: Place, deployment: Deployment) -> Forms:
    """The YAML is of what goes, to make it again."""
    program = Program(place)
    program.do("online_deployments.begin_delete", deployment.name, deployment.endpoint)
    return Forms(
        yaml={"deployment.yml": deployment_yaml(deployment)},
        cli=script(
            command(
                "online-deployment delete --yes",
                place,
                name=deployment.name,
                endpoint_name=deployment.endpoint,
            )
        ),
        python=program.text,
        rest=rest(place, request("DELETE", deployment_path(deployment))),
    )


def _update_steps(place: Place, deployment: Deployment, changed: set[str]) -> list[Step]:
    if not changed or changed - set(SETTABLE):
        return deployment_steps(place, deployment, "update")
    sets = [
        f"{word}={getattr(deployment, name)}" for name, word in SETTABLE.items() if name in changed
    ]
    return [
        command(
            f"online-deployment update --set {' '.join(sets)}",
            place,
            name=deployment.name,
            endpoint_name=deployment.endpoint,
        )
    ]


def _update_program(place: Place, deployment: Deployment, changed: set[str]) -> str:
    program = Program(place)
    if isinstance(deployment.code, Local):
        program.files(deployment.code)
    program.take("deployment", "online_deployments.get", deployment.name, deployment.endpoint)
    # The SDK reads a queue wait below a second as none, and would send that back.
    attributes = {ATTRIBUTES.get(name, name) for name in changed} | {"request_settings"}
    for name, value in python_fields(deployment).items():
        if name in attributes:
            program.set(f"deployment.{name}", value)
    program.lines.append("ml.online_deployments.begin_create_or_update(deployment).result()")
    return program.text


def _update_requests(place: Place, deployment: Deployment, changed: set[str]) -> list[Step]:
    path = deployment_path(deployment)
    if changed == {"instance_count"}:
        return [request("PATCH", path, {"sku": {"capacity": deployment.instance_count}})]
    return deployment_requests(place, deployment, None, path)
