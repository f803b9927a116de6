"""Rows for tests, by plain functions with good defaults: spell out only what the test is about.

The cast: *alice* owns the workspace, *bob* reads, *charlie* is a stranger (`make_cast`).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from django.utils import timezone

from deployments.models import (
    BatchDeployment,
    DeploymentState,
    Instance,
    OnlineDeployment,
    Operation,
    Phase,
    Revision,
)
from endpoints import keys
from endpoints.models import BatchEndpoint, EndpointState, OnlineEndpoint, Upstream
from workspaces import vault
from workspaces.models import (
    Code,
    CodeVersion,
    Component,
    ComponentVersion,
    Compute,
    ComputeEngine,
    Data,
    DataVersion,
    Environment,
    EnvironmentVersion,
    InstanceType,
    Membership,
    Model,
    ModelVersion,
    Role,
    User,
    Workspace,
)

PASSWORD = "correct-horse-battery-staple"
CONDA = "dependencies:\n  - python=3.11\n  - pip:\n      - scikit-learn\n"
_numbers = itertools.count(1)


class Cast(NamedTuple):
    alice: User
    bob: User
    charlie: User
    workspace: Workspace


def make_cast() -> Cast:
    """A workspace that *alice* owns and *bob* reads; *charlie* is a stranger."""
    alice, bob, charlie = make_users("alice", "bob", "charlie")
    workspace = make_workspace(owner=alice, reader=bob)
    return Cast(alice, bob, charlie, workspace)


def make_user(name: str = "", **fields: Any) -> User:
    """A user, whom `let_sign_in` gives a password; the same name again gives the same user."""
    [user] = make_users(name or f"user{next(_numbers)}", **fields)
    return user


def make_users(*names: str, **fields: Any) -> list[User]:
    """What `make_user` does, for several users in as many queries as for one."""
    found = {user.username: user for user in User.objects.filter(username__in=names)}
    new = [
        User(username=name, email=f"{name}@example.com", **fields)
        for name in names
        if name not in found
    ]
    for user in new:
        user.set_unusable_password()
    found |= {user.username: user for user in User.objects.bulk_create(new)}
    return [found[name] for name in names]


def let_sign_in(user: User) -> User:
    """Give the user the password `PASSWORD`, for tests that go through the sign-in page."""
    user.set_password(PASSWORD)
    user.save(update_fields=["password"])
    return user


def make_workspace(
    name: str = "", *, owner: User | None = None, reader: User | None = None, **fields: Any
) -> Workspace:
    """A workspace with the members given, and no endpoints."""
    values = {
        "name": name or f"workspace{next(_numbers)}",
        "subscription_id": "00000000-0000-0000-0000-000000000001",
        "resource_group": "portico",
        **fields,
    }
    workspace = Workspace.objects.create(**values)
    members = [(owner, Role.OWNER), (reader, Role.READER)]
    Membership.objects.bulk_create(
        Membership(workspace=workspace, user=user, role=role)
        for user, role in members
        if user is not None
    )
    return workspace


def add_member(workspace: Workspace, user: User, role: str) -> Membership:
    return Membership.objects.create(workspace=workspace, user=user, role=role)


def make_online_endpoint(
    workspace: Workspace | None = None,
    name: str = "",
    *,
    deployments: Mapping[str, int] | None = None,
    mirror: Mapping[str, int] | None = None,
    auth_mode: str = OnlineEndpoint.AuthMode.KEY,
    state: str = EndpointState.SUCCEEDED,
    **fields: Any,
) -> OnlineEndpoint:
    """An endpoint with keys and the ready deployments given (name → live percent).

    Without a workspace, one that alice owns and bob reads.
    """
    if workspace is None:
        workspace = make_workspace(owner=make_user("alice"), reader=make_user("bob"))
    endpoint = OnlineEndpoint.objects.create(
        workspace=workspace,
        name=name or f"endpoint-{next(_numbers)}",
        auth_mode=auth_mode,
        state=state,
        primary_key_sealed=vault.seal(keys.make_key()),
        secondary_key_sealed=vault.seal(keys.make_key()),
        mirror_traffic=dict(mirror or {}),
        **{
            "created_by": workspace_owner(workspace),
            "traffic": {key: percent for key, percent in (deployments or {}).items() if percent},
            **fields,
        },
    )
    for deployment in deployments or {}:
        make_deployment(endpoint, deployment)
    return endpoint


def make_deployment(
    endpoint: OnlineEndpoint | None = None,
    name: str = "blue",
    *,
    state: str = DeploymentState.SUCCEEDED,
    instance_count: int = 1,
    ready: int | None = None,
    failure: Mapping[str, Any] | None = None,
    instance_type: str = "Standard_DS3_v2",
    revision: Mapping[str, Any] | None = None,
    **fields: Any,
) -> OnlineDeployment:
    """A deployment with one revision, its upstream, and `ready` healthy instances.

    `ready` is all of them for a deployment that succeeded, and none for another one; `revision` holds fields of
    the revision that differ from the defaults.
    """
    endpoint = endpoint or make_online_endpoint()
    if ready is None:
        ready = instance_count if state == DeploymentState.SUCCEEDED else 0
    now = timezone.now()
    is_busy = state in {
        DeploymentState.CREATING,
        DeploymentState.UPDATING,
        DeploymentState.DELETING,
    }
    deployment = OnlineDeployment.objects.create(
        endpoint=endpoint,
        name=name,
        state=state,
        instance_count=instance_count,
        failure=dict(failure or {}),
        due_at=now if is_busy else None,
        **{"created_by": endpoint.created_by, **fields},
    )
    wanted = make_revision(deployment, instance_type=instance_type, **(revision or {}))
    deployment.revision = wanted
    deployment.serving_revision = wanted if ready else None
    deployment.save(update_fields=["revision", "serving_revision"])
    for number in range(1, instance_count + 1):
        make_instance(deployment, wanted, number=number, is_healthy=number <= ready)
    Upstream.objects.create(
        endpoint=endpoint,
        deployment_name=name,
        addresses=[f"unix:/nowhere/{deployment.pk}-{number}.sock" for number in range(ready)],
        instance_count=instance_count,
    )
    make_operation(deployment)
    return deployment


def make_revision(
    deployment: OnlineDeployment, *, instance_type: str = "Standard_DS3_v2", **fields: Any
) -> Revision:
    """The next revision, with a model, code and environment of its workspace."""
    workspace = deployment.endpoint.workspace
    last = deployment.revisions.order_by("-number").values_list("number", flat=True).first() or 0
    values = {
        "model_version": make_model(workspace),
        "code_version": make_code(workspace),
        "environment_version": make_environment(workspace),
        "scoring_script": "score.py",
        "environment_variables_sealed": vault.seal_map({}),
        **fields,
    }
    return Revision.objects.create(
        deployment=deployment,
        number=last + 1,
        instance_type=InstanceType.objects.get(name__iexact=instance_type),
        **values,
    )


def make_instance(
    deployment: OnlineDeployment,
    revision: Revision,
    *,
    number: int = 1,
    is_healthy: bool = True,
    **fields: Any,
) -> Instance:
    state = Instance.State.HEALTHY if is_healthy else Instance.State.STARTING
    return Instance.objects.create(
        deployment=deployment,
        revision=revision,
        number=number,
        name=f"{deployment.endpoint.name}-{deployment.name}-{revision.number}-{number}".lower(),
        **{"state": state, "ready_at": timezone.now() if is_healthy else None, **fields},
    )


def make_operation(deployment: OnlineDeployment, **fields: Any) -> Operation:
    """The operation that led to the deployment's state, with one phase."""
    states = {
        DeploymentState.SUCCEEDED: Operation.State.SUCCEEDED,
        DeploymentState.FAILED: Operation.State.FAILED,
    }
    kinds = {
        DeploymentState.UPDATING: Operation.Kind.UPDATE,
        DeploymentState.DELETING: Operation.Kind.DELETE,
    }
    state = states.get(DeploymentState(deployment.state), Operation.State.RUNNING)
    now = timezone.now()
    values = {
        "kind": kinds.get(DeploymentState(deployment.state), Operation.Kind.CREATE),
        "state": state,
        "started_at": now,
        "ended_at": None if state == Operation.State.RUNNING else now,
        "failure": deployment.failure,
        "started_by": deployment.created_by,
        "revision_number": deployment.revision.number if deployment.revision else None,
        **fields,
    }
    operation = Operation.objects.create(deployment=deployment, **values)
    Phase.objects.create(
        operation=operation,
        name=deployment.failure.get("phase") or Phase.Name.LOAD_MODEL,
        state=operation.state,
        started_at=operation.started_at,
        ended_at=operation.ended_at,
        log="Loading the model.\n",
    )
    return operation


