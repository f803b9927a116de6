"""Who may do what: Azure's roles, mapped to Azure's action names (facts 13.1)."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from workspaces.errors import Forbidden
from workspaces.models import Limits, Role, TokenScope, User, Workspace

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

SCORER = "Scorer"
"""What a token that may score only leaves of a role that may score."""

# Actions below `Microsoft.MachineLearningServices/workspaces/`; `*` matches across slashes, as in Azure.
ALLOWED: dict[str, tuple[str, ...]] = {
    Role.OWNER: ("*",),
    Role.CONTRIBUTOR: ("*",),
    Role.DATA_SCIENTIST: ("*",),
    Role.READER: ("*/read", "read"),
    SCORER: (
        "read",
        "onlineEndpoints/read",
        "onlineEndpoints/deployments/read",
        "onlineEndpoints/score/action",
        "onlineEndpoints/token/action",
        "batchEndpoints/read",
        "batchEndpoints/deployments/read",
        "batchEndpoints/jobs/*",
        "jobs/read",
    ),
}
DENIED: dict[str, tuple[str, ...]] = {
    Role.CONTRIBUTOR: ("members/write", "members/delete", "quotas/write"),
    Role.DATA_SCIENTIST: (
        "members/write",
        "members/delete",
        "write",
        "delete",
        "computes/write",
        "computes/delete",
        "quotas/write",
    ),
}
SCORE = "onlineEndpoints/score/action"


def role_of(user: User | AnonymousUser, workspace: Workspace) -> str | None:
    """The user's role there; a superuser is an owner everywhere; None for a stranger.

    A token may leave less of it, or nothing, as `User.limits` says.
    """
    role = _whole_role_of(user, workspace)
    limits = user.limits if user.is_authenticated else None
    return None if role is None else _limited(role, limits, workspace.pk)


def reaches_all(user: User) -> bool:
    """Whether the user may see every workspace there is, and so be told that one does not exist."""
    return user.is_superuser and (user.limits is None or user.limits.workspace_id is None)


def may(user: User | AnonymousUser, action: str, workspace: Workspace) -> bool:
    """Whether the user may do `action`, such as `onlineEndpoints/write`."""
    role = role_of(user, workspace)
    return role is not None and role_may(role, action)


def role_may(role: str, action: str) -> bool:
    if any(fnmatchcase(action, pattern) for pattern in DENIED.get(role, ())):
        return False
    return any(fnmatchcase(action, pattern) for pattern in ALLOWED.get(role, ()))


def require(user: User | AnonymousUser, action: str, workspace: Workspace) -> None:
    """Raise `Forbidden`, naming the missing right and who can give it, unless the user may."""
    if may(user, action, workspace):
        return
    whole = _whole_role_of(user, workspace)
    if whole is not None and role_may(whole, action):
        raise Forbidden(
            f"Your role in workspace '{workspace.name}' allows '{action}', but this access token does not. Use one "
            "with a wider scope.",
            target=action,
        )
    owners = workspace.memberships.filter(role=Role.OWNER).select_related("user")[:3]
    whom = ", ".join(owner.user.get_username() for owner in owners) or "an administrator"
    raise Forbidden(
        f"Your role in workspace '{workspace.name}' does not allow '{action}'. Ask {whom} for a "
        "role that does.",
        target=action,
    )


def workspaces_to_score(user: User) -> list[str]:
    """The ids of the workspaces whose models the user may call; `["*"]` for all of them."""
    limits = user.limits
    if not user.is_active:
        return []
    if user.is_superuser:
        if limits is None or limits.workspace_id is None:
            may_any = _limited(Role.OWNER, limits, 0)
            return ["*"] if may_any and role_may(may_any, SCORE) else []
        roles = [(limits.workspace_id, str(Role.OWNER))]
    else:
        roles = list(user.memberships.order_by("workspace_id").values_list("workspace_id", "role"))
    left = [(pk, _limited(role, limits, pk)) for pk, role in roles]
    return [str(pk) for pk, role in left if role and role_may(role, SCORE)]


def _limited(role: str, limits: Limits | None, workspace_id: int) -> str | None:
    """What a token leaves of the role in a workspace."""
    if limits is None:
        return role
    if limits.workspace_id not in {None, workspace_id}:
        return None
    if limits.scope == TokenScope.READ:
        return Role.READER
    if limits.scope == TokenScope.SCORE:
        return SCORER if role_may(role, SCORE) else None
    return role


def _whole_role_of(user: User | AnonymousUser, workspace: Workspace) -> str | None:
    """The role without what a token takes away from it."""
    if not user.is_authenticated or not user.is_active:
        return None
    if user.is_superuser:
        return Role.OWNER
    return workspace.memberships.filter(user_id=user.pk).values_list("role", flat=True).first()
