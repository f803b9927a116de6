"""Azure Resource Manager's manners, once for all resources: scope, rights, envelope, paging, errors.

Any api-version is taken, and none at all: the bodies of the operations here are the same in all of them.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any, ClassVar, cast

from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.utils.encoding import iri_to_uri
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from workspaces import access
from workspaces.errors import ContentChanged, Forbidden, NotFound, UserError, ValidationFailed
from workspaces.models import User, Workspace

logger = logging.getLogger(__name__)

PROVIDER = "Microsoft.MachineLearningServices"
MOST_BODY_BYTES = 4 * 1024 * 1024
DEEPEST = 32
PAGE = 100
LARGEST_PAGE = 1000
# The SDK looks for these words and no others.
PATHS_STAY = {"code": "UserError", "message": "Asset paths cannot be updated."}

Json = dict[str, Any]
# Of what we tell of a resource, the SDK sends these back among its properties.
OWN_PROPERTIES = frozenset({"createdBy", "createdAt", "lastModifiedAt", "AzureAsyncOperationUri"})

# Of the errors that the framework raises itself: Azure's words for them.
CODES: dict[int, str] = {
    400: "InvalidRequestContent",
    401: "AuthenticationFailed",
    403: "AuthorizationFailed",
    404: "ResourceNotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    413: "RequestContentTooLarge",
    415: "UnsupportedMediaType",
}


@dataclass(frozen=True)
class Scope:
    """The workspace that a path names, whether or not there is one."""

    subscription: str
    resource_group: str
    workspace: str

    def __str__(self) -> str:
        group = f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}"
        return f"{group}/providers/{PROVIDER}/workspaces/{self.workspace}"

    def find(self) -> Workspace | None:
        return Workspace.objects.filter(
            subscription_id__iexact=self.subscription,
            resource_group__iexact=self.resource_group,
            name__iexact=self.workspace,
        ).first()


class ArmView(APIView):
    """One kind of resource in a workspace: a handler parses, calls one verb and presents.

    `actions` says which right each method needs (facts 13.1). Handlers get the names of the path below the
    workspace; `self.workspace` is the one that the caller may see.
    """

    actions: ClassVar[Mapping[str, str]] = {}
    parser_classes = ()
    metadata_class = None

    scope: Scope
    workspace: Workspace
    role: str
    """The caller's role there."""

    def dispatch(
        self,
        request: HttpRequest,
        *args: Any,
        subscription: str = "",
        resource_group: str = "",
        workspace: str = "",
        **names: Any,
    ) -> HttpResponseBase:
        self.scope = Scope(subscription, resource_group, workspace)
        return super().dispatch(request, *args, **names)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        method = "GET" if request.method == "HEAD" else str(request.method)
        action = self.action_of(method)
        if action:
            self.workspace, self.role = open_workspace(self.caller, self.scope, action)

    def action_of(self, method: str) -> str:
        """The right that the method needs; empty for a method that is not supported."""
        return self.actions.get(method, "")

    @property
    def caller(self) -> User:
        """Who asks; there is always one, since nobody gets past the authentication without."""
        return cast(User, self.request.user)

    def body(self) -> Json:
        """The request's JSON object, whatever its content type says; an absent body is an empty one."""
        # The framework's parsers take a body without a Content-Length (chunked) for an empty one.
        return parse_body(self.request._request)


def open_workspace(user: User, scope: Scope, action: str) -> tuple[Workspace, str]:
    """The workspace and the caller's role there, if that allows `action`.

    A stranger gets one and the same `Forbidden` whether or not it exists, as from Azure.
    """
    found = scope.find()
    if found is None and access.reaches_all(user):
        raise NotFound(f"There is no workspace {scope}.", target="workspace")
    role = access.role_of(user, found) if found else None
    if found is None or role is None:
        raise refusal_of_stranger(user, action, scope)
    if not access.role_may(role, action):
        access.require(user, action, found)
    return found, role


def refusal_of_stranger(user: User, action: str, scope: object) -> Forbidden:
    """What somebody is told who may not know whether `scope` exists."""
    return Forbidden(
        f"The client '{user.get_username()}' does not have authorization to perform action '{PROVIDER}/"
        f"workspaces/{action}' over scope '{scope}', or the scope is invalid."
    )


