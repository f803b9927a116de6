"""As much of Azure's blob service as the SDK's uploads and downloads need (wire 7)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from datetime import datetime
from typing import IO, Any, TypeVar
from xml.sax.saxutils import escape

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import Resolver404, resolve
from django.utils.decorators import method_decorator
from django.utils.http import http_date
from django.views import View
from django.views.decorators.csrf import csrf_exempt
from rest_framework.exceptions import AuthenticationFailed

from api.audiences import Audience
from api.datastores import signer_of
from api.identity import bearer_of
from workspaces import access, storage, uploads
from workspaces.errors import NotFound, UserError
from workspaces.models import UploadedFile, User, Workspace

logger = logging.getLogger(__name__)

R = TypeVar("R", bound=HttpResponseBase)
MOST_LISTED = 5000
PART_BYTES = 4 * 1024 * 1024
"""So much of an answer is in memory at a time; the SDK asks for 32 MiB first, then for 4 MiB at a time."""
MOST_BLOCK_LIST_BYTES = 16 * 1024 * 1024
BLOCK_ID = re.compile(rb"<(Latest|Uncommitted)>\s*([A-Za-z0-9+/=]{1,128})\s*</\1>")
RANGE = re.compile(r"bytes=(\d{1,18})-(\d{0,18})")
ECHOED = ("x-ms-version", "x-ms-client-request-id")
# Ours, where Azure's storage has another word.
CODES = {
    "ResourceNotFound": "BlobNotFound",
    "AuthorizationFailed": "AuthorizationPermissionMismatch",
}


class BlobError(UserError):
    """An error with a code of the blob service."""

    def __init__(self, code: str, message: str, status: int) -> None:
        super().__init__(message, code=code, status=status)


@csrf_exempt
def nowhere(request: HttpRequest) -> HttpResponse:
    """Every other address below `/storage/`: an answer that clients of the blob service can read."""
    message = "There is no container at such an address, and no blob can have such a name."
    return _error(BlobError("InvalidUri", message, 400))


@method_decorator(csrf_exempt, name="dispatch")
class Blobs(View):
    """`/storage/<workspace>.blob.<anything>/<container>/<path>`, for bearers of a signed query or a token."""

    http_method_names = ["get", "head", "put", "delete"]
    workspace: Workspace

    def dispatch(
        self, request: HttpRequest, *args: Any, account: str, container: str, path: str = ""
    ) -> HttpResponseBase:
        try:
            handle = self._handler(request, path)
            self.workspace = _open(request, account, container)
            response = handle(request, container, path)
        except UserError as error:
            response = _error(error)
        except Exception:
            logger.exception("blob request failed")
            response = _error(BlobError("InternalError", "Something went wrong in Portico.", 500))
        for name in ECHOED:
            if name in request.headers:
                response[name] = request.headers[name]
        return response

    def _handler(
        self, request: HttpRequest, path: str
    ) -> Callable[[HttpRequest, str, str], HttpResponseBase]:
        raw: bytes = getattr(request, "scope", {}).get("raw_path") or b""
        if re.search(rb"%(?:2f|5c|00)", raw, re.I):
            raise BlobError(
                "InvalidUri", "Slashes of a blob's name must not be written as %2F or %5C.", 400
            )
        comp = request.GET.get("comp", "")
        handlers = {
            ("GET", "list", False): self.list,
            ("HEAD", "", True): self.head,
            ("GET", "", True): self.read,
            ("PUT", "", True): self.put_blob,
            ("PUT", "block", True): self.put_block,
            ("PUT", "blocklist", True): self.put_block_list,
            ("PUT", "metadata", True): self.put_metadata,
            ("DELETE", "", True): self.delete_blob,
        }
        handler = handlers.get((str(request.method), comp, bool(path)))
        if handler is None:
            raise BlobError(
                "UnsupportedOperation", "This operation of the blob service is not supported.", 405
            )
        return handler

    def head(self, request: HttpRequest, container: str, path: str) -> HttpResponseBase:
        file = uploads.find_file(self.workspace, container, path)
        return _described(HttpResponse(), file, length=file.size_bytes)

    def read(self, request: HttpRequest, container: str, path: str) -> HttpResponseBase:
        file = uploads.find_file(self.workspace, container, path)
        wanted = request.headers.get("x-ms-range") or request.headers.get("Range") or ""
        found = RANGE.fullmatch(wanted)
        first = int(found[1]) if found else 0
        if found and first >= file.size_bytes:
            response = _error(
                BlobError("InvalidRange", "The range is behind the end of the blob.", 416)
            )
            response["Content-Range"] = f"bytes */{file.size_bytes}"
            return response
        last = min(
            int(found[2]) if found and found[2] else file.size_bytes - 1, file.size_bytes - 1
        )
        length = max(0, last - first + 1)
        answer = _content_of(request, file, first, length, status=206 if found else 200)
        if found:
            answer["Content-Range"] = f"bytes {first}-{last}/{file.size_bytes}"
        return _described(answer, file, length=length)

    def put_blob(self, request: HttpRequest, container: str, path: str) -> HttpResponseBase:
        if request.headers.get("x-ms-blob-type", "BlockBlob") != "BlockBlob":
            raise BlobError("InvalidHeaderValue", "Only block blobs are supported.", 400)
        file = uploads.put_file(
            self.workspace,
            container,
            path,
            _content(request),
            content_type=_content_type(request),
            replaces=request.headers.get("If-None-Match") != "*",
        )
        metadata = _metadata(request)
        if metadata:
            file = uploads.describe_file(self.workspace, container, path, metadata)
        return _written(file, 201)

    def put_block(self, request: HttpRequest, container: str, path: str) -> HttpResponseBase:
        block = request.GET.get("blockid", "")
        if not re.fullmatch(r"[A-Za-z0-9+/=]{1,128}", block):
            raise BlobError("InvalidQueryParameterValue", "blockid must be base64.", 400)
        uploads.put_piece(self.workspace, container, path, block, _content(request))
        return HttpResponse(status=201)

    def put_block_list(self, request: HttpRequest, container: str, path: str) -> HttpResponseBase:
        text = request.read(MOST_BLOCK_LIST_BYTES + 1)
        if len(text) > MOST_BLOCK_LIST_BYTES:
            raise BlobError("RequestBodyTooLarge", "The block list is too long.", 413)
        file = uploads.join_pieces(
            self.workspace,
            container,
            path,
            [found[2].decode() for found in BLOCK_ID.finditer(text)],
            content_type=_content_type(request),
            replaces=request.headers.get("If-None-Match") != "*",
        )
        metadata = _metadata(request)
        if metadata:
            file = uploads.describe_file(self.workspace, container, path, metadata)
        return _written(file, 201)

    def delete_blob(self, request: HttpRequest, container: str, path: str) -> HttpResponseBase:
        uploads.remove_file(self.workspace, container, path)
        return HttpResponse(status=202)

    def put_metadata(self, request: HttpRequest, container: str, path: str) -> HttpResponseBase:
        file = uploads.describe_file(self.workspace, container, path, _metadata(request))
        return _written(file, 200)

    def list(self, request: HttpRequest, container: str, path: str) -> HttpResponseBase:
        query = request.GET
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        if "\x00" in prefix + query.get("marker", ""):
            raise BlobError("InvalidQueryParameterValue", "prefix and marker must be texts.", 400)
        size = query.get("maxresults", "")
        most = min(int(size), MOST_LISTED) if re.fullmatch(r"[1-9]\d{0,6}", size) else MOST_LISTED
        files = uploads.files_below(
            self.workspace, container, prefix, after=query.get("marker", "")
        )
        items, marker = _collapsed(files, prefix, delimiter, most)
        shows_metadata = "metadata" in query.get("include", "")
        body = "".join(
            f"<BlobPrefix><Name>{escape(item)}</Name></BlobPrefix>"
            if isinstance(item, str)
            else _listed(item, shows_metadata)
            for item in items
        )
        text = (
            '<?xml version="1.0" encoding="utf-8"?>'
            f'<EnumerationResults ContainerName="{container}"><Prefix>{escape(prefix)}</Prefix>'
            f"<Blobs>{body}</Blobs><NextMarker>{escape(marker)}</NextMarker></EnumerationResults>"
        )
        return HttpResponse(text, content_type="application/xml")


def refusal(request: HttpRequest) -> HttpResponse | None:
    """The answer to an upload whose sender may not make it, known before its body has arrived."""
    try:
        names = resolve(request.path_info).kwargs
        if "account" in names:
            _open(request, names["account"], names["container"])
    except Resolver404:
        return None  # which it will be told with whatever else is asked there
    except UserError as error:
        return _error(error)
    return None


class _Checked:
    """A request body that is bounded, and compared with its Content-MD5 at the end."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self._wanted = request.headers.get("Content-MD5", "")
        self._digest = hashlib.md5(usedforsecurity=False)
        self._size = 0

    def read(self, size: int = -1) -> bytes:
        data = self._request.read(size)
        self._size += len(data)
        if self._size > settings.MAX_UPLOAD_BYTES:
            raise BlobError(
                "RequestBodyTooLarge",
                f"The file is larger than {settings.MAX_UPLOAD_BYTES} bytes (setting PORTICO_MAX_UPLOAD_BYTES).",
                413,
            )
        self._digest.update(data)
        if not data and self._wanted:
            found = base64.b64encode(self._digest.digest()).decode()
            if found != self._wanted:
                raise BlobError("Md5Mismatch", "The body is not what Content-MD5 says.", 400)
        return data


