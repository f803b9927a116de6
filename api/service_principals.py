"""Service principals of a workspace. Azure keeps them in its directory; these addresses are Portico's own."""

from __future__ import annotations

import uuid
from datetime import timedelta

from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from api.arm import ArmView, Json, instant, page, type_of
from api.bodies import Body
from api.personal_tokens import lifetime_of, number_of
from workspaces import federation, members, principals
from workspaces.errors import NotFound
from workspaces.models import (
    FederatedCredential,
    Membership,
    PrincipalSecret,
    Role,
    ServicePrincipal,
    Workspace,
)

READ, WRITE = "members/read", "members/write"
ROLES: dict[str, str] = {role: role for role in Role.values}
ONCE = {"Cache-Control": "no-store"}


class PrincipalList(ArmView):
    actions = {"GET": READ, "POST": WRITE}

    def get(self, request: Request) -> Response:
        rows = self.workspace.service_principals.select_related("user", "workspace")
        return page(request, rows.prefetch_related("secrets", "user__memberships"), present)

    def post(self, request: Request) -> Response:
        """A new one with its first secret, which is in this answer alone."""
        body = Body(self.body())
        name = body.text("name", longest=100)
        role = body.choice("role", ROLES, Role.READER)
        lifetime = body.run(lambda: lifetime_of(body), None)
        body.finish()
        with transaction.atomic():
            principal = principals.create_principal(self.workspace, name, role, by=self.caller)
            secret, text = principals.add_secret(principal, lifetime=lifetime, by=self.caller)
        answer = {**present(principal), "secret": {**present_secret(secret), "secretText": text}}
        return Response(answer, status=201, headers=ONCE)


class PrincipalDetail(ArmView):
    actions = {"GET": READ, "PATCH": WRITE, "DELETE": WRITE}

    def get(self, request: Request, client: str) -> Response:
        return Response(present(find(self.workspace, client)))

    def patch(self, request: Request, client: str) -> Response:
        """Another role in this workspace; for one that was taken out of it, a role again."""
        principal = find(self.workspace, client)
        body = Body(self.body())
        role = body.choice("role", ROLES, "")
        body.finish()
        if role:
            _give_role(self, principal, role)
        return Response(present(find(self.workspace, client)))

    def delete(self, request: Request, client: str) -> Response:
        try:
            principal = find(self.workspace, client)
        except NotFound:
            return Response(status=204)
        principals.delete_principal(principal, by=self.caller)
        return Response(status=200)


class SecretList(ArmView):
    actions = {"GET": READ, "POST": WRITE}

    def get(self, request: Request, client: str) -> Response:
        principal = find(self.workspace, client)
        return Response({"value": [present_secret(row) for row in principal.secrets.all()]})

    def post(self, request: Request, client: str) -> Response:
        principal = find(self.workspace, client)
        body = Body(self.body())
        name = body.text("name", longest=100)
        lifetime: timedelta | None = body.run(lambda: lifetime_of(body), None)
        body.finish()
        secret, text = principals.add_secret(principal, name, lifetime=lifetime, by=self.caller)
        answer = {**present_secret(secret), "secretText": text}
        return Response(answer, status=201, headers=ONCE)


class SecretDetail(ArmView):
    actions = {"DELETE": WRITE}

    def delete(self, request: Request, client: str, secret: str) -> Response:
        principal = find(self.workspace, client)
        try:
            principals.remove_secret(principal, number_of(secret), by=self.caller)
        except NotFound:
            return Response(status=204)
        return Response(status=200)


class FederatedList(ArmView):
    """Tokens of foreign issuers in place of secrets, as for workload identities."""

    actions = {"GET": READ, "POST": WRITE}

    def get(self, request: Request, client: str) -> Response:
        rows = find(self.workspace, client).federated_credentials.all()
        return Response({"value": [present_federated(row) for row in rows]})

    def post(self, request: Request, client: str) -> Response:
        principal = find(self.workspace, client)
        body = Body(self.body())
        texts = {name: body.text(name, longest=500) for name in ("issuer", "subject", "audience")}
        name = body.text("name", longest=100)
        keys = body.mapping("keys", {})
        body.finish()
        made = federation.add_federated(principal, name, **texts, keys=keys, by=self.caller)
        return Response(present_federated(made), status=201)


class FederatedDetail(ArmView):
    actions = {"DELETE": WRITE}

    def delete(self, request: Request, client: str, credential: str) -> Response:
        principal = find(self.workspace, client)
        try:
            federation.remove_federated(principal, number_of(credential), by=self.caller)
        except NotFound:
            return Response(status=204)
        return Response(status=200)


def find(workspace: Workspace, client: str) -> ServicePrincipal:
    """The one of that client id that this workspace looks after."""
    try:
        client_id = uuid.UUID(client)
    except ValueError:
        client_id = None
    rows = workspace.service_principals.select_related("user", "workspace")
    found = rows.filter(client_id=client_id).first() if client_id else None
    if found is None:
        raise NotFound(
            f"There is no service principal '{client[:60]}' in workspace '{workspace.name}'.",
            target="client",
        )
    return found


def present(principal: ServicePrincipal) -> Json:
    memberships = principal.user.memberships.all()
    role = next((m.role for m in memberships if m.workspace_id == principal.workspace_id), None)
    return {
        "id": f"{principal.workspace.arm_id}/servicePrincipals/{principal.client_id}",
        "type": type_of("servicePrincipals"),
        "name": principal.name,
        "clientId": str(principal.client_id),
        "userName": principal.user.username,
        "role": role,
        "createdAt": instant(principal.created_at),
        "secrets": [present_secret(secret) for secret in principal.secrets.all()],
    }


def present_secret(secret: PrincipalSecret) -> Json:
    return {
        "id": str(secret.pk),
        "name": secret.name,
        "createdAt": instant(secret.created_at),
        "expiresAt": instant(secret.expires_at) if secret.expires_at else None,
        "lastUsedAt": instant(secret.last_used_at) if secret.last_used_at else None,
    }


def present_federated(row: FederatedCredential) -> Json:
    return {
        "id": str(row.pk),
        "name": row.name,
        "issuer": row.issuer,
        "subject": row.subject,
        "audience": row.audience,
        "keys": row.keys,
        "createdAt": instant(row.created_at),
        "lastUsedAt": instant(row.last_used_at) if row.last_used_at else None,
    }


def _give_role(view: ArmView, principal: ServicePrincipal, role: str) -> None:
    rows = Membership.objects.select_related("user", "workspace")
    member = rows.filter(workspace=view.workspace, user=principal.user).first()
    if member is None:
        members.add_member(view.workspace, principal.user.username, role, by=view.caller)
    else:
        members.change_role(member, role, by=view.caller)
