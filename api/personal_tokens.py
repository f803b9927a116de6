"""One's own access tokens. Azure has no such resource; the studio's account page offers the same."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from api.arm import Json, instant, page, parse_body
from api.bodies import Body
from workspaces import lifetimes, tokens
from workspaces.errors import NotFound, UserError
from workspaces.models import PersonalToken, TokenScope, User, Workspace

SCOPES: dict[str, str] = {scope: scope for scope in TokenScope.values}


class TokenList(APIView):
    """A new token's text is in the answer to its POST alone."""

    parser_classes = ()
    metadata_class = None

    def get(self, request: Request) -> Response:
        rows = _caller(request).personal_tokens.select_related("workspace")
        return page(request, rows, present)

    def post(self, request: Request) -> Response:
        user = _caller(request)
        body = Body(parse_body(request._request))
        name = body.text("name", longest=tokens.LONGEST_NAME)
        scope = body.choice("scope", SCOPES, TokenScope.FULL)
        workspace = body.run(lambda: _workspace(body, user), None)
        lifetime = body.run(lambda: lifetime_of(body), None)
        body.finish()
        token, text = tokens.create_token(
            user, name, scope=scope, workspace=workspace, lifetime=lifetime
        )
        answer = {**present(token), "token": text}
        return Response(answer, status=201, headers={"Cache-Control": "no-store"})


class TokenDetail(APIView):
    parser_classes = ()
    metadata_class = None

    def get(self, request: Request, token: str) -> Response:
        rows = _caller(request).personal_tokens.select_related("workspace")
        found = rows.filter(pk=number_of(token)).first()
        if found is None:
            raise NotFound(f"You have no token with the id {token}.", target="id")
        return Response(present(found))

    def delete(self, request: Request, token: str) -> Response:
        """A token may revoke itself, whatever it is limited to."""
        user = _caller(request)
        is_this = token == "current" and user.limits is not None
        pk = user.limits.token_id if is_this and user.limits else number_of(token)
        try:
            tokens.revoke_token(user, pk or 0)
        except NotFound:
            return Response(status=204)
        return Response(status=200)


def present(token: PersonalToken) -> Json:
    return {
        "id": str(token.pk),
        "name": token.name,
        "scope": token.scope,
        "workspace": token.workspace.name if token.workspace else None,
        "createdAt": instant(token.created_at),
        "expiresAt": instant(token.expires_at) if token.expires_at else None,
        "lastUsedAt": instant(token.last_used_at) if token.last_used_at else None,
    }


def _caller(request: Request) -> User:
    return cast(User, request.user)


def number_of(text: str) -> int:
    """0, which no token has, for what is no id."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0


def _workspace(body: Body, user: User) -> Workspace | None:
    name = body.text("workspace", longest=100)
    if not name:
        return None
    found = Workspace.objects.visible_to(user).filter(name__iexact=name).first()
    if found is None:
        raise UserError(
            f"You are in no workspace '{name}'. Name one that you may see, or none for all of them.",
            target="workspace",
        )
    return found


def lifetime_of(body: Body) -> timedelta | None:
    """`expiresInDays`: absent for the usual lifetime, 0 for no end."""
    if not body.has("expiresInDays"):
        return None
    days = body.whole("expiresInDays", 1)
    if not 0 <= days <= 36_500:
        raise UserError(
            f"expiresInDays is {days}. It must be a number of days, or 0 for no end.",
            target="expiresInDays",
        )
    return timedelta(days=days) if days else lifetimes.NO_END