def _open(request: HttpRequest, account: str, container: str) -> Workspace:
    """The workspace, if the caller may do this there; all others hear the same."""
    refused = BlobError(
        "AuthenticationFailed", "The signature or token is not good for this.", 403
    )
    workspace = Workspace.objects.filter(name__iexact=account).first()
    if workspace is None:
        raise refused
    is_signed = "sig" in request.GET
    user = signer_of(workspace, container, request.GET) if is_signed else _bearer(request)
    action = "datastores/read" if request.method in {"GET", "HEAD"} else "datastores/write"
    if user is None or not access.may(user, action, workspace):
        raise refused
    return workspace


def _bearer(request: HttpRequest) -> User | None:
    kind, _, text = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer":
        return None
    try:
        return bearer_of(text.strip(), (Audience.STORAGE,))
    except AuthenticationFailed:
        return None


def _content(request: HttpRequest) -> IO[bytes]:
    return _Checked(request)  # type: ignore[return-value]


def _content_type(request: HttpRequest) -> str:
    return request.headers.get("x-ms-blob-content-type") or request.headers.get("Content-Type", "")


def _metadata(request: HttpRequest) -> dict[str, str]:
    start = "x-ms-meta-"
    found = {
        name.lower().removeprefix(start): value
        for name, value in _raw_headers(request)
        if name.lower().startswith(start)
    }
    if sum(len(name) + len(value) for name, value in found.items()) > 8192 or "\x00" in str(found):
        raise BlobError("MetadataTooLarge", "Metadata may have 8 KiB.", 400)
    return found


