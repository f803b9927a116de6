"""Batch endpoints: read, write, and the addresses to which jobs are sent (wire 13.1, 13.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from api.arm import OWN_PROPERTIES, ArmView, Json, page, system_data, type_of
from api.bodies import Body
from api.operations import Ticket, started
from api.resource_identity import parse_identity, present_identity
from endpoints.batch import (
    BatchEndpointSpec,
    create_batch_endpoint,
    delete_batch_endpoint,
    find_batch_endpoint,
    get_batch_endpoint,
    spec_of,
    update_batch_endpoint,
)
from endpoints.models import BatchEndpoint
from workspaces.errors import Conflict, UserError

READ, WRITE = "batchEndpoints/read", "batchEndpoints/write"
AUTH_MODES: dict[str, str] = {
    "aadToken": "aad_token",
    # Other words are known, so that the verb can say why they do not fit.
    "key": "key",
    "AMLToken": "aml_token",
}


class BatchEndpointList(ArmView):
    actions = {"GET": READ}

    def get(self, request: Request) -> Response:
        rows = self.workspace.batch_endpoints.select_related("workspace", "created_by")
        return page(request, rows, present)


class BatchEndpointDetail(ArmView):
    actions = {"GET": READ, "PUT": WRITE, "PATCH": WRITE, "DELETE": "batchEndpoints/delete"}

    def get(self, request: Request, endpoint: str) -> Response:
        return Response(present(get_batch_endpoint(self.workspace, endpoint)))

    def put(self, request: Request, endpoint: str) -> Response:
        """The whole wish. A default that the body does not mention stays."""
        body = self.body()
        current = find_batch_endpoint(self.workspace, endpoint)
        if current is None:
            wanted = parse(body, BatchEndpointSpec(name=endpoint))
            try:
                made = create_batch_endpoint(self.workspace, wanted, by=self.caller)
            except Conflict:
                # The same request may have come twice at once; then the other one made it.
                current = find_batch_endpoint(self.workspace, endpoint)
                if current is None:
                    raise
            else:
                return self._written(made, status=201)
        wanted = parse(body, _kept(current))
        return self._written(update_batch_endpoint(current, wanted, by=self.caller))

    def patch(self, request: Request, endpoint: str) -> Response:
        """What the body mentions; tags and properties key by key."""
        current = get_batch_endpoint(self.workspace, endpoint)
        wanted = parse(self.body(), spec_of(current), merges=True)
        return self._written(update_batch_endpoint(current, wanted, by=self.caller))

    def delete(self, request: Request, endpoint: str) -> Response:
        current = find_batch_endpoint(self.workspace, endpoint)
        if current is None:
            return Response(status=204)
        delete_batch_endpoint(current, by=self.caller)
        ticket = Ticket("batch_endpoint", is_delete=True, pk=current.pk)
        return started(request, self.workspace, ticket, None, status=202)

    def _written(self, endpoint: BatchEndpoint, *, status: int = 200) -> Response:
        ticket = Ticket("batch_endpoint", is_delete=False, pk=endpoint.pk)
        return started(self.request, self.workspace, ticket, present(endpoint), status=status)


class ListKeys(ArmView):
    actions = {"POST": "batchEndpoints/listKeys/action"}

    def post(self, request: Request, endpoint: str) -> Response:
        found = get_batch_endpoint(self.workspace, endpoint)
        raise UserError(
            f"Batch endpoint '{found.name}' has no keys: its callers send a token of their own (auth_mode aad_token). "
            "Make one under Account, Access tokens.",
            target="authMode",
        )


def parse(
    values: Mapping[str, Any], base: BatchEndpointSpec, *, merges: bool = False
) -> BatchEndpointSpec:
    """The wish that a body states; what it does not mention is as in `base`."""
    body = Body(values)
    properties = body.section("properties").without("properties", OWN_PROPERTIES)
    read = Body.merged_texts if merges else Body.texts
    wanted = BatchEndpointSpec(
        name=base.name,
        location=body.text("location", base.location, longest=40),
        tags=read(body, "tags", base.tags),
        identity=parse_identity(body, base.identity),
        description=properties.text("description", base.description),
        properties=read(properties, "properties", base.properties),
        auth_mode=properties.choice("authMode", AUTH_MODES, base.auth_mode),
        default_deployment=properties.section("defaults").text(
            "deploymentName", base.default_deployment, longest=32
        ),
    )
    body.finish()
    return wanted


def present(endpoint: BatchEndpoint) -> Json:
    told: Json = {
        "id": endpoint.arm_id,
        "name": endpoint.name,
        "type": type_of("batchEndpoints"),
        "location": endpoint.location,
        "tags": endpoint.tags,
        "properties": {
            "description": endpoint.description,
            "authMode": "AADToken",
            "properties": dict(endpoint.properties),
            "defaults": {"deploymentName": endpoint.default_deployment or None},
            "scoringUri": endpoint.scoring_uri,
            "provisioningState": "Succeeded",
        },
        "systemData": system_data(endpoint),
    }
    if endpoint.identity:
        told["identity"] = present_identity(endpoint.identity)
    return told


def _kept(endpoint: BatchEndpoint) -> BatchEndpointSpec:
    """What a PUT need not repeat: what never changes, and where jobs go."""
    current = spec_of(endpoint)
    return replace(
        BatchEndpointSpec(name=current.name),
        location=current.location,
        identity=current.identity,
        default_deployment=current.default_deployment,
    )
