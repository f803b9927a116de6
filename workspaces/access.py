"""Who may do what: Azure's roles, mapped to Azure's action names (facts 13.1)."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from workspaces.errors import Forbidden
from workspaces.models import Role, User, Workspace

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

# Actions below `Microsoft.MachineLearningServices/workspaces/`; `*` matches across slashes, as in Azure.
ALLOWED: dict[str, tuple[str, ...]] = {
    Role.OWNER: ("*",),
    Role.CONTRIBUTOR: ("*",),
    Role.DATA_SCIENTIST: ("*",),
    Role.READER: ("*/read", "read"),
}
DENIED: dict[str, tuple[str, ...]] = {
    Role.CONTRIBUTOR: ("members/*",),
    Role.DATA_SCIENTIST: (
        "members/*",
        "write",
        "delete",
        "computes/write",
        "computes/delete",
        "quotas/write",
    ),
}


def role_of(user: User | AnonymousUser, workspace: Workspace) -> str | None:
    """The user's role there; a superuser is an owner everywhere; None for a stranger."""
    if not user.is_authenticated or not user.is_active:
        return None
    if user.is_superuser:
        return Role.OWNER
    return workspace.memberships.filter(user_id=user.pk).values_list("role", flat=True).first()


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
    owners = workspace.memberships.filter(role=Role.OWNER).select_related("user")[:3]
    whom = ", ".join(owner.user.get_username() for owner in owners) or "an administrator"
    raise Forbidden(
        f"Your role in workspace '{workspace.name}' does not allow '{action}'. Ask {whom} for a "
        "role that does.",
        target=action,
    )