def _raw_headers(request: HttpRequest) -> Iterable[tuple[str, str]]:
    """As they were sent: Django leaves out names with an underscore, and the SDK's `upload_status` is one."""
    if isinstance(request, ASGIRequest):
        return ((k.decode("latin-1"), v.decode("latin-1")) for k, v in request.scope["headers"])
    return request.headers.items()


def _collapsed(
    files: Iterator[UploadedFile], prefix: str, delimiter: str, most: int
) -> tuple[list[UploadedFile | str], str]:
    """Files, and in place of those below a folder the folder; and where to go on, or an empty text."""
    items: list[UploadedFile | str] = []
    last = ""
    for file in files:
        head, found, _ = (
            file.path[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
        )
        item: UploadedFile | str = f"{prefix}{head}{delimiter}" if found else file
        if isinstance(item, str) and items and items[-1] == item:
            last = file.path
            continue
        if len(items) == most:
            return items, last
        items.append(item)
        last = file.path
    return items, ""


def _listed(file: UploadedFile, shows_metadata: bool) -> str:
    changed = http_date(file.changed_at.timestamp())
    metadata = ""
    if shows_metadata:
        inner = "".join(
            f"<{name}>{escape(value)}</{name}>"
            for name, value in file.metadata.items()
            if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)
        )
        metadata = f"<Metadata>{inner}</Metadata>"
    return (
        f"<Blob><Name>{escape(file.path)}</Name><Properties><Creation-Time>{changed}</Creation-Time>"
        f"<Last-Modified>{changed}</Last-Modified><Etag>{escape(_etag(file))}</Etag>"
        f"<Content-Length>{file.size_bytes}</Content-Length>"
        f"<Content-Type>{escape(file.content_type or 'application/octet-stream')}</Content-Type>"
        f"<BlobType>BlockBlob</BlobType></Properties>{metadata}</Blob>"
    )


