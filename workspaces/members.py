"""Who is in a workspace and as what: the verbs. Somebody must always own it."""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.db.models import Q

from workspaces.activity import record
from workspaces.errors import Conflict, NotFound, UserError
from workspaces.models import Membership, Role, User, Workspace


def add_member(workspace: Workspace, name: str, role: str, *, by: User | None) -> Membership:
    """Let the user of that name or e-mail address in; `Conflict` when they are in already."""
    _check_role(role)
    user = find_user(name)
    try:
        with transaction.atomic():
            member = Membership.objects.create(workspace=workspace, user=user, role=role)
            record(
                workspace, "add member", member, by=by, after={"user": user.username, "role": role}
            )
    except IntegrityError as error:
        if "membership_once" not in str(error):
            raise
        raise Conflict(
            f"{user.username} is in workspace '{workspace.name}' already. Change the role instead.",
            target="user",
        ) from error
    return member


@transaction.atomic
def change_role(member: Membership, role: str, *, by: User | None) -> Membership:
    """Give the member another role; the same one again changes nothing. The last owner stays one."""
    _check_role(role)
    locked = _locked(member)
    if locked.role == role:
        return locked
    _keep_an_owner(locked)
    before, locked.role = locked.role, role
    locked.save(update_fields=["role"])
    _record(locked, "change role", by, {"role": before}, {"role": role})
    return locked


@transaction.atomic
def remove_member(member: Membership, *, by: User | None) -> None:
    """Take the member out; what they made stays. The last owner cannot leave."""
    locked = _locked(member)
    _keep_an_owner(locked)
    _record(locked, "remove member", by, {"role": locked.role}, {})
    locked.delete()


def find_user(name: str) -> User:
    """The active user of that name, or of that e-mail address when only one has it."""
    wanted = name.strip()
    found = list(
        User.objects.filter(Q(username=wanted) | Q(email__iexact=wanted), is_active=True)[:3]
        if wanted
        else []
    )
    exact = [user for user in found if user.username == wanted]
    if exact or len(found) == 1:
        return (exact or found)[0]
    if not wanted:
        raise UserError("Say who: a user name or an e-mail address.", target="user")
    if found:
        raise UserError(
            f"Several users have the address {wanted}. Give the user name.", target="user"
        )
    raise UserError(
        f"There is no user '{wanted[:100]}'. An administrator adds users in the admin site.",
        target="user",
    )


def _check_role(role: str) -> None:
    if role not in Role.values:
        raise UserError(
            f"The role '{role[:60]}' is not known. Use one of {', '.join(Role.values)}.",
            target="role",
        )


def _locked(member: Membership) -> Membership:
    """The row as it is now; the workspace is locked, so that two owners cannot both leave."""
    Workspace.objects.select_for_update().get(pk=member.workspace_id)
    found = Membership.objects.select_related("user", "workspace").filter(pk=member.pk).first()
    if found is None:
        raise NotFound("This member was removed meanwhile.", target="user")
    return found


def _keep_an_owner(member: Membership) -> None:
    """Refuse what would leave the workspace without an owner who can sign in: a program cannot."""
    if member.role != Role.OWNER or member.user.is_program:
        return
    others = member.workspace.memberships.filter(
        role=Role.OWNER, user__is_active=True, user__service_principal__isnull=True
    )
    if not others.exclude(pk=member.pk).exists():
        raise Conflict(
            f"{member.user.username} is the only owner of workspace '{member.workspace.name}'. Make somebody "
            "else an owner first.",
            target="role",
        )


def _record(
    member: Membership, verb: str, by: User | None, before: dict[str, str], after: dict[str, str]
) -> None:
    who = {"user": member.user.username}
    record(member.workspace, verb, member, by=by, before=who | before, after=who | after)
