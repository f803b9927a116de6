"""The doors where azure-identity fetches access tokens: OAuth 2 with client credentials, and a managed identity."""

from __future__ import annotations

from api.schemas.operations import Answer, Operation, Routes, parameter
from api.schemas.shapes import Json, Named, Shape, choice, items, record, text, whole

TAG = "OAuth"

ERROR = Named(
    "OAuthError",
    record(
        {
            "error": text("A word of RFC 6749."),
            "error_description": text("Begins with Microsoft's number."),
            "timestamp": text(),
        }
    ),
)
CONFIGURATION = Named(
    "OpenIdConfiguration",
    record(
        {
            "issuer": text(),
            "token_endpoint": text(),
            "authorization_endpoint": text(),
            "jwks_uri": text(),
            **{
                name: items(text())
                for name in (
                    "grant_types_supported",
                    "token_endpoint_auth_methods_supported",
                    "response_types_supported",
                    "subject_types_supported",
                    "id_token_signing_alg_values_supported",
                )
            },
        }
    ),
)
INSTANCE = Named(
    "InstanceDiscovery",
    record(
        {
            "tenant_discovery_endpoint": text(),
            "api-version": text(),
            "metadata": items(
                record(
                    {
                        "preferred_network": text(),
                        "preferred_cache": text(),
                        "aliases": items(text()),
                    }
                )
            ),
        }
    ),
)
KEYS = Named("SigningKeys", record({"keys": items(record({"kty": text()}))}))
FORM = Named(
    "ClientCredentials",
    record(
        {"grant_type": choice(("client_credentials",))},
        {
            "client_id": text("Or in the header, as of basic authentication."),
            "client_secret": text(),
            "client_assertion": text("A token of a foreign issuer, in place of a secret."),
            "client_assertion_type": text(
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            ),
            "scope": text("One resource and /.default."),
            "resource": text("Of version 1, in place of scope."),
        },
    ),
)
TOKEN: Json = {"token_type": choice(("Bearer",)), "access_token": text()}
OF_CLIENT = Named(
    "ClientToken", record({**TOKEN, "expires_in": whole(), "ext_expires_in": whole()})
)
OF_IDENTITY = Named(
    "IdentityToken",
    record(
        {
            **TOKEN,
            "expires_in": text("Seconds."),
            "expires_on": text("Seconds since 1970."),
            "resource": text(),
        }
    ),
)
REFUSALS = frozenset({400, 401, 429})


def told(summary: str, shape: Shape) -> Operation:
    """What everybody may know."""
    return Operation(summary, {200: Answer(shape)}, is_public=True)


ROUTES: Routes = {
    "instance-discovery": {"GET": told("Tell whether this host is an authority", INSTANCE)},
    "adfs-configuration": {"GET": told("Tell where tokens are issued, as ADFS", CONFIGURATION)},
    "openid-configuration": {"GET": told("Tell where tokens are issued", CONFIGURATION)},
    "signing-keys": {"GET": told("Get the keys that check access tokens", KEYS)},
    "oauth-token": {
        "POST": Operation(
            "Exchange client id and secret for an access token",
            {200: Answer(OF_CLIENT)},
            body=FORM,
            body_type="application/x-www-form-urlencoded",
            refusals=REFUSALS,
            refusal=Answer(ERROR),
            is_public=True,
        )
    },
    "identity-token": {
        "GET": Operation(
            "Get an access token as on a machine with a managed identity",
            {200: Answer(OF_IDENTITY)},
            description="For IDENTITY_ENDPOINT and IDENTITY_HEADER.",
            query=(parameter("resource", text("The audience."), is_needed=True),),
            headers=(
                parameter(
                    "X-Identity-Header",
                    text("A personal access token, or id:secret of a service principal."),
                    place="header",
                ),
                parameter("Secret", text("The same, of older clients."), place="header"),
            ),
            refusals=REFUSALS,
            refusal=Answer(ERROR),
            is_public=True,
        )
    },
}
