"""Ids of assets and computes, as resources name one another: written and read back."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from api.arm import Scope
from deployments.environments import curated
from workspaces import catalog, components
from workspaces.errors import NotFound, UserError
from workspaces.models import (
    CodeVersion,
    ComponentVersion,
    EnvironmentVersion,
    ModelVersion,
    User,
    Workspace,
)

V = TypeVar("V", ModelVersion, EnvironmentVersion, CodeVersion, ComponentVersion)

# Both `/subscriptions/…/providers/…/workspaces/…` and the short form of azureml:// addresses.
LONG_ID = re.compile(
    r"(?i:(?:azureml:)?/{0,2}subscriptions)/([^/]+)/(?i:resourceGroups)/([^/]+)/"
    r"(?i:(?:providers/Microsoft\.MachineLearningServices/)?workspaces)/([^/]+)/"
    r"([A-Za-z]+)/([^/]+)/(versions|labels)/([^/]+)/?"
)
COMPUTE_ID = re.compile(
    r"(?:azureml:)?/subscriptions/([^/]+)/resourceGroups/([^/]+)/"
    r"(?:providers/Microsoft\.MachineLearningServices/)?workspaces/([^/]+)/computes/([^/]+)/?",
    re.IGNORECASE,
)
DATASTORE_PATH = re.compile(
    r"azureml:/{1,2}(?i:(?:subscriptions/[^/]+/resourcegroups/[^/]+/workspaces/(?P<workspace>[^/]+)/)?"
    r"datastores)/(?P<datastore>[^/]+)/paths/(?P<path>.+)"
)
CURATED = "azureml://registries/azureml/environments/{name}/labels/latest"


def model_id(workspace: Workspace, version: ModelVersion) -> str:
    return f"{workspace.arm_id}/models/{version.model.name}/versions/{version.version}"


def code_id(workspace: Workspace, version: CodeVersion) -> str:
    return f"{workspace.arm_id}/codes/{version.code.name}/versions/{version.version}"


def environment_id(workspace: Workspace, version: EnvironmentVersion) -> str:
    """A curated environment goes by its registry address, as it was asked for."""
    if version.environment.is_anonymous and version.curated:
        return CURATED.format(name=version.curated)
    return f"{workspace.arm_id}/environments/{version.environment.name}/versions/{version.version}"


def component_id(workspace: Workspace, version: ComponentVersion) -> str:
    return f"{workspace.arm_id}/components/{version.component.name}/versions/{version.version}"


def compute_name(workspace: Workspace, reference: str, *, target: str) -> str:
    """The name in `cpu`, `azureml:cpu` or the id of a compute of this workspace, whether or not there is one."""
    if "/" not in reference:
        return reference.removeprefix("azureml:")
    found = COMPUTE_ID.fullmatch(reference)
    if found is None:
        raise UserError(
            f"{target} is '{reference[:200]}'. It must be the name of a compute, azureml:<name>, or the id of one "
            "of the workspace's computes.",
            target=target,
        )
    if str(Scope(found[1], found[2], found[3])).lower() != workspace.arm_id.lower():
        raise UserError(
            f"{target} names a compute of another workspace, '{found[3]}'. Create one in '{workspace.name}'.",
            target=target,
        )
    return found[4]


def find_model(workspace: Workspace, reference: str, *, target: str) -> ModelVersion:
    """`UserError` for a reference that leads nowhere, or out of the workspace."""
    return _find(workspace, reference, "models", catalog.resolve_model, target)


def find_code(workspace: Workspace, reference: str, *, target: str) -> CodeVersion:
    return _find(workspace, reference, "codes", catalog.resolve_code, target)


def find_component(workspace: Workspace, reference: str, *, target: str) -> ComponentVersion:
    return _find(workspace, reference, "components", components.resolve, target)


def find_environment(
    workspace: Workspace, reference: str, *, target: str, by: User | None
) -> EnvironmentVersion:
    """The workspace's own, or else a curated one, which is then kept as an anonymous environment."""
    try:
        return _find(workspace, reference, "environments", catalog.resolve_environment, target)
    except UserError:
        known = curated(reference)
        if known is None:
            raise
    return catalog.register_anonymous_environment(workspace, by=by, curated=known.name)


def _find(
    workspace: Workspace,
    reference: str,
    collection: str,
    resolve: Callable[[Workspace, str], V],
    target: str,
) -> V:
    try:
        return resolve(workspace, _short(workspace, reference, collection, target))
    except NotFound as error:
        # The resource that is being written exists, or may: 404 would be said of that one.
        raise UserError(error.message, code=error.code, target=target) from error


def _short(workspace: Workspace, reference: str, collection: str, target: str) -> str:
    """`azureml:name:version` or `azureml:name@label`, as the catalog knows them."""
    if "/" not in reference:
        return reference
    found = LONG_ID.fullmatch(reference)
    if found is None:
        raise UserError(
            f"{target} is '{reference[:200]}'. It must be azureml:<name>:<version>, azureml:<name>@latest, or the "
            f"id of one of the workspace's {collection}.",
            target=target,
        )
    subscription, group, name = found[1], found[2], found[3]
    if str(Scope(subscription, group, name)).lower() != workspace.arm_id.lower():
        raise UserError(
            f"{target} names something in another workspace, '{name}'. Register it in '{workspace.name}' first.",
            target=target,
        )
    if found[4].lower() != collection:
        raise UserError(
            f"{target} names one of the workspace's {found[4]}. It must be one of its {collection}.",
            target=target,
        )
    return f"{found[5]}:{found[7]}" if found[6] == "versions" else f"{found[5]}@{found[7]}"
