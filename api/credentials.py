"""The door where azure-identity fetches tokens, as on a machine with a managed identity (wire 3.1)."""

from __future__ import annotations

import time

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from api.identity import CHALLENGE, REFUSED
from workspaces import tokens

ASKED_AGAIN_SECONDS = 3600
"""A client that holds the token asks again after this, and so notices that it was revoked."""


class ManagedIdentity(APIView):
    """For `IDENTITY_ENDPOINT` and `IDENTITY_HEADER`: the header is an access token, and so is the answer.

    Nothing is issued here: whoever can ask has the token already.
    """

    authentication_classes = ()
    permission_classes = ()
    metadata_class = None

    def get(self, request: Request) -> Response:
        text = request.headers.get("X-Identity-Header") or request.headers.get("Secret") or ""
        if not text or tokens.user_of(text) is None:
            told = {"error": "invalid_client", "error_description": REFUSED}
            return Response(told, status=401, headers={"WWW-Authenticate": CHALLENGE})
        return Response(
            {
                "access_token": text,
                "expires_on": str(int(time.time()) + ASKED_AGAIN_SECONDS),
                "expires_in": str(ASKED_AGAIN_SECONDS),
                "resource": request.query_params.get("resource", ""),
                "token_type": "Bearer",
            }
        )
