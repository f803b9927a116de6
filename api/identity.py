"""Who calls: personal access tokens as bearer tokens. `api.credentials` is where azure-identity fetches them."""

from __future__ import annotations

from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from workspaces import tokens
from workspaces.models import User

CHALLENGE = 'Bearer realm="portico"'
REFUSED = (
    "The access token is unknown, expired or revoked. Make a new one under Account, Access tokens, and send it "
    "as 'Authorization: Bearer <token>'."
)


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer ptc_…`; anything else that is sent is refused, nothing sent is nobody."""

    def authenticate(self, request: Request) -> tuple[User, None] | None:
        words = get_authorization_header(request).split()
        if not words:
            return None
        if len(words) != 2 or words[0].lower() != b"bearer":
            raise AuthenticationFailed(
                "The Authorization header must be 'Bearer' and an access token of Portico."
            )
        user = tokens.user_of(words[1].decode("latin-1"))
        if user is None:
            raise AuthenticationFailed(REFUSED)
        return user, None

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE
