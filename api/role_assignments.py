"""Who is in a workspace and as what, in the words of `Microsoft.Authorization` (facts 13.1)."""

from __future__ import annotations

import re
import uuid

from rest_framework.request import Request
from rest_framework.response import Response

from api.arm import ArmView, Json, page
from api.bodies import Body
from workspaces import access, members
from workspaces.assignments import (
    assign,
    assignment_id,
    find_assignment,
    find_principal,
    principal_id,
)
from workspaces.errors import NotFound, UserError
from workspaces.models import Membership, Role, User, Workspace

READ, WRITE, DELETE = "members/read", "members/write", "members/delete"
PROVIDER = "Microsoft.Authorization"
# Azure's own ids of its built-in roles.
DEFINITIONS: dict[str, str] = {
    Role.OWNER: "8e3af657-a8ff-443c-a75c-2fe8c4bcb635",
    Role.CONTRIBUTOR: "b24988ac-6180-42a0-ab88-20f7382dd24c",
    Role.DATA_SCIENTIST: "f6c7c914-8db3-469d-8ca1-694a8f32e121",
    Role.READER: "acdd72a7-3385-48ef-bd42-f606fba81ae7",
}
ROLES = {guid: role for role, guid in DEFINITIONS.items()}
WORKSPACE_ACTIONS = "Microsoft.MachineLearningServices/workspaces/"
OF_PRINCIPAL = re.compile(r"principalId\s+eq\s+'([^']*)'|assignedTo\('([^']*)'\)", re.I)
AT_SCOPE = re.compile(r"atScope\(\)|atScopeAndBelow\(\)", re.I)
NAME_OF_ROLE = re.compile(r"roleName\s+eq\s+'([^']*)'", re.I)


class AssignmentList(ArmView):
    actions = {"GET": READ}

    def get(self, request: Request) -> Response:
        rows = self.workspace.memberships.select_related("user__service_principal", "workspace")
        wanted = _principal_of(request.query_params.get("$filter", ""))
        if wanted is not None:
            rows = rows.filter(user=wanted[0]) if wanted else rows.none()
        return page(request, rows, present, order="pk")


class AssignmentDetail(ArmView):
    actions = {"GET": READ, "PUT": WRITE, "DELETE": DELETE}

    def get(self, request: Request, assignment: str) -> Response:
        found = find(self.workspace, assignment)
        if found is None:
            raise NotFound(
                f"There is no role assignment '{assignment[:60]}' in workspace '{self.workspace.name}'.",
                target="roleAssignment",
            )
        return Response(present(found))

    def put(self, request: Request, assignment: str) -> Response:
        """Let somebody in under an id of the client's choice, or give them another role."""
        name = guid_of(assignment)
        if name is None:
            raise UserError(
                f"The role assignment's id is '{assignment[:60]}'. It must be a GUID; any new one will do.",
                code="InvalidRoleAssignmentId",
                target="roleAssignment",
            )
        properties = Body(self.body()).section("properties")
        role = properties.run(
            lambda: role_of(properties.text("roleDefinitionId", longest=500)), ""
        )
        user = properties.run(
            lambda: principal_of(properties.text("principalId", longest=254)), None
        )
        properties.finish()
        assert user is not None
        made, is_new = assign(self.workspace, name, user, role, by=self.caller)
        return Response(present(made), status=201 if is_new else 200)

    def delete(self, request: Request, assignment: str) -> Response:
        found = find(self.workspace, assignment)
        if found is None:
            return Response(status=204)
        told = present(found)
        members.remove_member(found, by=self.caller)
        return Response(told)


class DefinitionList(ArmView):
    """The four roles; there are no others."""

    actions = {"GET": READ}

    def get(self, request: Request) -> Response:
        text = request.query_params.get("$filter", "")
        named = NAME_OF_ROLE.search(text)
        roles = [role for role in DEFINITIONS if not named or role.lower() == named[1].lower()]
        return Response({"value": [present_definition(self.workspace, role) for role in roles]})


class DefinitionDetail(ArmView):
    actions = {"GET": READ}

    def get(self, request: Request, definition: str) -> Response:
        role = ROLES.get(definition.lower())
        if role is None:
            raise NotFound(
                f"There is no role definition '{definition[:60]}'. The roles are {_names()}.",
                target="roleDefinition",
            )
        return Response(present_definition(self.workspace, role))


def find(workspace: Workspace, assignment: str) -> Membership | None:
    name = guid_of(assignment)
    return None if name is None else find_assignment(workspace, name)


def guid_of(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def role_of(text: str) -> str:
    """The role of a definition's id, long or its last part, or of its name."""
    last = text.rstrip("/").rpartition("/")[2].lower()
    named = {role.lower(): role for role in DEFINITIONS}
    role = ROLES.get(last) or named.get(last)
    if role is None:
        raise UserError(
            f"properties.roleDefinitionId is '{text[:120]}'. It must be the id of {_names()}.",
            code="RoleDefinitionDoesNotExist",
            target="properties.roleDefinitionId",
        )
    return role


def principal_of(text: str) -> User:
    try:
        return find_principal(text)
    except UserError as error:
        raise UserError(
            error.message, code="PrincipalNotFound", target="properties.principalId"
        ) from error


def present(member: Membership) -> Json:
    name = str(assignment_id(member))
    user = member.user
    return {
        "id": f"{member.workspace.arm_id}/providers/{PROVIDER}/roleAssignments/{name}",
        "type": f"{PROVIDER}/roleAssignments",
        "name": name,
        "properties": {
            "scope": member.workspace.arm_id,
            "roleDefinitionId": _definition_id(member.workspace, member.role),
            "roleDefinitionName": member.role,
            "principalId": str(principal_id(user)),
            "principalName": user.username,
            "principalType": "ServicePrincipal" if user.is_program else "User",
        },
    }


def present_definition(workspace: Workspace, role: str) -> Json:
    return {
        "id": _definition_id(workspace, role),
        "type": f"{PROVIDER}/roleDefinitions",
        "name": DEFINITIONS[role],
        "properties": {
            "roleName": role,
            "type": "BuiltInRole",
            "assignableScopes": [workspace.arm_id],
            "permissions": [
                {
                    "actions": _actions(access.ALLOWED[role]),
                    "notActions": _actions(access.DENIED.get(role, ())),
                }
            ],
        },
    }


def _definition_id(workspace: Workspace, role: str) -> str:
    return (
        f"/subscriptions/{workspace.subscription_id}/providers/{PROVIDER}/roleDefinitions/"
        f"{DEFINITIONS[role]}"
    )


def _actions(words: tuple[str, ...]) -> list[str]:
    return [f"{WORKSPACE_ACTIONS}{word}" for word in words]


def _names() -> str:
    return ", ".join(f"{role} ({guid})" for role, guid in DEFINITIONS.items())


def _principal_of(text: str) -> list[User] | None:
    """Of whom a filter asks: nobody in particular is None, an unknown one an empty list."""
    found = OF_PRINCIPAL.fullmatch(text.strip())
    if found:
        try:
            return [find_principal(found[1] or found[2] or "")]
        except UserError:
            return []
    if text.strip() and not AT_SCOPE.fullmatch(text.strip()):
        raise UserError(
            f"$filter is '{text[:120]}'. It may be atScope(), principalId eq '…' or assignedTo('…').",
            code="UnsupportedQuery",
            target="$filter",
        )
    return None
