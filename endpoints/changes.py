"""Creating, updating and deleting online endpoints."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from django.db import transaction
from django.utils import timezone

from endpoints import keys
from endpoints.gateway import publish
from endpoints.models import EndpointState, OnlineEndpoint
from endpoints.names import check_name, claim_name
from workspaces import quota, vault
from workspaces.activity import record
from workspaces.computes import find_compute
from workspaces.errors import Conflict, UserError, ValidationFailed
from workspaces.models import Compute, User, Workspace

CHANGEABLE = ("description", "tags", "properties", "auth_mode", "public_network_access")
UNTIL_DEPLOYED = "compute"
"""What may be changed while nothing runs."""


@dataclass(frozen=True)
class EndpointSpec:
    """What may be said of an endpoint when it is made (facts 2.1); `traffic` cannot be."""

    name: str
    description: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)
    auth_mode: str = OnlineEndpoint.AuthMode.KEY
    compute: str = ""
    identity: dict[str, Any] = field(default_factory=dict)
    public_network_access: str = OnlineEndpoint.PublicNetworkAccess.ENABLED
    location: str = ""
    traffic: dict[str, int] = field(default_factory=dict)
    mirror_traffic: dict[str, int] = field(default_factory=dict)


def create_endpoint(
    workspace: Workspace, spec: EndpointSpec, *, by: User | None
) -> OnlineEndpoint:
    """Make the endpoint with two fresh keys; it answers once a deployment has traffic.

    Raises `Conflict` for a taken name, `UserError` for a field that is wrong or a quota that is used up.
    """
    check_spec(spec)
    compute = check_compute(workspace, spec.compute)
    with transaction.atomic():
        Workspace.objects.select_for_update().get(pk=workspace.pk)
        claim_name(spec.name)
        quota.check(workspace, "endpoints", used=count_endpoints(workspace), wanted=1)
        endpoint = OnlineEndpoint.objects.create(
            workspace=workspace,
            state=EndpointState.SUCCEEDED,
            name=spec.name,
            description=spec.description,
            tags=spec.tags,
            properties=spec.properties,
            auth_mode=spec.auth_mode,
            compute=compute,
            identity=spec.identity or {"type": "system_assigned"},
            public_network_access=spec.public_network_access,
            location=spec.location or workspace.location,
            primary_key_sealed=vault.seal(keys.make_key()),
            secondary_key_sealed=vault.seal(keys.make_key()),
            created_by=by,
        )
        publish.touch(endpoint)
        record(workspace, "create", endpoint, by=by, endpoint_name=endpoint.name)
    return endpoint


def update_endpoint(
    endpoint: OnlineEndpoint,
    changes: dict[str, Any],
    *,
    by: User | None,
    based_on: int | None = None,
) -> OnlineEndpoint:
    """Change description, tags, properties, auth mode or network access; other fields never change.

    But the compute, while there is no deployment: `Conflict` afterwards.
    """
    compute = changes.get(UNTIL_DEPLOYED)
    if compute is not None and compute.lower() in {
        endpoint.compute_name.lower(),
        endpoint.compute.lower(),
    }:
        changes = {name: value for name, value in changes.items() if name != UNTIL_DEPLOYED}
    elif compute is not None:
        changes = {**changes, UNTIL_DEPLOYED: check_compute(endpoint.workspace, compute)}
    fixed = [name for name in changes if name not in {*CHANGEABLE, UNTIL_DEPLOYED}]
    if fixed:
        raise UserError(
            f"'{fixed[0]}' of an endpoint cannot be changed. Changeable are {', '.join(CHANGEABLE)}; traffic has "
            "its own command.",
            target=fixed[0],
        )
    check_spec(EndpointSpec(name=endpoint.name, **changes))
    with transaction.atomic():
        locked = OnlineEndpoint.objects.select_for_update().get(pk=endpoint.pk)
        if locked.state == EndpointState.DELETING:
            raise Conflict(f"Endpoint '{locked.name}' is being deleted.", target="name")
        if based_on is not None and based_on != locked.revision:
            raise Conflict(
                f"Endpoint '{locked.name}' was changed meanwhile. Load it again, then apply your change.",
                target="revision",
            )
        before = {name: getattr(locked, name) for name in changes}
        if before == changes:
            return locked
        if UNTIL_DEPLOYED in changes and locked.upstreams.exists():
            raise Conflict(
                f"Endpoint '{locked.name}' has deployments, which run on "
                f"{_compute_words(locked.compute_name)}. Delete them before it moves to "
                f"{_compute_words(changes['compute'])}, or make another endpoint there.",
                target="compute",
            )
        for name, value in changes.items():
            setattr(locked, name, value)
        locked.revision += 1
        locked.updated_at = timezone.now()
        locked.save(update_fields=[*changes, "revision", "updated_at"])
        publish.touch(locked)
        record(
            locked.workspace,
            "update",
            locked,
            by=by,
            endpoint_name=locked.name,
            before=before,
            after=changes,
        )
    return locked


def delete_endpoint(endpoint: OnlineEndpoint, *, by: User | None) -> None:
    """Stop answering at once and begin to delete; whoever runs deployments takes them away and finishes.

    Twice is success.
    """
    with transaction.atomic():
        locked = OnlineEndpoint.objects.select_for_update().filter(pk=endpoint.pk).first()
        if locked is None or locked.state == EndpointState.DELETING:
            return
        locked.move(EndpointState.DELETING)
        publish.touch(locked)
        record(
            locked.workspace,
            "delete",
            locked,
            by=by,
            endpoint_name=locked.name,
            before={"traffic": locked.traffic, "mirror_traffic": locked.mirror_traffic},
        )


def finish_delete(endpoint: OnlineEndpoint) -> None:
    """Remove the row of an endpoint whose deployments are gone."""
    with transaction.atomic():
        endpoint.upstreams.all().delete()
        publish.forget(endpoint)
        OnlineEndpoint.objects.filter(pk=endpoint.pk, state=EndpointState.DELETING).delete()


def check_spec(spec: EndpointSpec) -> None:
    """Raise for every field that is wrong, all at once."""
    errors: list[UserError] = []

    def check(is_right: bool, message: str, target: str) -> None:
        if not is_right:
            errors.append(UserError(message, target=target))

    try:
        check_name("endpoint", spec.name)
    except UserError as error:
        errors.append(error)
    for name in ("tags", "properties"):
        values = getattr(spec, name)
        check(
            isinstance(values, dict)
            and all(isinstance(k, str) and isinstance(v, str) for k, v in values.items()),
            f"{name} is {values!r}. It must map texts to texts.",
            name,
        )
    check(
        isinstance(spec.description, str),
        f"description is {spec.description!r}. It must be a text.",
        "description",
    )
    check(
        spec.auth_mode in OnlineEndpoint.AuthMode.values,
        f"auth_mode is '{spec.auth_mode}'. Use one of {', '.join(OnlineEndpoint.AuthMode.values)}.",
        "auth_mode",
    )
    check(
        spec.public_network_access in OnlineEndpoint.PublicNetworkAccess.values,
        f"public_network_access is '{spec.public_network_access}'. Use enabled or disabled.",
        "public_network_access",
    )
    check(
        not any(spec.traffic.values()) and not any(spec.mirror_traffic.values()),
        "traffic cannot be given when an endpoint is made: it has no deployments yet. Create the deployment "
        "first, then set the traffic.",
        "traffic",
    )
    errors.extend(identity_errors(spec.identity))
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ValidationFailed(errors)


def check_compute(workspace: Workspace, name: str) -> str:
    """The name of the attached compute as it is written there; empty for none. `UserError` names those there are."""
    if not name:
        return ""
    found = find_compute(workspace, name)
    if found is not None and not found.is_cluster:
        return found.name
    attached = workspace.computes.exclude(kind=Compute.Kind.AMLCOMPUTE)
    there = ", ".join(attached.values_list("name", flat=True)[:6]) or "none yet"
    why = (
        f"Workspace '{workspace.name}' has no compute '{name[:60]}'."
        if found is None
        else f"Compute '{found.name}' is a cluster for batch jobs, and runs no online deployments."
    )
    raise UserError(
        f"{why} An online endpoint names an attached compute ({there}), or none to run where the installation runs "
        "its deployments.",
        target="compute",
    )


def _compute_words(name: str) -> str:
    return f"compute '{name}'" if name else "this installation"


def count_endpoints(workspace: Workspace) -> int:
    """Of all kinds: they share one quota (facts 3.2)."""
    return workspace.online_endpoints.count() + workspace.batch_endpoints.count()


def identity_errors(identity: dict[str, Any]) -> list[UserError]:
    """What is wrong with the `identity` of an endpoint."""
    if not identity:
        return []
    if not isinstance(identity, dict) or "type" not in identity:
        return [
            UserError(
                "The identity type was not found. Set identity.type to system_assigned or user_assigned.",
                target="identity.type",
            )
        ]
    if identity["type"] not in {"system_assigned", "user_assigned"}:
        return [
            UserError(
                f"identity.type is {identity['type']!r}. Use system_assigned or user_assigned.",
                target="identity.type",
            )
        ]
    assigned = identity.get("user_assigned_identities")
    if identity["type"] == "user_assigned" and not assigned:
        return [
            UserError(
                "A user_assigned identity needs identity.user_assigned_identities with one resource_id.",
                target="identity.user_assigned_identities",
            )
        ]
    return []


def spec_fields() -> tuple[str, ...]:
    """The names an endpoint's YAML may use."""
    return tuple(item.name for item in fields(EndpointSpec))
