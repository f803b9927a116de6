"""Creating, updating and deleting batch endpoints."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from django.db import transaction
from django.utils import timezone

from endpoints.changes import count_endpoints, identity_errors
from endpoints.models import BatchEndpoint
from endpoints.names import check_name, claim_name
from workspaces import quota
from workspaces.activity import record
from workspaces.checker import Checker
from workspaces.errors import Conflict, NotFound, UserError
from workspaces.models import User, Workspace


@dataclass(frozen=True)
class BatchEndpointSpec:
    """A whole wish (facts 2.4). `default_deployment` names one that the endpoint has."""

    name: str
    description: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)
    auth_mode: str = BatchEndpoint.AUTH_MODE
    identity: dict[str, Any] = field(default_factory=dict)
    location: str = ""
    default_deployment: str = ""


def create_batch_endpoint(
    workspace: Workspace, spec: BatchEndpointSpec, *, by: User | None
) -> BatchEndpoint:
    """Make the endpoint; it takes jobs once it has a deployment.

    Raises `Conflict` for a taken name, `UserError` for a field that is wrong or a quota that is used up.
    """
    check_spec(spec)
    if spec.default_deployment:
        raise UserError(
            "defaults.deployment_name cannot be given when an endpoint is made: it has no deployments yet. Create "
            "the deployment first, then make it the default.",
            target="defaults.deployment_name",
        )
    with transaction.atomic():
        Workspace.objects.select_for_update().get(pk=workspace.pk)
        claim_name(spec.name)
        quota.check(workspace, "endpoints", used=count_endpoints(workspace), wanted=1)
        endpoint = BatchEndpoint.objects.create(
            workspace=workspace,
            created_by=by,
            **_facts(replace(spec, location=spec.location or workspace.location)),
        )
        record(workspace, "create", endpoint, by=by, endpoint_name=endpoint.name)
    return endpoint


def update_batch_endpoint(
    endpoint: BatchEndpoint, spec: BatchEndpointSpec, *, by: User | None
) -> BatchEndpoint:
    """Make the endpoint what `spec` says, whole; the same again changes nothing. Name and location stay."""
    with transaction.atomic():
        locked = BatchEndpoint.objects.select_for_update(of=("self",)).select_related("workspace")
        found = locked.filter(pk=endpoint.pk).first()
        if found is None:
            raise Conflict(f"Endpoint '{endpoint.name}' was deleted meanwhile.", target="name")
        current = spec_of(found)
        wanted = replace(spec, name=found.name, location=found.location)
        check_spec(wanted)
        if wanted.default_deployment:
            chosen = deployment_named(found, wanted.default_deployment)
            wanted = replace(wanted, default_deployment=chosen)
        if current == wanted:
            return found
        changes = {
            name: value
            for name, value in _facts(wanted).items()
            if value != getattr(current, name)
        }
        for name, value in changes.items():
            setattr(found, name, value)
        found.updated_at = timezone.now()
        found.save(update_fields=[*changes, "updated_at"])
        record(
            found.workspace,
            "update",
            found,
            by=by,
            endpoint_name=found.name,
            before={name: getattr(current, name) for name in changes},
            after=changes,
        )
    return found


def set_default_deployment(
    endpoint: BatchEndpoint, deployment: str, *, by: User | None
) -> BatchEndpoint:
    """Let jobs that name no deployment go to this one from now on; an empty name leaves none."""
    wanted = replace(spec_of(endpoint), default_deployment=deployment)
    return update_batch_endpoint(endpoint, wanted, by=by)


def delete_batch_endpoint(endpoint: BatchEndpoint, *, by: User | None) -> None:
    """Take the endpoint and its deployments away, at once; twice is success. Outputs of jobs stay."""
    with transaction.atomic():
        found = BatchEndpoint.objects.select_for_update().filter(pk=endpoint.pk).first()
        if found is None:
            return
        before = {"default_deployment": found.default_deployment}
        record(found.workspace, "delete", found, by=by, endpoint_name=found.name, before=before)
        found.delete()


def deployment_named(endpoint: BatchEndpoint, name: str) -> str:
    """The name of the endpoint's deployment, as it is written there; without regard to case."""
    names = endpoint.deployments.values_list("name", flat=True)
    chosen = names.filter(name__iexact=name).first()
    if chosen is None:
        has = ", ".join(names.order_by("name")[:10]) or "none yet"
        raise UserError(
            f"Endpoint '{endpoint.name}' has no deployment '{name[:60]}'. Its deployments: {has}.",
            target="defaults.deployment_name",
        )
    return str(chosen)


def find_batch_endpoint(workspace: Workspace, name: str) -> BatchEndpoint | None:
    """The endpoint of that name, without regard to case."""
    rows = workspace.batch_endpoints.select_related("workspace", "created_by")
    return rows.filter(name__iexact=name).first()


def get_batch_endpoint(workspace: Workspace, name: str) -> BatchEndpoint:
    """The same, or `NotFound`."""
    found = find_batch_endpoint(workspace, name)
    if found is None:
        raise NotFound(
            f"There is no batch endpoint '{name}' in workspace '{workspace.name}'.",
            target="endpoint",
        )
    return found


def spec_of(endpoint: BatchEndpoint) -> BatchEndpointSpec:
    """The endpoint's wish, to be changed and handed back."""
    names = [item.name for item in fields(BatchEndpointSpec) if item.name != "auth_mode"]
    return BatchEndpointSpec(**{name: getattr(endpoint, name) for name in names})


def check_spec(spec: BatchEndpointSpec) -> None:
    """Raise for every field that is wrong, all at once."""
    checker = Checker()
    checker.run(check_name, "endpoint", spec.name)
    checker.text(spec.description, "description", 10_000)
    checker.texts(spec.tags, "tags")
    checker.texts(spec.properties, "properties")
    checker.that(
        spec.auth_mode == BatchEndpoint.AUTH_MODE,
        "auth_mode",
        f"auth_mode is '{spec.auth_mode}'. Batch endpoints are called with a token of the caller: use aad_token.",
    )
    checker.text(spec.default_deployment, "defaults.deployment_name", 32)
    checker.errors.extend(identity_errors(spec.identity))
    checker.finish()


def _facts(spec: BatchEndpointSpec) -> dict[str, Any]:
    return {
        item.name: getattr(spec, item.name)
        for item in fields(BatchEndpointSpec)
        if item.name != "auth_mode"
    }
