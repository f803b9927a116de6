"""The datastore to which clients upload, and the signed addresses with which they do (wire 6, 7, 10)."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import unquote, urlencode, urlsplit

from django.conf import settings
from django.core.signing import Signer
from django.http import HttpRequest, QueryDict
from django.utils.crypto import constant_time_compare
from rest_framework.request import Request
from rest_framework.response import Response

from api.arm import ArmView, Json, type_of
from api.references import DATASTORE_PATH
from workspaces import uploads
from workspaces.errors import NotFound, UserError
from workspaces.models import User, Workspace
from workspaces.storage import Content

NAME = "workspaceblobstore"
CONTAINER = "azureml"
SIGNED_SECONDS = 12 * 3600
"""Long enough for a large model over a slow line; the SDK does not renew it during an upload."""


@dataclass(frozen=True)
class Upload:
    """Uploaded content that an address leads to."""

    content: Content
    leaf: str
    is_folder: bool


class DatastoreList(ArmView):
    actions = {"GET": "datastores/read"}

    def get(self, request: Request) -> Response:
        return Response({"value": [present(request, self.workspace)]})


class DatastoreDetail(ArmView):
    actions = {"GET": "datastores/read"}

    def get(self, request: Request, datastore: str) -> Response:
        check_name(datastore)
        return Response(present(request, self.workspace))


class ListSecrets(ArmView):
    actions = {"POST": "datastores/listsecrets/action"}

    def post(self, request: Request, datastore: str) -> Response:
        check_name(datastore)
        token = sign(self.workspace, CONTAINER, by=self.caller)
        return Response({"secretsType": "Sas", "sasToken": token})


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


def present(request: Request, workspace: Workspace) -> Json:
    return {
        "id": f"{workspace.arm_id}/datastores/{NAME}",
        "name": NAME,
        "type": type_of("datastores"),
        "properties": {
            "datastoreType": "AzureBlob",
            # The SDK makes https://<accountName>.blob.core.windows.net of it, which leads to us.
            "accountName": f"{_tls_host(request)}/storage/{workspace.name}",
            "containerName": CONTAINER,
            "endpoint": "core.windows.net",
            "protocol": "https",
            "isDefault": True,
            "serviceDataAccessAuthIdentity": "None",
            "credentials": {"credentialsType": "Sas"},
            "description": "",
            "tags": {},
            "properties": {},
        },
    }


def check_name(datastore: str) -> None:
    if datastore.lower() != NAME:
        raise NotFound(
            f"There is no datastore '{datastore}'. There is one, '{NAME}'.", target="datastore"
        )


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
        check_name(found["datastore"])
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
        check_name(found["datastore"])
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
