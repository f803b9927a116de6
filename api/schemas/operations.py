"""What the document says of one method at one address, beyond what follows from the address itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from api.schemas.shapes import Json, Named, Shape, anything, choice, items, record, text, whole

ERROR = Named(
    "Error",
    record(
        {
            "error": Named(
                "ErrorDetail",
                record(
                    {"code": text("A stable word."), "message": text("What to do about it.")},
                    {
                        "target": text("The field or the part of the address that is meant."),
                        "details": items(
                            {"$ref": "#/components/schemas/ErrorDetail"},
                            "Several wrong fields, one by one.",
                        ),
                    },
                ),
            )
        },
        description="Azure's envelope, with every status from 400 on.",
    ),
)


@dataclass(frozen=True)
class Answer:
    """A body and its media type; no shape for an answer without a body."""

    shape: Shape | None = None
    media_type: str = "application/json"
    description: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Name and description."""


@dataclass(frozen=True)
class Operation:
    """One method. The parameters of the path, the api-version and the usual refusals are added to it."""

    summary: str
    answers: Mapping[int, Answer]
    body: Shape | None = None
    body_type: str = "application/json"
    description: str = ""
    query: tuple[Json, ...] = ()
    headers: tuple[Json, ...] = ()
    refusals: frozenset[int] = frozenset()
    """Statuses beyond those that every such operation can answer."""
    refusal: Answer = Answer(ERROR)
    """What an answer with a status from 400 on looks like."""
    is_public: bool = False
    """Whether it is answered without a token."""


Routes = Mapping[str, Mapping[str, Operation]]
"""Name of an address in `api/urls.py` → method → operation."""

POLLED = {
    "Azure-AsyncOperation": "Where to ask whether the operation has ended.",
    "Retry-After": "Seconds until it is worth asking.",
}
LIST_VIEW = ("ActiveOnly", "ArchivedOnly", "All")


def parameter(name: str, shape: Json, *, place: str = "query", is_needed: bool = False) -> Json:
    """A parameter of the query, or of the header; its description is that of the shape."""
    inner = {key: value for key, value in shape.items() if key != "description"}
    told: Json = {"name": name, "in": place, "required": is_needed, "schema": inner}
    if "description" in shape:
        told["description"] = shape["description"]
    return told


PAGED = (
    parameter("count", whole("The size of a page; 100 when absent, 1000 at most.", minimum=1)),
    parameter("$top", whole("End the list after so many.", minimum=1)),
    parameter("$skip", text("Where the page begins; nextLink has it.")),
)
VIEWED = parameter("listViewType", choice(LIST_VIEW, "ActiveOnly when absent."))


def read(summary: str, shape: Shape, *, query: tuple[Json, ...] = ()) -> Operation:
    return Operation(summary, {200: Answer(shape)}, query=query)


def listed(summary: str, shape: Shape, *, query: tuple[Json, ...] = PAGED) -> Operation:
    """A page of a list."""
    following = {"nextLink": text("The address of the next page.", format="uri")}
    return read(summary, record({"value": items(shape)}, following), query=query)


def act(summary: str, shape: Shape | None, *, body: Shape | None = None) -> Operation:
    """A POST that is answered 200."""
    return Operation(summary, {200: Answer(shape)}, body=body)


def make(summary: str, body: Shape, shape: Shape) -> Operation:
    """A POST that is answered 201 with what it made."""
    return Operation(summary, {201: Answer(shape)}, body=body)


def write(summary: str, body: Shape, shape: Shape, *, creates: bool = False) -> Operation:
    """A write that is complete when it is answered."""
    answer = Answer(shape)
    return Operation(summary, {200: answer, 201: answer} if creates else {200: answer}, body=body)


def start_write(summary: str, body: Shape, shape: Shape, *, creates: bool = False) -> Operation:
    """A write that begins a long-running operation: 200, or 201 for what is new."""
    answer = Answer(shape, headers=POLLED)
    return Operation(summary, {200: answer, 201: answer} if creates else {200: answer}, body=body)


def start_delete(summary: str, *, query: tuple[Json, ...] = ()) -> Operation:
    """A deletion that goes on after its answer."""
    gone = Answer(description="There was no such thing.")
    answers = {202: Answer(headers=POLLED, description="It has begun."), 204: gone}
    return Operation(summary, answers, query=query)


def delete(summary: str) -> Operation:
    gone = Answer(description="There was no such thing.")
    return Operation(summary, {200: Answer(description="It is deleted."), 204: gone})


def resource(
    name: str, properties: Shape, *, needed: Json | None = None, optional: Json | None = None
) -> Named:
    """A resource as Azure tells it."""
    told = {
        "id": text("Its path below the address of the portal."),
        "name": text(),
        "type": text(),
        "properties": properties,
    }
    rest = {"systemData": SYSTEM_DATA, **(optional or {})}
    return Named(name, record({**told, **(needed or {})}, rest))


SYSTEM_DATA = Named(
    "SystemData",
    record(
        {
            "createdAt": text(format="date-time"),
            "lastModifiedAt": text(format="date-time"),
        },
        {"createdBy": text(), "createdByType": choice(("User", "Application"))},
    ),
)
IDENTITY = Named(
    "Identity",
    record(
        {"type": choice(("SystemAssigned", "UserAssigned"))},
        {
            "userAssignedIdentities": {
                "type": "object",
                "description": "Ids of identities as keys.",
                "additionalProperties": anything(),
            }
        },
    ),
)
