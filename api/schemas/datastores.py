"""Datastores: the built-in ones, and records of stores elsewhere."""

from __future__ import annotations

from api.datastores import CREDENTIALS, IDENTITY, PLACES, SECRETS, TYPES
from api.schemas.operations import (
    PAGED,
    Routes,
    act,
    delete,
    listed,
    parameter,
    read,
    resource,
    write,
)
from api.schemas.shapes import Json, Named, choice, flag, mapping, record, text

TAG = "Datastores"

SECRET_WORDS: Json = {word: text() for word in SECRETS.values()}
DESCRIBED: Json = {
    "endpoint": text(),
    "protocol": text(),
    "isDefault": flag(),
    "description": text(),
    "tags": mapping(),
    "properties": mapping(),
}
PLACE: Json = {
    "accountName": text("The SDK makes the address of the blob service of it."),
    **{word: text() for word in PLACES.values()},
}
CREDENTIAL: Json = {"credentialsType": choice(CREDENTIALS)}
DATASTORE = resource(
    "Datastore",
    record(
        {
            "datastoreType": choice(TYPES),
            **DESCRIBED,
            "credentials": record(CREDENTIAL, {word: text() for word in IDENTITY}),
        },
        {**PLACE, "serviceDataAccessAuthIdentity": text()},
    ),
)
SENT = Named(
    "DatastoreWrite",
    record(
        optional={
            "properties": record(
                optional={
                    "datastoreType": choice(TYPES),
                    **DESCRIBED,
                    **PLACE,
                    "credentials": record(
                        optional={
                            **CREDENTIAL,
                            **{word: text() for word in IDENTITY},
                            "secrets": record(
                                optional=SECRET_WORDS,
                                description="Absent: those there are stay.",
                            ),
                        }
                    ),
                }
            )
        }
    ),
)
TOLD_SECRETS = Named(
    "DatastoreSecrets", record({"secretsType": choice(CREDENTIALS)}, SECRET_WORDS)
)
DEFAULT = parameter("isDefault", choice(("true", "false"), "Only the default one, or the others."))

ROUTES: Routes = {
    "arm-datastores": {"GET": listed("List datastores", DATASTORE, query=(*PAGED, DEFAULT))},
    "arm-datastore": {
        "GET": read("Get a datastore", DATASTORE),
        "PUT": write("Create or replace a datastore", SENT, DATASTORE, creates=True),
        "DELETE": delete("Delete the record of a datastore"),
    },
    "arm-list-secrets": {
        "POST": act("Get the secrets of a datastore, or sign a query for uploads", TOLD_SECRETS)
    },
}
