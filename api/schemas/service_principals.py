"""Service principals."""

from __future__ import annotations

from api.schemas.operations import Routes, delete, listed, make, read, write
from api.schemas.shapes import Json, Named, choice, instant, items, or_null, record, text, whole
from api.service_principals import ROLES

TAG = "Service principals"

SECRET_FIELDS: Json = {
    "id": text(),
    "name": text(),
    "createdAt": instant(),
    "expiresAt": or_null(instant()),
    "lastUsedAt": or_null(instant()),
}
SECRET = Named("PrincipalSecret", record(SECRET_FIELDS))
NEW_SECRET = Named(
    "NewPrincipalSecret", record({**SECRET_FIELDS, "secretText": text("Told this once.")})
)
PRINCIPAL_FIELDS: Json = {
    "id": text(),
    "type": text(),
    "name": text(),
    "clientId": text(format="uuid"),
    "userName": text(),
    "role": {"enum": [*ROLES, None]},
    "createdAt": instant(),
    "secrets": items(SECRET),
}
PRINCIPAL = Named("ServicePrincipal", record(PRINCIPAL_FIELDS))
NEW_PRINCIPAL = Named("NewServicePrincipal", record({**PRINCIPAL_FIELDS, "secret": NEW_SECRET}))
DAYS = whole("0 for no end, where the operator allows that.", minimum=0)
WANTED = Named(
    "ServicePrincipalWrite",
    record({"name": text(maxLength=100)}, {"role": choice(ROLES), "expiresInDays": DAYS}),
)
CHANGED = Named("ServicePrincipalChange", record(optional={"role": choice(ROLES)}))
WANTED_SECRET = Named(
    "PrincipalSecretWrite",
    record(optional={"name": text(maxLength=100), "expiresInDays": DAYS}),
)
KEY_SET = record({"keys": items(record({"kty": choice(("RSA", "EC"))}))})
FEDERATED = Named(
    "FederatedCredential",
    record(
        {
            "id": text(),
            "name": text(),
            "issuer": text("As in the tokens' iss."),
            "subject": text("As in the tokens' sub."),
            "audience": text("As in the tokens' aud."),
            "keys": KEY_SET,
            "createdAt": instant(),
            "lastUsedAt": or_null(instant()),
        }
    ),
)
WANTED_FEDERATED = Named(
    "FederatedCredentialWrite",
    record(
        {
            "name": text(maxLength=100),
            "issuer": text(maxLength=500),
            "subject": text(maxLength=500),
            "keys": KEY_SET,
        },
        {"audience": text(maxLength=200)},
    ),
)

ROUTES: Routes = {
    "arm-principals": {
        "GET": listed("List the service principals of a workspace", PRINCIPAL),
        "POST": make("Make a service principal with its first secret", WANTED, NEW_PRINCIPAL),
    },
    "arm-principal": {
        "GET": read("Get a service principal", PRINCIPAL),
        "PATCH": write("Give a service principal another role", CHANGED, PRINCIPAL),
        "DELETE": delete("Delete a service principal"),
    },
    "arm-principal-secrets": {
        "GET": listed("List its secrets, without their texts", SECRET, query=()),
        "POST": make("Add a secret", WANTED_SECRET, NEW_SECRET),
    },
    "arm-principal-secret": {"DELETE": delete("Remove a secret")},
    "arm-federated-credentials": {
        "GET": listed("List the foreign issuers it signs in with", FEDERATED, query=()),
        "POST": make("Believe the tokens of a foreign issuer", WANTED_FEDERATED, FEDERATED),
    },
    "arm-federated-credential": {"DELETE": delete("Believe a foreign issuer no longer")},
}
