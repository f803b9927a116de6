"""Which body a test or a sample begins with: the user's last success, else the deployment's own example."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from django.core.cache import cache
from django.utils import timezone

from deployments import samples
from endpoints.models import OnlineEndpoint
from portal.studio import scoring
from workspaces.models import User

FALLBACK = '{"data": [[1, 2, 3]]}'
SWAGGER_SECONDS = 2
EXAMPLE_LIFETIME_SECONDS = 24 * 3600
MISS_LIFETIME_SECONDS = 20
HISTORY_LENGTH = 20
HISTORY_LIFETIME_SECONDS = 7 * 24 * 3600
MOST_KEPT_CHARACTERS = 64_000
# A schema may refer to itself.
DEEPEST = 12


@dataclass(frozen=True)
class Sent:
    """One test of the past, as the history shows it; `body` is empty if it was too long or a file."""

    at: str
    deployment: str
    """As chosen; empty when the traffic rules decided."""
    answered_by: str
    content_type: str
    body: str
    file_name: str
    status: int
    total_ms: float
    request_id: str

    @property
    def is_ok(self) -> bool:
        return self.status == 200


def first_body(endpoint: OnlineEndpoint, user: User, *, credential: str, deployment: str) -> str:
    """Text to begin with; looks the example up at the gateway, which may take `SWAGGER_SECONDS`."""
    for sent in history(endpoint, user):
        if sent.is_ok and sent.body and sent.content_type.startswith("application/json"):
            return sent.body
    found = example(endpoint, credential=credential, deployment=deployment)
    if not found and endpoint.tags.get("sample"):
        return samples.REQUEST
    return found or FALLBACK


def example(endpoint: OnlineEndpoint, *, credential: str, deployment: str) -> str:
    """The example of the deployment's OpenAPI document as JSON text; empty if it has none.

    An empty `deployment` asks whichever the traffic rules choose. Kept for a day, a miss for seconds.
    """
    key = f"example:{endpoint.pk}:{endpoint.published_version}:{deployment}"
    known = cache.get(key)
    if isinstance(known, str):
        return known
    reply = scoring.swagger(
        endpoint, credential=credential, deployment=deployment, seconds=SWAGGER_SECONDS
    )
    found = example_of(reply.body) if reply.is_ok else ""
    cache.set(key, found, EXAMPLE_LIFETIME_SECONDS if found else MISS_LIFETIME_SECONDS)
    return found


def example_of(document: bytes) -> str:
    """The request example in a Swagger 2 or OpenAPI 3 document, else one made from the schema."""
    try:
        parsed = json.loads(document)
    except ValueError:
        return ""
    if not isinstance(parsed, dict):
        return ""
    schema = _request_schema(parsed)
    if not schema:
        return ""
    value = _example(schema, parsed, 0)
    # A script that declares nothing has an empty object as its example.
    return json.dumps(value) if value else ""


def history(endpoint: OnlineEndpoint, user: User) -> list[Sent]:
    """The user's last tests of this endpoint, newest first."""
    return [Sent(**row) for row in cache.get(_history_key(endpoint, user)) or []]


def remember(
    endpoint: OnlineEndpoint,
    user: User,
    reply: scoring.Reply,
    *,
    deployment: str,
    content_type: str,
    body: str,
    file_name: str,
) -> None:
    """Put a test at the head of the user's history; it is forgotten after a week."""
    sent = Sent(
        at=timezone.now().isoformat(),
        deployment=deployment,
        answered_by=reply.deployment,
        content_type=content_type,
        body=body if len(body) <= MOST_KEPT_CHARACTERS else "",
        file_name=file_name,
        status=reply.status,
        total_ms=reply.total_ms,
        request_id=reply.request_id,
    )
    rows = [asdict(sent), *(asdict(old) for old in history(endpoint, user))]
    cache.set(_history_key(endpoint, user), rows[:HISTORY_LENGTH], HISTORY_LIFETIME_SECONDS)


def _history_key(endpoint: OnlineEndpoint, user: User) -> str:
    return f"tests:{endpoint.pk}:{user.pk}"


def _request_schema(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of what the scoring route takes."""
    routes = document.get("paths")
    for path, methods in routes.items() if isinstance(routes, dict) else ():
        operation = methods.get("post") if isinstance(methods, dict) else None
        if not isinstance(operation, dict) or not str(path).endswith("/score"):
            continue
        for parameter in operation.get("parameters") or ():
            if isinstance(parameter, dict) and parameter.get("in") == "body":
                return _mapping(parameter.get("schema"))
        content = _mapping(_mapping(operation.get("requestBody")).get("content"))
        media = _mapping(content.get("application/json"))
        return {**_mapping(media.get("schema")), **_given(media)}
    return {}


def _example(schema: Mapping[str, Any], document: Mapping[str, Any], depth: int) -> Any:
    """A value that fits the schema; the given example wherever there is one."""
    if depth > DEEPEST:
        return None
    given = _given(schema)
    schema = _resolved(schema, document)
    given = given or _given(schema)
    if given:
        return given["example"]
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        properties = _mapping(schema.get("properties"))
        return {
            name: _example(_mapping(inner), document, depth + 1)
            for name, inner in properties.items()
        }
    if kind == "array":
        return [_example(_mapping(schema.get("items")), document, depth + 1)]
    return {"string": "", "integer": 0, "number": 0.0, "boolean": False}.get(str(kind))


def _given(schema: Mapping[str, Any]) -> dict[str, Any]:
    for name in ("example", "default"):
        if name in schema:
            return {"example": schema[name]}
    examples = schema.get("examples")
    if isinstance(examples, list) and examples:
        return {"example": examples[0]}
    return {}


def _resolved(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema that a `$ref` within the document stands for."""
    found: Any = schema
    for _turn in range(DEEPEST):
        reference = found.get("$ref") if isinstance(found, Mapping) else None
        if not isinstance(reference, str) or not reference.startswith("#/"):
            break
        found = document
        for step in reference.removeprefix("#/").split("/"):
            found = _mapping(found).get(step)
    return _mapping(found)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
