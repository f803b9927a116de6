"""The OpenAPI document: what each address says in a word, spelled out."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from drf_spectacular.generators import EndpointEnumerator, SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ComponentIdentity, ComponentRegistry, ResolvedComponent

from api.schemas import (
    assets,
    batch,
    blobs,
    computes,
    datastores,
    debug_sessions,
    environment_builds,
    identity,
    images,
    instances,
    oauth,
    online_deployments,
    online_endpoints,
    role_assignments,
    service_principals,
    workspaces,
)
from api.schemas.addresses import BLOBS, METHODS, addresses, parameters_of
from api.schemas.operations import ERROR, Answer, Operation, parameter
from api.schemas.shapes import Json, Named, text

FAMILIES = (
    workspaces,
    online_endpoints,
    online_deployments,
    instances,
    batch,
    assets,
    debug_sessions,
    environment_builds,
    images,
    datastores,
    computes,
    role_assignments,
    service_principals,
    identity,
    oauth,
    blobs,
)
OPERATIONS: dict[tuple[str, str], tuple[str, Operation]] = {
    (name, method): (family.TAG, operation)
    for family in FAMILIES
    for name, methods in family.ROUTES.items()
    for method, operation in methods.items()
}
"""Name and method → tag and operation."""
API_VERSION = parameter(
    "api-version", text("Every one is taken, and none at all.", examples=["2024-04-01"])
)
BEARER = "AccessToken"


class ArmSchema(AutoSchema):
    """Takes an operation from its family's module; nothing is guessed from the view."""

    def get_operation(
        self,
        path: str,
        path_regex: str,
        path_prefix: str,
        method: str,
        registry: ComponentRegistry,
    ) -> Json:
        return describe(path_regex, path, method, registry)


class Addresses(EndpointEnumerator):
    """Gives the addresses in Azure's spelling, and their names in place of their patterns."""

    def get_api_endpoints(  # type: ignore[override]
        self, patterns: Any = None, prefix: str = ""
    ) -> list[tuple[str, str, str, Any]]:
        return [
            (address, name, method, view)
            for name, address, view in addresses()
            if name not in BLOBS
            for method in METHODS
            if (name, method) in OPERATIONS
        ]


class Document(SchemaGenerator):
    """Also has the addresses of files, whose view is none of the REST framework's."""

    endpoint_inspector_cls = Addresses

    def coerce_path(self, path: str, method: str, view: object) -> str:
        return path

    def parse(self, input_request: Any, public: bool) -> dict[str, Json]:
        paths: dict[str, Json] = super().parse(input_request, public)  # type: ignore[no-untyped-call]
        for name, address in BLOBS.items():
            for method in METHODS:
                if (name, method) in OPERATIONS:
                    told = describe(name, address, method, self.registry)
                    paths.setdefault(address, {})[method.lower()] = told
        return paths

    def get_schema(self, request: Any = None, public: bool = False) -> Json:
        found: Json = super().get_schema(request, public)  # type: ignore[no-untyped-call]
        return found | {"tags": [{"name": family.TAG} for family in FAMILIES]}


def document_of(urlconf: str) -> Json:
    """The whole of it."""
    made = Document(urlconf=urlconf)  # type: ignore[no-untyped-call]
    return made.get_schema(public=True)


def describe(name: str, address: str, method: str, registry: ComponentRegistry) -> Json:
    """One operation, with what follows from its address; named shapes go into the registry."""
    tag, operation = OPERATIONS[name, method]
    words = name.removeprefix("arm-").replace("-", "_")
    is_arm = "{subscription}" in address
    told: Json = {
        "operationId": f"{method.lower()}_{words}",
        "summary": operation.summary,
        "tags": [tag],
        "parameters": [
            *parameters_of(address),
            *([API_VERSION] if is_arm else []),
            *operation.query,
            *operation.headers,
        ],
        "responses": {},
    }
    if operation.description:
        told["description"] = operation.description
    if operation.body is not None:
        content = {operation.body_type: {"schema": _placed(operation.body, registry)}}
        told["requestBody"] = {"content": content, "required": _is_needed(operation.body)}
    told["security"] = [] if operation.is_public else [{BEARER: []}]
    answers = {status: Answer(ERROR) for status in _usual_refusals(name, address, method)}
    answers |= dict.fromkeys(operation.refusals, operation.refusal)
    answers |= operation.answers
    for status in sorted(answers):
        told["responses"][str(status)] = _answer(status, answers[status], registry)
    return told


def _usual_refusals(name: str, address: str, method: str) -> set[int]:
    """What follows from the address, the method and the body."""
    if name in BLOBS:
        return set()
    _, operation = OPERATIONS[name, method]
    found = {405, 406}
    if not operation.is_public:
        found |= {400, 401, 403}
    if "{" in address:
        found.add(404)
    if method != "GET":
        found.add(409)
    if operation.body is not None:
        found.add(413)
    return found


def _answer(status: int, answer: Answer, registry: ComponentRegistry) -> Json:
    told: Json = {"description": answer.description or HTTPStatus(status).phrase}
    if answer.headers:
        told["headers"] = {
            name: {"description": description, "schema": text()}
            for name, description in answer.headers.items()
        }
    if status == 401:
        challenge = {"description": "Bearer", "schema": text()}
        told["headers"] = {"WWW-Authenticate": challenge}
    if answer.shape is not None:
        told["content"] = {answer.media_type: {"schema": _placed(answer.shape, registry)}}
    return told


def _is_needed(body: Any) -> bool:
    shape = body.shape if isinstance(body, Named) else body
    return "required" in shape


def _placed(shape: Any, registry: ComponentRegistry) -> Any:
    """The same with references in place of named shapes, which the registry gets."""
    if isinstance(shape, Named):
        component = _component(shape)
        if component not in registry:
            registry.register(component)
            component.schema = _placed(shape.shape, registry)
        return component.ref
    if isinstance(shape, Mapping):
        return {key: _placed(value, registry) for key, value in shape.items()}
    if isinstance(shape, list):
        return [_placed(value, registry) for value in shape]
    return shape


def _component(named: Named) -> Any:
    # Its identity lets the registry notice two shapes of one name.
    identity: Any = ComponentIdentity
    component: Any = ResolvedComponent
    return component(named.name, ResolvedComponent.SCHEMA, object=identity(named))