def make_model(workspace: Workspace, name: str = "diabetes", **fields: Any) -> ModelVersion:
    """Version 1 of the model, made once for each workspace; its content is not in the store."""
    number = fields.pop("version", "1")
    found = ModelVersion.objects.filter(
        model__workspace=workspace, model__name=name, version=number
    ).first()
    if found is not None:
        return found
    model = Model.objects.filter(workspace=workspace, name=name).first()
    return ModelVersion.objects.create(
        model=model or Model.objects.create(workspace=workspace, name=name),
        version=number,
        **{"content_hash": "0" * 64, "leaf": "model.pkl", "is_folder": False, **fields},
    )


def make_code(workspace: Workspace, name: str = "scoring", **fields: Any) -> CodeVersion:
    number = fields.pop("version", "1")
    found = CodeVersion.objects.filter(
        code__workspace=workspace, code__name=name, version=number
    ).first()
    if found is not None:
        return found
    code = Code.objects.filter(workspace=workspace, name=name).first()
    return CodeVersion.objects.create(
        code=code or Code.objects.create(workspace=workspace, name=name, is_anonymous=True),
        version=number,
        **{"content_hash": "1" * 64, "leaf": "onlinescoring", **fields},
    )


def make_environment(
    workspace: Workspace, name: str = "sklearn", **fields: Any
) -> EnvironmentVersion:
    number = fields.pop("version", "1")
    found = EnvironmentVersion.objects.filter(
        environment__workspace=workspace, environment__name=name, version=number
    ).first()
    if found is not None:
        return found
    environment = Environment.objects.filter(workspace=workspace, name=name).first()
    return EnvironmentVersion.objects.create(
        environment=environment or Environment.objects.create(workspace=workspace, name=name),
        version=number,
        **{"conda_file": CONDA, **fields},
    )


