"""The OpenAPI documents of a deployment, in the three versions that the genuine server offers."""

import json
import os
from dataclasses import dataclass
from typing import Any

from inference_server.settings import Settings

VERSIONS = {"2": "2", "2.0": "2", "3": "3", "3.0": "3", "3.1": "3.1"}
ALIASES = {"2": ("2", "2.0"), "3": ("3", "3.0"), "3.1": ("3.1",)}
FAILED = "The service failed to execute due to an error."
HEALTHY = "If service is up and running, this response will be returned with the content 'Healthy'"
SCORED = (
    "The service processed the input correctly and provided a result prediction, if applicable."
)
SPECIFIED = "The Swagger specification."


@dataclass(frozen=True)
class Documents:
    """Encoded documents by version; a version without one cannot express the script's schema."""

    by_version: dict[str, bytes]

    def find(self, wanted: str) -> tuple[bytes | None, str]:
        """The document, or nothing and why."""
        supported = ", ".join(sorted(self.by_version))
        version = VERSIONS.get(wanted)
        if version is None:
            return None, (
                f"Swagger version [{wanted}] is not valid. Supported versions: [{supported}]."
            )
        document = self.by_version.get(version)
        if document is None:
            return None, (
                f"Swagger version [{wanted}] is not supported for the scoring script. "
                f"Supported swagger versions: [{supported}]."
            )
        return document, ""


def build_documents(settings: Settings, described: dict[str, Any]) -> Documents:
    """The user's own files where there are any, else documents made from the script's schemas."""
    names = {
        "2": ("swagger.json", "swagger2.json"),
        "3": ("swagger3.json",),
        "3.1": ("swagger3.1.json",),
    }
    found: dict[str, bytes] = {}
    for version, files in names.items():
        document = _own_document(settings.app_root, files)
        if document is None and set(ALIASES[version]) & set(described["swagger_versions"]):
            document = _made_document(settings, version, described)
        if document is not None:
            found[version] = json.dumps(document).encode()
    return Documents(found)


def _own_document(folder: str, names: tuple[str, ...]) -> Any:
    for name in names:
        try:
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                document = json.load(file)
        except FileNotFoundError:
            continue
        if document:
            return document
    return None


def _made_document(settings: Settings, version: str, described: dict[str, Any]) -> dict[str, Any]:
    schemas = {
        "ServiceInput": described["input_schema"],
        "ServiceOutput": described["output_schema"],
        "ErrorResponse": {"type": "object", "properties": {"message": {"type": "string"}}},
    }
    bearer = {
        "type": "apiKey",
        "name": "Authorization",
        "in": "header",
        "description": "For example: Bearer abc123",
    }
    if version == "2":
        return {
            "swagger": "2.0",
            "info": _info(settings),
            "schemes": ["https"],
            "consumes": ["application/json"],
            "produces": ["application/json"],
            "securityDefinitions": {"Bearer": bearer},
            "paths": _paths_2(_prefix(settings)),
            "definitions": schemas,
        }
    return {
        "openapi": "3.1.0" if version == "3.1" else "3.0.3",
        "info": _info(settings),
        "security": [{"Bearer": []}],
        "paths": _paths_3(_prefix(settings)),
        "components": {"schemas": schemas, "securitySchemes": {"Bearer": bearer}},
    }


def _info(settings: Settings) -> dict[str, str]:
    service = settings.service_name
    return {
        "title": service,
        "description": f"API specification for the Azure Machine Learning service {service}",
        "version": settings.service_version,
    }


def _prefix(settings: Settings) -> str:
    prefix = settings.service_path_prefix.strip("/")
    return f"/{prefix}" if prefix else ""


def _paths_2(prefix: str) -> dict[str, Any]:
    def responses(description: str, schema: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {
            "200": {"description": description, "schema": schema, **more},
            "default": {"description": FAILED, "schema": {"$ref": "#/definitions/ErrorResponse"}},
        }

    healthy = responses(HEALTHY, {"type": "string"}, examples={"application/json": "Healthy"})
    body = {
        "name": "serviceInputPayload",
        "in": "body",
        "description": "The input payload for executing the real-time machine learning service.",
        "schema": {"$ref": "#/definitions/ServiceInput"},
    }
    version = {
        "name": "version",
        "in": "query",
        "required": False,
        "type": "integer",
        "enum": [2, 3],
    }
    return {
        f"{prefix}/": {"get": _operation("health", healthy)},
        f"{prefix}/score": {
            "post": _operation(
                "score",
                responses(SCORED, {"$ref": "#/definitions/ServiceOutput"}),
                security=[{"Bearer": []}],
                parameters=[body],
            )
        },
        f"{prefix}/swagger.json": {
            "get": _operation(
                "swagger", responses(SPECIFIED, {"type": "string"}), parameters=[version]
            )
        },
    }


def _paths_3(prefix: str) -> dict[str, Any]:
    def content(kind: str, schema: dict[str, Any]) -> dict[str, Any]:
        return {kind: {"schema": schema}}

    def responses(description: str, answer: dict[str, Any]) -> dict[str, Any]:
        failed = content("application/json", {"$ref": "#/components/schemas/ErrorResponse"})
        return {
            "200": {"description": description, "content": answer},
            "default": {"description": FAILED, "content": failed},
        }

    body = {
        "description": "The input payload for executing the real-time machine learning service.",
        "content": content("application/json", {"$ref": "#/components/schemas/ServiceInput"}),
    }
    scored = content("application/json", {"$ref": "#/components/schemas/ServiceOutput"})
    version = {
        "name": "version",
        "in": "query",
        "required": False,
        "schema": {"type": "integer", "enum": [2, 3]},
    }
    text = {"type": "string"}
    healthy = responses(HEALTHY, content("text/plain", {**text, "example": "Healthy"}))
    specified = responses(SPECIFIED, content("text/plain", text))
    return {
        f"{prefix}/": {"get": _operation("health", healthy)},
        f"{prefix}/score": {
            "post": _operation(
                "score", responses(SCORED, scored), security=[{"Bearer": []}], requestBody=body
            )
        },
        f"{prefix}/swagger.json": {"get": _operation("swagger", specified, parameters=[version])},
    }


def _operation(route: str, responses: dict[str, Any], **more: Any) -> dict[str, Any]:
    name, description = {
        "health": (
            "ServiceHealthCheck",
            "Simple health check endpoint to ensure the service is up at any given point.",
        ),
        "score": ("RunMLService", "Run web service's model and get the prediction output"),
        "swagger": ("GetSwaggerSpec", "Get the Swagger specification."),
    }[route]
    return {"operationId": name, "description": description, **more, "responses": responses}
