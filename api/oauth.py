"""The doors where azure-identity fetches access tokens (wire 3.1): as on a machine with a managed identity, and
with the client credentials of OAuth 2."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote_plus

from django.core.exceptions import BadRequest, SuspiciousOperation
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from api.audiences import Audience, audience_of
from api.callers import address_of
from api.clouds import HEADERS, origin_of
from api.identity import CHALLENGE
from api.throttle import WINDOW_SECONDS, Attempts
from workspaces import access_tokens, federation, principals, tokens
from workspaces.access_tokens import AccessToken, Credential

NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
LONGEST_FIELD = 8192
WRONG_SECRET = (
    "AADSTS7000215: Invalid client secret provided. The client id is unknown, or the secret is wrong, expired or "
    "removed: make a new one on the page Access, Service principals."
)
WRONG_ASSERTION = (
    "AADSTS700213: No matching federated identity record found for the presented assertion. Its issuer, subject, "
    "audience and signature must be those of a federated credential of this client, and it must not have expired."
)
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
WRONG_TOKEN = (
    "The access token of IDENTITY_HEADER is unknown, expired or revoked. Give one of the Account page, or "
    "<client id>:<secret> of a service principal."
)
TOO_MANY = f"AADSTS50196: Too many failed attempts from this address. Wait {WINDOW_SECONDS} seconds, then try again."


@dataclass
class OAuthError(Exception):
    """An error as RFC 6749 tells it; the description begins with Microsoft's number, as clients expect."""

    error: str
    description: str
    status: int = 400


class OpenView(APIView):
    """A door without a sign in front; each says for itself what it takes."""

    authentication_classes = ()
    permission_classes = ()
    parser_classes = ()
    metadata_class = None

    def handle_exception(self, error: Exception) -> Response:
        if isinstance(error, SuspiciousOperation | BadRequest):
            error = OAuthError("invalid_request", "AADSTS900144: The form cannot be read.")
        if not isinstance(error, OAuthError):
            return super().handle_exception(error)
        headers = dict(NO_STORE)
        if error.status == 401:
            headers["WWW-Authenticate"] = CHALLENGE
        if error.status == 429:
            headers["Retry-After"] = str(WINDOW_SECONDS)
        told = {
            "error": error.error,
            "error_description": error.description,
            "timestamp": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%SZ}",
        }
        return Response(told, status=error.status, headers=headers)