def make_data(workspace: Workspace, name: str = "iris", **fields: Any) -> DataVersion:
    """Version 1 of a data asset that is an address."""
    data, _ = Data.objects.get_or_create(workspace=workspace, name=name)
    version, _ = DataVersion.objects.get_or_create(
        data=data,
        version=fields.pop("version", "1"),
        defaults={"uri": "https://example.org/iris", **fields},
    )
    return version


def make_component(workspace: Workspace, name: str = "score", **fields: Any) -> ComponentVersion:
    component, _ = Component.objects.get_or_create(workspace=workspace, name=name)
    version, _ = ComponentVersion.objects.get_or_create(
        component=component,
        version=fields.pop("version", "1"),
        defaults={
            "type": "command",
            "specification": {"type": "command", "command": "echo ${{inputs.word}}"},
            **fields,
        },
    )
    return version


def make_engines(compute: Compute, *names: str, **fields: Any) -> None:
    """Docker engines of an attached compute, at addresses where nothing answers."""
    for name in names:
        facts = {"url": f"unix:///nowhere/{name}.sock", **fields}
        ComputeEngine.objects.create(compute=compute, name=name, **facts)


def make_compute(
    workspace: Workspace | None = None,
    name: str = "",
    *,
    instance_type: str = "Standard_DS3_v2",
    **fields: Any,
) -> Compute:
    """A cluster of at most four nodes, or with `kind="kubernetes"` an attached one."""
    if workspace is None:
        workspace = make_workspace(owner=make_user("alice"), reader=make_user("bob"))
    is_cluster = fields.get("kind") != Compute.Kind.KUBERNETES
    size = InstanceType.objects.get(name__iexact=instance_type) if is_cluster else None
    return Compute.objects.create(
        workspace=workspace,
        name=name or f"cluster-{next(_numbers)}",
        instance_type=size,
        **{
            "created_by": workspace_owner(workspace),
            "max_instances": 4,
            "namespace": "" if is_cluster else "default",
            **fields,
        },
    )


def make_batch_endpoint(
    workspace: Workspace | None = None,
    name: str = "",
    *,
    deployments: Sequence[str] = (),
    **fields: Any,
) -> BatchEndpoint:
    """A batch endpoint with the deployments given, the first of which is the default."""
    if workspace is None:
        workspace = make_workspace(owner=make_user("alice"), reader=make_user("bob"))
    endpoint = BatchEndpoint.objects.create(
        workspace=workspace,
        name=name or f"batch-{next(_numbers)}",
        **{
            "created_by": workspace_owner(workspace),
            "default_deployment": deployments[0] if deployments else "",
            **fields,
        },
    )
    for deployment in deployments:
        make_batch_deployment(endpoint, deployment)
    return endpoint


def make_batch_deployment(
    endpoint: BatchEndpoint | None = None, name: str = "blue", **fields: Any
) -> BatchDeployment:
    """A batch deployment of a model with code and environment, on the compute `cpu` of its workspace."""
    endpoint = endpoint or make_batch_endpoint()
    workspace = endpoint.workspace
    if not workspace.computes.filter(name="cpu").exists():
        make_compute(workspace, "cpu")
    values = {
        "model_version": make_model(workspace, "nightly-model"),
        "code_version": make_code(workspace, "nightly-code"),
        "environment_version": make_environment(workspace, "nightly-env"),
        "scoring_script": "score.py",
        "environment_variables_sealed": vault.seal_map({}),
        "compute": "cpu",
        "created_by": endpoint.created_by,
        **fields,
    }
    return BatchDeployment.objects.create(endpoint=endpoint, name=name, **values)


def workspace_owner(workspace: Workspace) -> User | None:
    """Who owns the workspace, if anybody does."""
    membership = (
        workspace.memberships.filter(role=Role.OWNER).select_related("user").order_by("pk").first()
    )
    return membership.user if membership else None
