"""Memberships by ids as Azure has them: role assignments of principals. Rows' own numbers stand in UUIDs."""

from __future__ import annotations

import uuid

from django.db import IntegrityError, transaction
from django.db.models import Q

from workspaces import members
from workspaces.errors import Conflict, UserError
from workspaces.models import Membership, User, Workspace

# The number is in the last twelve digits; what stands before is ours, so no other UUID is taken for one of these.
PERSON = "506f7274-6963-4f50-8000-"
ROW = "506f7274-6963-4f41-8000-"
LARGEST = 2**47


def principal_id(user: User) -> uuid.UUID:
    """The object id of a person; of a program its client id."""
    if user.is_program:
        return user.service_principal.client_id
    return uuid.UUID(f"{PERSON}{user.pk:012x}")


def assignment_id(member: Membership) -> uuid.UUID:
    """The id that a client chose when it let the member in, else one that follows from the row."""
    return member.assignment_id or uuid.UUID(f"{ROW}{member.pk:012x}")


def find_assignment(workspace: Workspace, wanted: uuid.UUID) -> Membership | None:
    return (
        workspace.memberships.select_related("user__service_principal", "workspace")
        .filter(Q(assignment_id=wanted) | Q(assignment_id=None, pk=_number(wanted, ROW)))
        .first()
    )


def find_principal(text: str) -> User:
    """The active user of that object id, client id, name or e-mail address."""
    try:
        wanted = uuid.UUID(text)
    except ValueError:
        return members.find_user(text)
    found = User.objects.filter(
        Q(service_principal__client_id=wanted) | Q(pk=_number(wanted, PERSON)), is_active=True
    )
    user = found.select_related("service_principal").first()
    if user is None or principal_id(user) != wanted:
        raise UserError(
            f"There is no principal with the id {wanted}. Give a user name, an e-mail address, the principalId of a "
            "role assignment or the client id of a service principal.",
            target="user",
        )
    return user


@transaction.atomic
def assign(
    workspace: Workspace, wanted: uuid.UUID, user: User, role: str, *, by: User | None
) -> tuple[Membership, bool]:
    """Let the user in under that id, or give them another role; the same again changes nothing.

    Returns the membership and whether it is new. `Conflict` when the id is somebody else's, or the user has a role by
    another id: everybody has one role here.
    """
    # The same request may come twice at once; then the second finds what the first has made.
    Workspace.objects.select_for_update().get(pk=workspace.pk)
    current = find_assignment(workspace, wanted)
    if current is not None:
        if current.user_id != user.pk:
            raise Conflict(
                f"The role assignment {wanted} is of {current.user.username} and stays theirs. Choose another id for "
                f"{user.username}.",
                code="RoleAssignmentUpdateNotPermitted",
                target="user",
            )
        return members.change_role(current, role, by=by), False
    other = workspace.memberships.select_related("user").filter(user=user).first()
    if other is not None:
        raise Conflict(
            f"{user.username} is {other.role} of workspace '{workspace.name}' already, by the role assignment "
            f"{assignment_id(other)}. PUT the role there.",
            code="RoleAssignmentExists",
            target="user",
        )
    try:
        with transaction.atomic():
            made = members.add_member(workspace, user.username, role, by=by)
            made.assignment_id = wanted
            made.save(update_fields=["assignment_id"])
    except (IntegrityError, Conflict) as error:
        raise Conflict(
            f"The role assignment {wanted}, or another one of {user.username}, was made meanwhile. Look, then try "
            "again.",
            code="RoleAssignmentExists",
        ) from error
    return made, True


def _number(wanted: uuid.UUID, prefix: str) -> int | None:
    """The row's number in an id of ours."""
    text = str(wanted)
    number = int(text[-12:], 16)
    return number if text.startswith(prefix) and number < LARGEST else None