class OpenIdConfiguration(OpenView):
    """Where what is; the same for every tenant, as there is one directory."""

    def get(self, request: Request, tenant: str = "adfs") -> Response:
        base = f"{origin_of(request)}/{quote(tenant, safe='')}"
        return Response(
            {
                "issuer": f"{base}/v2.0",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "jwks_uri": f"{base}/discovery/v2.0/keys",
                "grant_types_supported": ["client_credentials"],
                "token_endpoint_auth_methods_supported": [
                    "client_secret_post",
                    "client_secret_basic",
                    "private_key_jwt",
                ],
                "response_types_supported": ["token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
            },
            headers=HEADERS,
        )


class InstanceDiscovery(OpenView):
    """Tells clients that this host is an authority that they may believe."""

    def get(self, request: Request) -> Response:
        origin = origin_of(request)
        host = origin.removeprefix("https://")
        names = {"preferred_network": host, "preferred_cache": host, "aliases": [host]}
        found = f"{origin}/{access_tokens.TENANT}/v2.0/.well-known/openid-configuration"
        answer = {
            "tenant_discovery_endpoint": found,
            "api-version": "1.1",
            "metadata": [names],
        }
        return Response(answer, headers=HEADERS)


class SigningKeys(OpenView):
    """The public keys with which access tokens can be checked."""

    def get(self, request: Request, tenant: str) -> Response:
        return Response(json.loads(access_tokens.jwks()), headers=HEADERS)


class TokenEndpoint(OpenView):
    """Client id and secret for an access token."""

    def post(self, request: Request, tenant: str) -> Response:
        form = request._request.POST
        grant = _field(form, "grant_type")
        if grant != "client_credentials":
            raise OAuthError(
                "unsupported_grant_type" if grant else "invalid_request",
                f"AADSTS70003: The grant type {grant[:60]!r} is not supported. Use client_credentials.",
            )
        client, proof, is_assertion = _client_of(request)
        token = exchange(
            client,
            proof,
            _resource_of(form),
            address=address_of(request._request),
            is_assertion=is_assertion,
        )
        answer = {
            "token_type": "Bearer",
            "expires_in": token.seconds_left,
            "ext_expires_in": token.seconds_left,
            "access_token": token.text,
        }
        return Response(answer, headers=NO_STORE)


class ManagedIdentity(OpenView):
    """For `IDENTITY_ENDPOINT` and `IDENTITY_HEADER`, or `MSI_ENDPOINT` and `MSI_SECRET`.

    The header is a personal access token, or `<client id>:<secret>` of a service principal.
    """

    def get(self, request: Request) -> Response:
        text = request.headers.get("X-Identity-Header") or request.headers.get("Secret") or ""
        resource = _field(request.query_params, "resource")
        address = address_of(request._request)
        credential = tokens.find_token(text) if text else None
        client, found, secret = text.partition(":")
        if credential is None and found:
            token = exchange(client, secret, resource, address=address)
        elif credential is None:
            is_too_much = Attempts("", address).note_failure()
            raise _too_many() if is_too_much else OAuthError("invalid_client", WRONG_TOKEN, 401)
        else:
            token = _issue(credential, resource)
        answer = {
            "access_token": token.text,
            "expires_on": str(int(token.expires_at.timestamp())),
            "expires_in": str(token.seconds_left),
            "resource": resource,
            "token_type": "Bearer",
        }
        return Response(answer, headers=NO_STORE)


def exchange(
    client: str, proof: str, resource: str, *, address: str, is_assertion: bool = False
) -> AccessToken:
    """An access token for a client's secret, or for a foreign issuer's token.

    `OAuthError` when it is not right, or was wrong too often.
    """
    attempts = Attempts(client, address)
    if attempts.are_too_many:
        raise _too_many()
    found = (
        federation.find_federated(client, proof)
        if is_assertion
        else principals.find_secret(client, proof)
    )
    if found is None:
        is_too_much = attempts.note_failure()
        wrong = WRONG_ASSERTION if is_assertion else WRONG_SECRET
        raise _too_many() if is_too_much else OAuthError("invalid_client", wrong, 401)
    attempts.forget()
    return _issue(found, resource)


def _issue(credential: Credential, resource: str) -> AccessToken:
    audience = audience_of(resource)
    if audience is None:
        raise OAuthError(
            "invalid_resource",
            f"AADSTS500011: The resource {resource[:200]!r} is not known here. Use the address of Portico, or "
            f"{', '.join(Audience)}.",
        )
    is_for_scoring = audience is Audience.MACHINE_LEARNING
    return access_tokens.issue(credential, resource, for_scoring=is_for_scoring)


def _client_of(request: Request) -> tuple[str, str, bool]:
    """Client id, its secret or assertion, and whether it is the latter; from the form or from the header."""
    form = request._request.POST
    kind, _, text = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "basic":
        try:
            client, _, secret = (
                base64.b64decode(text.strip(), validate=True).decode().partition(":")
            )
        except (binascii.Error, UnicodeDecodeError):
            raise OAuthError("invalid_client", WRONG_SECRET, 401) from None
        return unquote_plus(client), unquote_plus(secret), False
    client = _field(form, "client_id")
    is_assertion = _field(form, "client_assertion_type") == ASSERTION_TYPE
    proof = _field(form, "client_assertion" if is_assertion else "client_secret")
    if not client or not proof:
        missing = "client_secret' or 'client_assertion" if client else "client_id"
        raise OAuthError(
            "invalid_request", f"AADSTS900144: The form must contain the parameter '{missing}'."
        )
    return client, proof, is_assertion


def _resource_of(form: Any) -> str:
    """Of version 2 the one scope that ends in /.default; of version 1 the resource."""
    resource = _field(form, "resource")
    if resource:
        return resource
    scopes = _field(form, "scope").split()
    named = [scope.removesuffix("/.default") for scope in scopes if scope.endswith("/.default")]
    if len(named) != 1:
        raise OAuthError(
            "invalid_scope",
            "AADSTS1002012: The scope must be one resource and /.default, such as "
            "https://management.azure.com/.default.",
        )
    return named[0]


def _field(form: Any, name: str) -> str:
    """The field, if it is there once and not absurdly long; empty otherwise."""
    values = form.getlist(name)
    text = str(values[0]) if len(values) == 1 else ""
    return text if len(text) <= LONGEST_FIELD and "\x00" not in text else ""


def _too_many() -> OAuthError:
    return OAuthError("temporarily_unavailable", TOO_MANY, 429)
