"""Real-time endpoints: create, edit, split, delete, new keys. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from portal.studio.as_code.deployments import (
    deployment_program,
    deployment_requests,
    deployment_steps,
    deployment_yaml,
)
from portal.studio.as_code.forms import Forms
from portal.studio.as_code.place import Place
from portal.studio.as_code.values import Deployment, Endpoint, Model
from portal.studio.as_code.writing import (
    Entity,
    Program,
    Step,
    command,
    request,
    rest,
    script,
    segment,
    wait,
    without_empty,
    write_file,
    yaml_text,
)

AUTH_MODES = {"key": "Key", "aml_token": "AMLToken", "aad_token": "AADToken"}


def create(
    place: Place,
    endpoint: Endpoint | None,
    deployment: Deployment,
    *,
    register: Model | None = None,
    all_traffic: bool = False,
) -> Forms:
    """A deployment, with its endpoint if that is new, and its model if that shall have a name."""
    files = {"endpoint.yml": endpoint_yaml(endpoint)} if endpoint else {}
    files["deployment.yml"] = deployment_yaml(deployment)
    return Forms(
        yaml=files,
        cli=_create_cli(place, endpoint, deployment, register, all_traffic),
        python=_create_python(place, endpoint, deployment, register, all_traffic),
        rest=_create_rest(place, endpoint, deployment, register, all_traffic),
    )


def edit(place: Place, endpoint: Endpoint) -> Forms:
    """Another description, other tags."""
    program = Program(place)
    program.take("endpoint", "online_endpoints.get", endpoint.name)
    program.set("endpoint.description", endpoint.description)
    program.set("endpoint.tags", dict(endpoint.tags))
    program.lines.append("ml.online_endpoints.begin_create_or_update(endpoint).result()")
    text = endpoint_yaml(endpoint)
    return Forms(
        yaml={"endpoint.yml": text},
        cli=script(
            *write_file("endpoint.yml", text),
            command("online-endpoint update", place, file="endpoint.yml"),
        ),
        python=program.text,
        rest=rest(place, _put_endpoint(endpoint)),
    )


def split(
    place: Place, endpoint: Endpoint, traffic: Mapping[str, int], mirror: Mapping[str, int]
) -> Forms:
    """Live and mirrored traffic of the endpoint as it is now."""
    live = {name: percent for name, percent in traffic.items() if percent}
    copied = {name: percent for name, percent in mirror.items() if percent}
    wanted = replace(endpoint, traffic=live, mirror_traffic=copied)
    program = Program(place)
    program.take("endpoint", "online_endpoints.get", endpoint.name)
    program.set("endpoint.traffic", dict(live))
    program.set("endpoint.mirror_traffic", dict(copied))
    program.lines.append("ml.online_endpoints.begin_create_or_update(endpoint).result()")
    # Zeros say that a share ends: without them the flag would be empty, which az refuses.
    told = live or dict.fromkeys(traffic, 0)
    ended = copied or dict.fromkeys(endpoint.mirror_traffic, 0)
    return Forms(
        yaml={"endpoint.yml": endpoint_yaml(wanted)},
        cli=script(
            command(
                "online-endpoint update",
                place,
                name=endpoint.name,
                traffic=percents(told),
                mirror_traffic=percents(ended),
            )
        ),
        python=program.text,
        rest=rest(place, _put_endpoint(wanted)),
    )


def delete(place: Place, endpoints: Iterable[Endpoint]) -> Forms:
    """The YAML is of what goes, to make it again."""
    found = list(endpoints)
    program = Program(place)
    for endpoint in found:
        program.do("online_endpoints.begin_delete", endpoint.name)
    return Forms(
        yaml={
            ("endpoint.yml" if len(found) == 1 else f"{item.name}.yml"): endpoint_yaml(
                replace(item, traffic={}, mirror_traffic={})
            )
            for item in found
        },
        cli=script(*(_delete_command(place, item) for item in found)),
        python=program.text,
        rest=rest(place, *(request("DELETE", endpoint_path(item.name)) for item in found)),
    )


def regenerate_key(place: Place, endpoint: str, key_type: str) -> Forms:
    """`key_type` is primary or secondary."""
    program = Program(place)
    program.do("online_endpoints.begin_regenerate_keys", endpoint, key_type=key_type)
    path = f"{endpoint_path(endpoint)}/regenerateKeys"
    return Forms(
        yaml={},
        cli=script(
            command("online-endpoint regenerate-keys", place, name=endpoint, key_type=key_type)
        ),
        python=program.text,
        rest=rest(place, request("POST", path, {"keyType": key_type.capitalize()})),
    )


def endpoint_yaml(endpoint: Endpoint) -> str:
    values = {
        "name": endpoint.name,
        "auth_mode": endpoint.auth_mode,
        "compute": f"azureml:{endpoint.compute}" if endpoint.compute else "",
        "description": endpoint.description,
        "tags": dict(endpoint.tags),
        "properties": dict(endpoint.properties),
        "traffic": dict(endpoint.traffic),
        "mirror_traffic": dict(endpoint.mirror_traffic),
    }
    kind = "kubernetesOnlineEndpoint" if endpoint.compute else "managedOnlineEndpoint"
    return yaml_text(kind, values)


def endpoint_path(name: str) -> str:
    return f"onlineEndpoints/{segment(name)}"


def percents(traffic: Mapping[str, int]) -> str:
    return " ".join(f"{name}={percent}" for name, percent in traffic.items())


def _delete_command(place: Place, endpoint: Endpoint) -> Step:
    return command("online-endpoint delete --yes", place, name=endpoint.name)


def _put_endpoint(endpoint: Endpoint, *, location: str = "local") -> Step:
    return request("PUT", endpoint_path(endpoint.name), _endpoint_body(endpoint, location))


def _endpoint_body(endpoint: Endpoint, location: str) -> dict[str, Any]:
    """All of it, for a PUT states the whole wish; empty traffic is told, so that it ends."""
    properties = {
        "authMode": AUTH_MODES.get(endpoint.auth_mode, endpoint.auth_mode),
        "compute": endpoint.compute,
        "description": endpoint.description,
        "properties": dict(endpoint.properties),
    }
    return {
        "location": location,
        "tags": dict(endpoint.tags),
        "properties": {
            **without_empty(properties),
            "traffic": dict(endpoint.traffic),
            "mirrorTraffic": dict(endpoint.mirror_traffic),
        },
    }


def _create_cli(
    place: Place,
    endpoint: Endpoint | None,
    deployment: Deployment,
    register: Model | None,
    all_traffic: bool,
) -> str:
    steps = []
    if endpoint:
        steps += write_file("endpoint.yml", endpoint_yaml(endpoint))
        steps.append(command("online-endpoint create", place, file="endpoint.yml"))
    verb = f"create{' --all-traffic' if all_traffic else ''}"
    return script(*steps, *deployment_steps(place, deployment, verb, register))


def _create_python(
    place: Place,
    endpoint: Endpoint | None,
    deployment: Deployment,
    register: Model | None,
    all_traffic: bool,
) -> str:
    program = Program(place)
    if endpoint:
        values = {
            "name": endpoint.name,
            "auth_mode": endpoint.auth_mode,
            "compute": endpoint.compute,
            "description": endpoint.description,
            "tags": dict(endpoint.tags),
        }
        kind = "KubernetesOnlineEndpoint" if endpoint.compute else "ManagedOnlineEndpoint"
        entity = Entity(kind, without_empty(values))
        program.do("online_endpoints.begin_create_or_update", entity)
    deployment_program(program, deployment, register)
    if all_traffic:
        program.take("endpoint", "online_endpoints.get", deployment.endpoint)
        program.set("endpoint.traffic", {deployment.name: 100})
        program.lines.append("ml.online_endpoints.begin_create_or_update(endpoint).result()")
    return program.text


def _create_rest(
    place: Place,
    endpoint: Endpoint | None,
    deployment: Deployment,
    register: Model | None,
    all_traffic: bool,
) -> str:
    steps = []
    if endpoint:
        steps += [_put_endpoint(endpoint), wait(endpoint_path(endpoint.name))]
    path = f"{endpoint_path(deployment.endpoint)}/deployments/{segment(deployment.name)}"
    steps += [*deployment_requests(place, deployment, register, path), wait(path)]
    if all_traffic:
        everything = {"properties": {"traffic": {deployment.name: 100}}}
        steps.append(request("PATCH", endpoint_path(deployment.endpoint), everything))
    return rest(place, *steps)