def _content_of(
    request: HttpRequest, file: UploadedFile, first: int, length: int, *, status: int
) -> HttpResponse | StreamingHttpResponse:
    """Large answers go out as they are read; Django would gather a plain iterator in memory under ASGI."""
    if length <= PART_BYTES:
        return HttpResponse(storage.read_blob(file.sha256, first, length), status=status)
    parts = _parts(file, first, length)
    if isinstance(request, ASGIRequest):
        return StreamingHttpResponse(_parts_later(parts), status=status)
    return StreamingHttpResponse(parts, status=status)


def _parts(file: UploadedFile, first: int, length: int) -> Iterator[bytes]:
    for start in range(first, first + length, PART_BYTES):
        yield storage.read_blob(file.sha256, start, min(PART_BYTES, first + length - start))


async def _parts_later(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    while part := await asyncio.to_thread(next, parts, b""):
        yield part


def _described(response: R, file: UploadedFile, *, length: int) -> R:
    # A script in an uploaded page must not run under the studio's own address.
    response["Content-Type"] = "application/octet-stream"
    response["Content-Disposition"] = "attachment"
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Length"] = str(length)
    response["ETag"] = _etag(file)
    response["Last-Modified"] = http_date(file.changed_at.timestamp())
    response["Accept-Ranges"] = "bytes"
    response["x-ms-blob-type"] = "BlockBlob"
    response["x-ms-creation-time"] = http_date(file.changed_at.timestamp())
    for name, value in file.metadata.items():
        response[f"x-ms-meta-{name}"] = value
    return response


def _written(file: UploadedFile, status: int) -> HttpResponse:
    response = HttpResponse(status=status)
    response["ETag"] = _etag(file)
    response["Last-Modified"] = http_date(file.changed_at.timestamp())
    response["x-ms-request-server-encrypted"] = "false"
    return response


def _etag(file: UploadedFile) -> str:
    moment: datetime = file.changed_at
    return f'"0x{file.sha256[:12].upper()}{int(moment.timestamp() * 1000):X}"'


def _error(error: UserError) -> HttpResponse:
    code = "BlobNotFound" if isinstance(error, NotFound) else CODES.get(error.code, error.code)
    text = (
        f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{escape(code)}</Code>'
        f"<Message>{escape(error.message)}</Message></Error>"
    )
    response = HttpResponse(text, status=error.status, content_type="application/xml")
    response["x-ms-error-code"] = code
    return response
