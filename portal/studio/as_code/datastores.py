"""Records of datastores. Secrets are not written down: a word stands in their place. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from portal.studio.as_code.forms import Forms
from portal.studio.as_code.place import Place
from portal.studio.as_code.writing import (
    Entity,
    Program,
    command,
    request,
    rest,
    script,
    segment,
    without_empty,
    write_file,
    yaml_text,
)

SECRET = "<the secret>"


@dataclass(frozen=True)
class Kind:
    """How each language calls a type of datastore, and the place in it."""

    schema: str
    entity: str
    wire: str
    place: str
    wire_place: str
    has_account: bool = True


KINDS = {
    "azure_blob": Kind(
        "azureBlob", "AzureBlobDatastore", "AzureBlob", "container_name", "containerName"
    ),
    "azure_file": Kind(
        "azureFile", "AzureFileDatastore", "AzureFile", "file_share_name", "fileShareName"
    ),
    "azure_data_lake_gen1": Kind(
        "azureDataLakeGen1",
        "AzureDataLakeGen1Datastore",
        "AzureDataLakeGen1",
        "store_name",
        "storeName",
        has_account=False,
    ),
    "azure_data_lake_gen2": Kind(
        "azureDataLakeGen2",
        "AzureDataLakeGen2Datastore",
        "AzureDataLakeGen2",
        "filesystem",
        "filesystem",
    ),
}
# Kind of credentials → the SDK's class, the field of its secret, and both on the wire.
CREDENTIALS = {
    "account_key": ("AccountKeyConfiguration", "account_key", "AccountKey", "key"),
    "sas": ("SasTokenConfiguration", "sas_token", "Sas", "sasToken"),
    "service_principal": (
        "ServicePrincipalConfiguration",
        "client_secret",
        "ServicePrincipal",
        "clientSecret",
    ),
    "certificate": ("CertificateConfiguration", "certificate", "Certificate", "certificate"),
}
IDENTITY = {
    "tenant_id": "tenantId",
    "client_id": "clientId",
    "authority_url": "authorityUrl",
    "resource_url": "resourceUrl",
    "thumbprint": "thumbprint",
}


@dataclass(frozen=True)
class Datastore:
    name: str
    type: str
    container: str = ""
    account_name: str = ""
    endpoint: str = ""
    protocol: str = ""
    credentials: str = "none"
    identity: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


def write(place: Place, store: Datastore) -> Forms:
    """Record it, or change the record."""
    text = _yaml(store)
    kind = KINDS[store.type]
    program = Program(place)
    fields = _fields(store)
    credentials = fields.pop("credentials", None)
    if credentials:
        fields["credentials"] = Entity(CREDENTIALS[store.credentials][0], credentials)
    program.do("datastores.create_or_update", Entity(kind.entity, fields))
    return Forms(
        yaml={"datastore.yml": text},
        cli=script(
            *write_file("datastore.yml", text),
            command("datastore create", place, file="datastore.yml"),
        ),
        python=program.text,
        rest=rest(place, request("PUT", _path(store.name), _body(store))),
    )


def set_default(place: Place, name: str, store: Datastore | None) -> Forms:
    """`store` is None for a built-in one."""
    body = _body(store, has_secret=False) if store else {"properties": {}}
    body["properties"]["isDefault"] = True
    return Forms(yaml={}, rest=rest(place, request("PUT", _path(name), body)))


def delete(place: Place, store: Datastore) -> Forms:
    program = Program(place)
    program.do("datastores.delete", store.name)
    return Forms(
        yaml={"datastore.yml": _yaml(store)},
        cli=script(command("datastore delete", place, name=store.name)),
        python=program.text,
        rest=rest(place, request("DELETE", _path(store.name))),
    )


def _yaml(store: Datastore) -> str:
    return yaml_text(KINDS[store.type].schema, {"type": store.type, **_fields(store)})


def _fields(store: Datastore) -> dict[str, Any]:
    kind = KINDS[store.type]
    return without_empty(
        {
            "name": store.name,
            "account_name": store.account_name if kind.has_account else "",
            kind.place: store.container,
            "endpoint": store.endpoint if kind.has_account else "",
            "protocol": store.protocol if kind.has_account else "",
            "credentials": _credentials(store),
            "description": store.description,
            "tags": dict(store.tags),
        }
    )


def _credentials(store: Datastore) -> dict[str, str]:
    if store.credentials not in CREDENTIALS:
        return {}
    secret = CREDENTIALS[store.credentials][1]
    return without_empty({**dict(store.identity), secret: SECRET})


def _body(store: Datastore, *, has_secret: bool = True) -> dict[str, Any]:
    kind = KINDS[store.type]
    credentials: dict[str, Any] = {"credentialsType": "None"}
    if store.credentials in CREDENTIALS:
        _entity, _field, word, secret = CREDENTIALS[store.credentials]
        credentials = {
            "credentialsType": word,
            **{IDENTITY[name]: value for name, value in store.identity.items()},
        }
        if has_secret:
            credentials["secrets"] = {"secretsType": word, secret: SECRET}
    facts = {
        "datastoreType": kind.wire,
        "accountName": store.account_name,
        kind.wire_place: store.container,
        "endpoint": store.endpoint,
        "protocol": store.protocol,
        "credentials": credentials,
        "description": store.description,
        "tags": dict(store.tags),
    }
    return {"properties": without_empty(facts)}


def _path(name: str) -> str:
    return f"datastores/{segment(name)}"
