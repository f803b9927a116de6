"""Online endpoints."""

from __future__ import annotations

from api.online_endpoints import AUTH_MODES, NETWORK_ACCESS
from api.schemas.operations import (
    IDENTITY,
    Routes,
    act,
    listed,
    read,
    resource,
    start_delete,
    start_write,
)
from api.schemas.shapes import Named, choice, mapping, record, text, whole

TAG = "Online endpoints"

SHARES = mapping(whole(minimum=0, maximum=100), "Name of a deployment → percent of the requests.")
SENT = Named(
    "OnlineEndpointWrite",
    record(
        optional={
            "location": text(),
            "tags": mapping(),
            "identity": IDENTITY,
            "properties": record(
                optional={
                    "description": text(),
                    "authMode": choice(AUTH_MODES),
                    "compute": text("A Kubernetes compute; absent for a managed endpoint."),
                    "publicNetworkAccess": choice(NETWORK_ACCESS),
                    "traffic": SHARES,
                    "mirrorTraffic": SHARES,
                    "properties": mapping(),
                }
            ),
        }
    ),
)
ENDPOINT = resource(
    "OnlineEndpoint",
    record(
        {
            "description": text(),
            "authMode": choice(AUTH_MODES),
            "properties": mapping(),
            "traffic": SHARES,
            "mirrorTraffic": SHARES,
            "publicNetworkAccess": choice(NETWORK_ACCESS),
            "scoringUri": text(),
            "swaggerUri": text(),
            "provisioningState": text(),
        },
        {"compute": text()},
    ),
    needed={
        "location": text(),
        "kind": choice(("Managed", "Kubernetes")),
        "tags": mapping(),
        "identity": IDENTITY,
    },
)
KEYS = Named("EndpointKeys", record({"primaryKey": text(), "secondaryKey": text()}))
NEW_KEY = Named(
    "RegenerateKey",
    record(
        optional={
            "keyType": choice(("Primary", "Secondary")),
            "keyValue": text("A key of your own; one is made when it is absent."),
        }
    ),
)
TOKEN = Named(
    "EndpointToken",
    record(
        {
            "accessToken": text(),
            "tokenType": choice(("Bearer",)),
            "expiryTimeUtc": whole("Seconds since 1970."),
            "refreshAfterTimeUtc": whole("Seconds since 1970."),
        }
    ),
)

ROUTES: Routes = {
    "arm-endpoints": {"GET": listed("List online endpoints", ENDPOINT)},
    "arm-endpoint": {
        "GET": read("Get an online endpoint", ENDPOINT),
        "PUT": start_write("Create or replace an online endpoint", SENT, ENDPOINT, creates=True),
        "PATCH": start_write("Change an online endpoint, its traffic", SENT, ENDPOINT),
        "DELETE": start_delete("Delete an online endpoint and its deployments"),
    },
    "arm-list-keys": {"POST": act("List the keys of an online endpoint", KEYS)},
    "arm-regenerate-keys": {"POST": act("Replace a key", None, body=NEW_KEY)},
    "arm-endpoint-token": {"POST": act("Issue a token for an hour", TOKEN)},
}
