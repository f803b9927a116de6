"""Role assignments and role definitions."""

from __future__ import annotations

from api.role_assignments import DEFINITIONS
from api.schemas.operations import PAGED, Answer, Operation, Routes, listed, parameter, read, write
from api.schemas.shapes import Named, choice, items, record, text

TAG = "Role assignments"

ASSIGNMENT = Named(
    "RoleAssignment",
    record(
        {
            "id": text(),
            "type": text(),
            "name": text(format="uuid"),
            "properties": record(
                {
                    "scope": text("The workspace."),
                    "roleDefinitionId": text(),
                    "roleDefinitionName": choice(DEFINITIONS),
                    "principalId": text(format="uuid"),
                    "principalName": text(),
                    "principalType": choice(("User", "ServicePrincipal")),
                }
            ),
        }
    ),
)
WANTED = Named(
    "RoleAssignmentWrite",
    record(
        {
            "properties": record(
                {
                    "roleDefinitionId": text(
                        "The id of a role definition, or its last part.", maxLength=500
                    ),
                    "principalId": text(
                        "Also a user name, an e-mail address or a client id.", maxLength=254
                    ),
                },
                {"principalType": text()},
            )
        }
    ),
)
DEFINITION = Named(
    "RoleDefinition",
    record(
        {
            "id": text(),
            "type": text(),
            "name": choice(DEFINITIONS.values()),
            "properties": record(
                {
                    "roleName": choice(DEFINITIONS),
                    "type": choice(("BuiltInRole",)),
                    "assignableScopes": items(text()),
                    "permissions": items(
                        record({"actions": items(text()), "notActions": items(text())})
                    ),
                }
            ),
        }
    ),
)
FILTER = parameter("$filter", text("atScope(), principalId eq '…' or assignedTo('…')."))
OF_ROLE = parameter("$filter", text("roleName eq '…'."))
GONE = Answer(description="There was no such thing.")

ROUTES: Routes = {
    "arm-role-assignments": {
        "GET": listed("List who is in a workspace and as what", ASSIGNMENT, query=(*PAGED, FILTER))
    },
    "arm-role-assignment": {
        "GET": read("Get a role assignment", ASSIGNMENT),
        "PUT": write("Let somebody in, or change their role", WANTED, ASSIGNMENT, creates=True),
        "DELETE": Operation("Take somebody out", {200: Answer(ASSIGNMENT), 204: GONE}),
    },
    "arm-role-definitions": {"GET": listed("List the roles", DEFINITION, query=(OF_ROLE,))},
    "arm-role-definition": {"GET": read("Get a role", DEFINITION)},
}
