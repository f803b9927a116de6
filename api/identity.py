"""Who calls: personal access tokens, and the access tokens that `api.oauth` gives out, as bearer tokens."""

from __future__ import annotations

from collections.abc import Collection

from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from api.audiences import Audience, audience_of
from workspaces import access_tokens, tokens
from workspaces.models import User

CHALLENGE = 'Bearer realm="portico"'
REFUSED = (
    "The access token is unknown, expired or revoked. Make a new one under Account, Personal access tokens, and "
    "send it as 'Authorization: Bearer <token>'."
)


class WrongAudience(AuthenticationFailed):
    """A good token, addressed to another door."""

    azure_code = "InvalidAuthenticationTokenAudience"


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer …`; anything else that is sent is refused, nothing sent is nobody.

    A view says in `audiences` to whom access tokens must be addressed, if not to management.
    """

    def authenticate(self, request: Request) -> tuple[User, None] | None:
        words = get_authorization_header(request).split()
        if not words:
            return None
        if len(words) != 2 or words[0].lower() != b"bearer":
            raise AuthenticationFailed(
                "The Authorization header must be 'Bearer' and an access token of Portico."
            )
        view = request.parser_context.get("view") if request.parser_context else None
        audiences = getattr(view, "audiences", (Audience.MANAGEMENT,))
        return bearer_of(words[1].decode("latin-1"), audiences), None

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


def bearer_of(text: str, audiences: Collection[Audience]) -> User:
    """Whose token it is; `AuthenticationFailed` when it is not good, or not for this door.

    A personal token is good for every door.
    """
    presented = access_tokens.present(text) if access_tokens.looks_like_one(text) else None
    if presented is None:
        user = tokens.user_of(text)
        if user is None:
            raise AuthenticationFailed(REFUSED)
        return user
    if audience_of(presented.audience) not in audiences:
        raise WrongAudience(
            f"The access token was given for '{presented.audience[:200]}', and this address takes tokens for "
            f"{' or '.join(audiences)}. Ask for one with the scope <that>/.default."
        )
    return presented.user
