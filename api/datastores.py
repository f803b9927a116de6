"""Datastores, and the signed addresses with which clients upload to ours (wire 6, 7, 10)."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import unquote, urlencode, urlsplit

from django.conf import settings
from django.core.signing import Signer
from django.db import transaction
from django.http import HttpRequest, QueryDict
from django.utils.crypto import constant_time_compare
from rest_framework.request import Request
from rest_framework.response import Response

from api.arm import ArmView, Json, page, system_data, type_of, word_of
from api.bodies import Body
from api.references import DATASTORE_PATH
from workspaces import datastores, uploads
from workspaces.errors import NotFound, UserError
from workspaces.models import Datastore, User, Workspace
from workspaces.storage import Content

NAME = datastores.MAIN
CONTAINER = "azureml"
SIGNED_SECONDS = 12 * 3600
"""Long enough for a large model over a slow line; the SDK does not renew it during an upload."""


TYPES: dict[str, str] = {
    "AzureBlob": Datastore.Type.BLOB,
    "AzureFile": Datastore.Type.FILE,
    "AzureDataLakeGen1": Datastore.Type.LAKE1,
    "AzureDataLakeGen2": Datastore.Type.LAKE2,
}
PLACES: dict[str, str] = {
    Datastore.Type.BLOB: "containerName",
    Datastore.Type.FILE: "fileShareName",
    Datastore.Type.LAKE1: "storeName",
    Datastore.Type.LAKE2: "filesystem",
}
CREDENTIALS: dict[str, str] = {
    "None": Datastore.Credentials.NONE,
    "AccountKey": Datastore.Credentials.ACCOUNT_KEY,
    "Sas": Datastore.Credentials.SAS,
    "ServicePrincipal": Datastore.Credentials.SERVICE_PRINCIPAL,
    "Certificate": Datastore.Credentials.CERTIFICATE,
}
SECRETS: dict[str, str] = {
    Datastore.Credentials.ACCOUNT_KEY: "key",
    Datastore.Credentials.SAS: "sasToken",
    Datastore.Credentials.SERVICE_PRINCIPAL: "clientSecret",
    Datastore.Credentials.CERTIFICATE: "certificate",
}
IDENTITY: dict[str, str] = {
    "tenantId": "tenant_id",
    "clientId": "client_id",
    "authorityUrl": "authority_url",
    "resourceUrl": "resource_url",
    "thumbprint": "thumbprint",
}


@dataclass(frozen=True)
class Upload:
    """Uploaded content that an address leads to."""

    content: Content
    leaf: str
    is_folder: bool


class DatastoreList(ArmView):
    """The built-in ones first, then records by name; `isDefault` asks for the default one."""

    actions = {"GET": "datastores/read"}

    def get(self, request: Request) -> Response:
        rows = datastores.rows(self.workspace)
        default = datastores.default_name(self.workspace)
        wanted = request.query_params.get("isDefault", "").lower()
        built_in = list(datastores.BUILT_IN)
        if wanted in {"true", "false"}:
            is_wanted = wanted == "true"
            built_in = [name for name in built_in if (name == default) == is_wanted]
            rows = rows.filter(is_default=is_wanted)
        answer = page(request, rows, present)
        if "$skip" not in request.query_params:
            first = [present_built_in(request, self.workspace, name, default) for name in built_in]
            answer.data["value"] = [*first, *answer.data["value"]]
        return answer


class DatastoreDetail(ArmView):
    actions = {
        "GET": "datastores/read",
        "PUT": "datastores/write",
        "DELETE": "datastores/delete",
    }

    def get(self, request: Request, datastore: str) -> Response:
        if datastores.is_built_in(datastore):
            default = datastores.default_name(self.workspace)
            name = datastore.lower()
            return Response(present_built_in(request, self.workspace, name, default))
        return Response(present(datastores.find(self.workspace, datastore)))

    def put(self, request: Request, datastore: str) -> Response:
        """Credentials that are sent without their secret keep the one there is."""
        body = Body(self.body()).section("properties")
        wish = parse(body)
        makes_default = body.flag("isDefault", False)
        body.finish()
        with transaction.atomic():
            if makes_default and datastores.is_built_in(datastore):
                datastores.set_default(self.workspace, datastore, by=self.caller)
                return self.get(request, datastore)
            made, is_new = datastores.save(self.workspace, datastore, wish, by=self.caller)
            if makes_default:
                datastores.set_default(self.workspace, made.name, by=self.caller)
        told = present(datastores.find(self.workspace, datastore))
        return Response(told, status=201 if is_new else 200)

    def delete(self, request: Request, datastore: str) -> Response:
        was_there = datastores.delete(self.workspace, datastore, by=self.caller)
        return Response(status=200 if was_there else 204)


class ListSecrets(ArmView):
    actions = {"POST": "datastores/listsecrets/action"}

    def post(self, request: Request, datastore: str) -> Response:
        if datastores.is_built_in(datastore):
            token = sign(self.workspace, CONTAINER, by=self.caller)
            return Response({"secretsType": "Sas", "sasToken": token})
        found = datastores.find(self.workspace, datastore)
        if found.credentials == Datastore.Credentials.NONE:
            raise UserError(
                f"The datastore '{found.name}' has no credentials: it is opened with the identity of who reads.",
                target="datastore",
            )
        word = SECRETS[found.credentials]
        return Response(
            {
                "secretsType": word_of(CREDENTIALS, found.credentials),
                word: datastores.secret_of(found),
            }
        )


class PendingUpload(ArmView):
    """A container of its own for a folder of code, with a signed address."""

    actions = {"POST": "codes/versions/write"}

    def post(self, request: Request, name: str, version: str) -> Response:
        container = f"code-{uuid.uuid4()}"
        url = f"{account_url(request, self.workspace)}/{container}"
        signed = f"{url}?{sign(self.workspace, container, by=self.caller)}"
        reference = {
            "blobUri": url,
            "storageAccountArmId": f"{self.workspace.arm_id}/datastores/{NAME}",
            "credential": {"credentialType": "SAS", "sasUri": signed},
        }
        return Response(
            {
                "blobReferenceForConsumption": reference,
                "pendingUploadId": container.removeprefix("code-"),
                "pendingUploadType": "TemporaryBlobReference",
            }
        )


def parse(body: Body) -> datastores.Wish:
    """What a datastore is to be; the caller finishes `body`."""
    kind = body.choice("datastoreType", TYPES, "")
    credentials = body.section("credentials")
    credentials_kind = credentials.choice(
        "credentialsType", CREDENTIALS, Datastore.Credentials.NONE
    )
    secret_word = SECRETS.get(credentials_kind, "")
    longest = datastores.LONGEST_SECRET
    secrets = credentials.section("secrets")
    return datastores.Wish(
        type=kind,
        account_name=body.text("accountName", longest=255),
        container=body.text(PLACES.get(kind, "containerName"), longest=255),
        endpoint=body.text("endpoint", "core.windows.net", longest=255),
        protocol=body.text("protocol", "https", longest=20),
        credentials=credentials_kind,
        identity={
            ours: value
            for word, ours in IDENTITY.items()
            if (value := credentials.text(word, longest=1000))
        },
        secret=secrets.text(secret_word, longest=longest) if secret_word else "",
        description=body.text("description"),
        tags=body.texts("tags", {}),
        properties=body.texts("properties", {}),
    )


def present(datastore: Datastore) -> Json:
    """Without secrets."""
    credentials: Json = {"credentialsType": word_of(CREDENTIALS, datastore.credentials)}
    for word, ours in IDENTITY.items():
        if ours in datastore.identity:
            credentials[word] = datastore.identity[ours]
    properties: Json = {
        "datastoreType": word_of(TYPES, datastore.type),
        PLACES[datastore.type]: datastore.container,
        "endpoint": datastore.endpoint,
        "protocol": datastore.protocol,
        "isDefault": datastore.is_default,
        "serviceDataAccessAuthIdentity": "None",
        "credentials": credentials,
        "description": datastore.description,
        "tags": datastore.tags,
        "properties": datastore.properties,
    }
    if datastore.type != Datastore.Type.LAKE1:
        properties["accountName"] = datastore.account_name
    return {
        "id": f"{datastore.workspace.arm_id}/datastores/{datastore.name}",
        "name": datastore.name,
        "type": type_of("datastores"),
        "properties": properties,
        "systemData": system_data(datastore),
    }


def present_built_in(request: Request, workspace: Workspace, name: str, default: str) -> Json:
    return {
        "id": f"{workspace.arm_id}/datastores/{name}",
        "name": name,
        "type": type_of("datastores"),
        "properties": {
            "datastoreType": "AzureBlob",
            # The SDK makes https://<accountName>.blob.core.windows.net of it, which leads to us.
            "accountName": f"{_tls_host(request)}/storage/{workspace.name}",
            "containerName": CONTAINER,
            "endpoint": "core.windows.net",
            "protocol": "https",
            "isDefault": name == default,
            "serviceDataAccessAuthIdentity": "None",
            "credentials": {"credentialsType": "Sas"},
            "description": "",
            "tags": {},
            "properties": {},
        },
    }


def account_url(request: Request, workspace: Workspace) -> str:
    return f"https://{_tls_host(request)}/storage/{workspace.name}.blob.core.windows.net"


def sign(workspace: Workspace, container: str, *, by: User) -> str:
    """A query that opens one container for as long as the user may use it, twelve hours at most."""
    expires = datetime.fromtimestamp(time.time() + SIGNED_SECONDS, UTC)
    fields = {
        "sv": "2024-01-01",
        "sr": "c",
        "sp": "racwl",
        "se": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "si": str(by.pk),
    }
    return urlencode({**fields, "sig": _signature(workspace, container, fields)})


def signer_of(workspace: Workspace, container: str, query: QueryDict) -> User | None:
    """Who signed this query for the container, if that still holds."""
    fields = {name: query.get(name, "") for name in ("sv", "sr", "sp", "se", "si")}
    if not constant_time_compare(_signature(workspace, container, fields), query.get("sig", "")):
        return None
    if datetime.fromisoformat(fields["se"]) < datetime.now(UTC):
        return None
    return User.objects.filter(pk=fields["si"], is_active=True).first()


def datastore_uri(workspace: Workspace, path: str) -> str:
    """The long form of an address in the datastore."""
    short = (
        f"subscriptions/{workspace.subscription_id}/resourcegroups/{workspace.resource_group}"
        f"/workspaces/{workspace.name}"
    )
    return f"azureml://{short}/datastores/{NAME}/paths/{path}"


def file_url(request: Request, workspace: Workspace, path: str) -> str:
    """Where a file of the datastore is fetched over https."""
    return f"{account_url(request, workspace)}/{CONTAINER}/{path}"


def is_upload(workspace: Workspace, uri: str, *, target: str) -> bool:
    """Whether the address is that of uploaded files here, or of registered ones; `UserError` if it leads nowhere.

    Other paths of the datastore are places where files come and go.
    """
    found = DATASTORE_PATH.fullmatch(uri)
    if found is not None:
        place = found["workspace"]
        if place and place.lower() != workspace.name.lower():
            raise _foreign(uri, target)
        if not datastores.is_built_in(found["datastore"]):
            _named(workspace, found["datastore"], target)
            return False
        return found["path"].split("/", 1)[0] in {uploads.UPLOADS, uploads.ASSETS}
    parts = uri.split("/", 5)
    return (
        len(parts) > 4 and parts[3] == "storage" and parts[4].startswith(f"{workspace.name}.blob.")
    )


def open_uri(workspace: Workspace, uri: str, *, target: str) -> Upload:
    """What `azureml://…/datastores/…/paths/…`, long or short, or an https address of ours leads to."""
    found = DATASTORE_PATH.fullmatch(uri)
    if found is not None:
        place = found["workspace"]
        if place and place.lower() != workspace.name.lower():
            raise _foreign(uri, target)
        _check_readable(workspace, found["datastore"], target)
        return _open(workspace, CONTAINER, found["path"], target)
    try:
        parts = urlsplit(uri)
    except ValueError:
        raise _foreign(uri, target) from None
    words = unquote(parts.path).strip("/").split("/")
    if parts.scheme not in {"http", "https"} or words[0] != "storage" or len(words) < 3:
        raise _foreign(uri, target)
    account, _, suffix = words[1].partition(".blob.")
    rest = words[2:] if suffix else words[1:]
    if suffix and account.lower() != workspace.name.lower():
        raise _foreign(uri, target)
    return _open(workspace, rest[0], "/".join(rest[1:]), target)


def _check_readable(workspace: Workspace, name: str, target: str) -> None:
    if datastores.is_built_in(name):
        return
    found = _named(workspace, name, target)
    raise UserError(
        f"{target} leads to the datastore '{found.name}', which Portico keeps a record of but does not read. Upload "
        f"the files to '{NAME}' first.",
        target=target,
    )


def _named(workspace: Workspace, name: str, target: str) -> Datastore:
    try:
        return datastores.find(workspace, name)
    except NotFound as error:
        raise UserError(error.message, code=error.code, target=target) from error


def _open(workspace: Workspace, container: str, path: str, target: str) -> Upload:
    try:
        return Upload(*uploads.tree_at(workspace, container, path))
    except UserError as error:
        raise UserError(error.message, code=error.code, target=target) from error


def _foreign(uri: str, target: str) -> UserError:
    return UserError(
        f"{target} is '{uri[:200]}'. It must lead to the datastore '{NAME}' of this workspace: upload the files "
        "there first.",
        target=target,
    )


def _signature(workspace: Workspace, container: str, fields: dict[str, str]) -> str:
    text = "\n".join((str(workspace.pk), container, *fields.values()))
    return Signer(salt="api.datastores").signature(text)


def _tls_host(request: Request | HttpRequest) -> str:
    """The host by which the caller reached us, if over TLS: the SDK uploads over nothing else."""
    if request.is_secure():
        return request.get_host()
    return f"{settings.PORTICO_HOST}:{settings.PORTICO_TLS_PORT}"