def parse_body(stream: IO[bytes] | HttpRequest) -> Json:
    """A JSON object of bounded size and depth, without what the database cannot keep."""
    raw = stream.read(MOST_BODY_BYTES + 1)
    if len(raw) > MOST_BODY_BYTES:
        raise UserError(
            f"The request body has more than {MOST_BODY_BYTES} bytes. Upload files to the datastore and name "
            "them in the body.",
            code=CODES[413],
            status=413,
        )
    if not raw.strip():
        return {}
    try:
        parsed = json.loads(raw.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise UserError(
            f"The request body is not valid JSON: {reason}.", code=CODES[400]
        ) from error
    if not isinstance(parsed, dict):
        raise UserError("The request body must be a JSON object.", code=CODES[400])
    _check_tree(parsed)
    return parsed


def exception_handler(error: Exception, context: Mapping[str, Any]) -> Response:
    """Every error in Azure's envelope; ours are logged, and the caller gets an id to quote."""
    if isinstance(error, UserError):
        return Response({"error": describe(error)}, status=error.status)
    if isinstance(error, Http404):
        error = exceptions.NotFound()
    elif isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied()
    if isinstance(error, exceptions.APIException):
        return _framework_error(error)
    incident = str(uuid.uuid4())
    logger.error("api error %s", incident, exc_info=error)
    message = (
        "Something went wrong in Portico. Try again; if it stays, give the operator the id "
        f"{incident}, under which the cause stands in the log."
    )
    return Response({"error": {"code": "InternalServerError", "message": message}}, status=500)


def describe(error: UserError) -> Json:
    """The inner part of the envelope; several wrong fields are told one by one in `details`."""
    told: Json = {"code": error.code, "message": error.message}
    if error.target:
        told["target"] = error.target
    if isinstance(error, ContentChanged):
        return {**told, **PATHS_STAY, "details": [told]}
    if isinstance(error, ValidationFailed):
        told["details"] = [describe(item) for item in error.errors]
    return told


def page(
    request: Request, rows: QuerySet[Any], present: Callable[[Any], Json], *, order: str = "name"
) -> Response:
    """One page of a list, ordered by `order`, a field whose values differ; with a link to the next.

    `count` is the size of a page. `$top` ends the list after so many rows.
    """
    query = request.query_params
    top = _size(query.get("$top"), "$top")
    size = top or _size(query.get("count"), "count") or PAGE
    field = order.removeprefix("-")
    after = query.get("$skip", "")
    if after:
        rows = _behind(rows, field, after, descending=order.startswith("-"))
    found = list(rows.order_by(order)[: size + 1])
    answer: Json = {"value": [present(row) for row in found[:size]]}
    if len(found) > size and not top:
        following = query.copy()
        following["$skip"] = str(getattr(found[size - 1], field))
        path = f"{request.path}?{following.urlencode(safe='$')}"
        answer["nextLink"] = request.build_absolute_uri(iri_to_uri(path))
    return Response(answer)


def system_data(row: Any) -> Json:
    """Who made it and when; `created_by` should have been fetched with the row."""
    maker = row.created_by
    changed_at = getattr(row, "updated_at", row.created_at)
    return {
        "createdBy": maker.get_username() if maker else "Portico",
        "createdByType": "User" if maker else "Application",
        "createdAt": instant(row.created_at),
        "lastModifiedAt": instant(changed_at),
    }


def instant(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def type_of(path: str) -> str:
    """`onlineEndpoints` → `Microsoft.MachineLearningServices/workspaces/onlineEndpoints`."""
    return f"{PROVIDER}/workspaces/{path}"


def word_of(words: Mapping[str, str], ours: str) -> str:
    """Azure's word for ours."""
    return next(word for word, value in words.items() if value == ours)


def _framework_error(error: exceptions.APIException) -> Response:
    status = error.status_code
    code = getattr(error, "azure_code", CODES.get(status, error.default_code))
    headers = {}
    challenge = getattr(error, "auth_header", None)
    if challenge:
        headers["WWW-Authenticate"] = challenge
    return Response(
        {"error": {"code": code, "message": str(error.detail)}}, status=status, headers=headers
    )


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _check_tree(value: Any) -> None:
    """Refuse what is nested too deeply, and texts that PostgreSQL cannot store."""
    level = [value]
    for _ in range(DEEPEST):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item)
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
            elif isinstance(item, str):
                _check_text(item)
        if not below:
            return
        level = below
    raise UserError(
        f"The request body is nested more than {DEEPEST} levels deep.", code=CODES[400]
    )


def _check_text(text: str) -> None:
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise UserError(
            "The request body holds a text with a zero character or half of a surrogate pair. Remove it.",
            code=CODES[400],
        )


def _size(text: str | None, name: str) -> int:
    """0 when it was not given."""
    if text is None:
        return 0
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text)):
        raise UserError(f"{name} is {text[:40]!r}. It must be a whole number from 1.", target=name)
    return min(int(text), LARGEST_PAGE)


def _behind(rows: QuerySet[Any], field: str, after: str, *, descending: bool) -> QuerySet[Any]:
    model: type[Model] = rows.model
    is_number = (
        model._meta.get_field("id" if field == "pk" else field).get_internal_type() != "CharField"
    )
    broken = "\x00" in after or (
        is_number and not (after.isascii() and after.isdecimal() and len(after) < 19)
    )
    if broken:
        raise UserError("$skip is not one that a nextLink gave.", target="$skip")
    return rows.filter(**{f"{field}__{'lt' if descending else 'gt'}": after})
