"""Online endpoints: read, write, traffic, keys and tokens (wire 12.1)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from api import references
from api.arm import OWN_PROPERTIES, ArmView, Json, page, system_data, type_of, word_of
from api.bodies import Body
from api.operations import Ticket, started
from api.resource_identity import SYSTEM_ASSIGNED, parse_identity, present_identity
from endpoints import keys
from endpoints.changes import (
    EndpointSpec,
    create_endpoint,
    delete_endpoint,
    spec_fields,
    update_endpoint,
)
from endpoints.models import OnlineEndpoint
from endpoints.traffic import set_both
from workspaces.errors import Conflict, NotFound
from workspaces.models import User, Workspace

AUTH_MODES: dict[str, str] = {
    "Key": OnlineEndpoint.AuthMode.KEY,
    "AMLToken": OnlineEndpoint.AuthMode.AML_TOKEN,
    "AADToken": OnlineEndpoint.AuthMode.AAD_TOKEN,
}
NETWORK_ACCESS: dict[str, str] = {"Enabled": "enabled", "Disabled": "disabled"}


class EndpointList(ArmView):
    actions = {"GET": "onlineEndpoints/read"}

    def get(self, request: Request) -> Response:
        rows = self.workspace.online_endpoints.select_related("workspace", "created_by")
        return page(request, rows, present)


class EndpointDetail(ArmView):
    actions = {
        "GET": "onlineEndpoints/read",
        "PUT": "onlineEndpoints/write",
        "PATCH": "onlineEndpoints/write",
        "DELETE": "onlineEndpoints/delete",
    }

    def get(self, request: Request, endpoint: str) -> Response:
        return Response(present(find_endpoint(self.workspace, endpoint)))

    def put(self, request: Request, endpoint: str) -> Response:
        """The whole wish. Traffic that the body does not mention stays as it is."""
        body = self.body()
        current = _find(self.workspace, endpoint)
        if current is None:
            wanted = parse(body, EndpointSpec(name=endpoint), self.workspace)
            try:
                made = create_endpoint(self.workspace, wanted, by=self.caller)
            except Conflict:
                # The same request may have come twice at once; then the other one made it.
                current = _find(self.workspace, endpoint)
                if current is None:
                    raise
            else:
                return self._written(made, status=201)
        return self._written(
            _update(current, parse(body, _kept(current), self.workspace), by=self.caller)
        )

    def patch(self, request: Request, endpoint: str) -> Response:
        """What the body mentions; tags key by key, traffic as a whole."""
        current = find_endpoint(self.workspace, endpoint)
        wanted = parse(self.body(), _spec_of(current), self.workspace, merges=True)
        return self._written(_update(current, wanted, by=self.caller))

    def delete(self, request: Request, endpoint: str) -> Response:
        current = _find(self.workspace, endpoint)
        if current is None:
            return Response(status=204)
        delete_endpoint(current, by=self.caller)
        ticket = Ticket("endpoint", is_delete=True, pk=current.pk)
        return started(request, self.workspace, ticket, None, status=202)

    def _written(self, endpoint: OnlineEndpoint, *, status: int = 200) -> Response:
        ticket = Ticket("endpoint", is_delete=False, pk=endpoint.pk)
        return started(self.request, self.workspace, ticket, present(endpoint), status=status)


class ListKeys(ArmView):
    actions = {"POST": "onlineEndpoints/listKeys/action"}

    def post(self, request: Request, endpoint: str) -> Response:
        found = keys.list_keys(find_endpoint(self.workspace, endpoint), by=self.caller)
        return Response({"primaryKey": found.primary, "secondaryKey": found.secondary})


class RegenerateKeys(ArmView):
    actions = {"POST": "onlineEndpoints/regenerateKeys/action"}

    def post(self, request: Request, endpoint: str) -> Response:
        """A new key, or the `keyValue` of the caller's choice."""
        found = find_endpoint(self.workspace, endpoint)
        body = Body(self.body())
        key_type = body.text("keyType", "Primary", longest=40)
        value = body.text("keyValue", longest=1000)
        body.finish()
        # The SDK sends the key of today as the value, and wants another one.
        if value and _is_key_of_today(found, value):
            value = ""
        keys.regenerate_key(found, key_type, value=value, by=self.caller)
        return Response(status=200)


class Token(ArmView):
    actions = {"POST": "onlineEndpoints/token/action"}

    def post(self, request: Request, endpoint: str) -> Response:
        token = keys.issue_token(find_endpoint(self.workspace, endpoint), by=self.caller)
        return Response(
            {
                "accessToken": token.access_token,
                "expiryTimeUtc": int(token.expires_at.timestamp()),
                "refreshAfterTimeUtc": int(token.refresh_after.timestamp()),
                "tokenType": "Bearer",
            }
        )


def find_endpoint(workspace: Workspace, name: str) -> OnlineEndpoint:
    """The endpoint of that name, without regard to case."""
    found = _find(workspace, name)
    if found is None:
        raise NotFound(
            f"There is no online endpoint '{name}' in workspace '{workspace.name}'.",
            target="endpoint",
        )
    return found


def parse(
    values: Mapping[str, Any], base: EndpointSpec, workspace: Workspace, *, merges: bool = False
) -> EndpointSpec:
    """The wish that a body states; what it does not mention is as in `base`."""
    body = Body(values)
    properties = body.section("properties").without("properties", OWN_PROPERTIES)
    read = Body.merged_texts if merges else Body.texts
    wanted = EndpointSpec(
        name=base.name,
        location=body.text("location", base.location, longest=40),
        tags=read(body, "tags", base.tags),
        identity=parse_identity(body, base.identity),
        description=properties.text("description", base.description),
        properties=read(properties, "properties", base.properties),
        auth_mode=properties.choice("authMode", AUTH_MODES, base.auth_mode),
        compute=_compute(properties, base.compute, workspace),
        public_network_access=properties.choice(
            "publicNetworkAccess", NETWORK_ACCESS, base.public_network_access
        ),
        traffic=properties.mapping("traffic", base.traffic),
        mirror_traffic=properties.mapping("mirrorTraffic", base.mirror_traffic),
    )
    body.finish()
    return wanted


def _compute(properties: Body, base: str, workspace: Workspace) -> str:
    """A name, `azureml:<name>` or an id, as Azure's clients send them."""
    given = properties.text("compute", base, longest=500).strip()
    if not given or given == base:
        return base
    target = "properties.compute"
    return properties.run(lambda: references.compute_name(workspace, given, target=target), "")


def present(endpoint: OnlineEndpoint) -> Json:
    workspace = endpoint.workspace
    properties: Json = {
        "description": endpoint.description,
        "authMode": word_of(AUTH_MODES, endpoint.auth_mode),
        "properties": dict(endpoint.properties),
        "traffic": endpoint.traffic,
        "mirrorTraffic": endpoint.mirror_traffic,
        "publicNetworkAccess": word_of(NETWORK_ACCESS, endpoint.public_network_access),
        "scoringUri": endpoint.scoring_uri,
        "swaggerUri": endpoint.openapi_uri,
        "provisioningState": endpoint.state,
    }
    if endpoint.compute:
        properties["compute"] = f"{workspace.arm_id}/computes/{endpoint.compute_name}"
    return {
        "id": f"{workspace.arm_id}/onlineEndpoints/{endpoint.name}",
        "name": endpoint.name,
        "type": type_of("onlineEndpoints"),
        "location": endpoint.location,
        "kind": "Kubernetes" if endpoint.compute else "Managed",
        "tags": endpoint.tags,
        "identity": present_identity(endpoint.identity),
        "properties": properties,
        "systemData": system_data(endpoint),
    }


def _update(endpoint: OnlineEndpoint, wanted: EndpointSpec, *, by: User) -> OnlineEndpoint:
    """All that differs, or nothing when one part of it is refused."""
    current = _spec_of(endpoint)
    changes = {
        name: getattr(wanted, name)
        for name in spec_fields()
        if name not in {"name", "traffic", "mirror_traffic"}
        and getattr(wanted, name) != getattr(current, name)
    }
    with transaction.atomic():
        changed = update_endpoint(endpoint, changes, by=by)
        split = (wanted.traffic, wanted.mirror_traffic)
        if split != (current.traffic, current.mirror_traffic):
            changed = set_both(changed, *split, by=by)
    return changed


def _find(workspace: Workspace, name: str) -> OnlineEndpoint | None:
    rows = workspace.online_endpoints.select_related("workspace", "created_by")
    return rows.filter(name__iexact=name).first()


def _spec_of(endpoint: OnlineEndpoint) -> EndpointSpec:
    facts = {name: getattr(endpoint, name) for name in spec_fields()}
    return EndpointSpec(**{**facts, "identity": endpoint.identity or SYSTEM_ASSIGNED})


def _kept(endpoint: OnlineEndpoint) -> EndpointSpec:
    """What a PUT need not repeat: what never changes, how callers get in, and the traffic."""
    empty: dict[str, str] = {}
    return replace(
        _spec_of(endpoint),
        description="",
        tags=empty,
        properties=empty,
        public_network_access="enabled",
    )


def _is_key_of_today(endpoint: OnlineEndpoint, value: str) -> bool:
    today = keys.keys_of(endpoint)
    given = value.encode()
    return any(
        secrets.compare_digest(given, key.encode()) for key in (today.primary, today.secondary)
    )
