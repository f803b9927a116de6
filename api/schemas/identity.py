"""Access tokens, and this installation as a cloud."""

from __future__ import annotations

from api.personal_tokens import SCOPES
from api.schemas.operations import (
    Answer,
    Operation,
    Routes,
    delete,
    listed,
    make,
    read,
)
from api.schemas.shapes import Json, Named, choice, instant, items, or_null, record, text, whole

TAG = "Identity"

DESCRIBED: Json = {
    "id": text(),
    "name": text(),
    "scope": choice(SCOPES),
    "workspace": or_null(text("The one it opens; null for all of yours.")),
    "createdAt": instant(),
    "expiresAt": or_null(instant()),
    "lastUsedAt": or_null(instant()),
}
TOKEN = Named("AccessToken", record(DESCRIBED))
NEW_TOKEN = Named("NewAccessToken", record({**DESCRIBED, "token": text("Told this once.")}))
WANTED = Named(
    "AccessTokenWrite",
    record(
        {"name": text("One of yours has it at a time.", maxLength=100)},
        {
            "scope": choice(SCOPES, "full when absent."),
            "workspace": text("The one workspace that it opens; all of yours when absent."),
            "expiresInDays": whole("0 for no end, where the operator allows that.", minimum=0),
        },
    ),
)
CLOUD = Named(
    "Cloud",
    record(
        {
            "name": text(),
            "portal": text(),
            "resourceManager": text(),
            "authentication": record({"loginEndpoint": text(), "audiences": items(text())}),
            "suffixes": record({"storage": text()}),
        }
    ),
)

ROUTES: Routes = {
    "tokens": {
        "GET": listed("List your access tokens", TOKEN),
        "POST": make("Make an access token", WANTED, NEW_TOKEN),
    },
    "token": {
        "GET": read("Get an access token, without its text", TOKEN),
        "DELETE": delete("Revoke an access token; 'current' is the one that asks"),
    },
    "cloud-metadata": {
        "GET": Operation(
            "Describe this installation as a cloud of its own",
            {200: Answer(items(CLOUD))},
            description="For ARM_CLOUD_METADATA_URL.",
            is_public=True,
        )
    },
}
