"""What every response says about itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

GetResponse = Callable[[HttpRequest], HttpResponseBase]
AsyncGetResponse = Callable[[HttpRequest], Awaitable[HttpResponseBase]]
Finish = Callable[[HttpRequest, HttpResponseBase], HttpResponseBase]

HEADER = "Content-Security-Policy"
# No inline script and no inline style anywhere, so that a name or a log line can never become code.
POLICY = "; ".join(
    f"{directive} {sources}"
    for directive, sources in {
        "default-src": "'self'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "object-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }.items()
)


@sync_and_async_middleware
def content_security_policy(get_response: GetResponse | AsyncGetResponse) -> object:
    """Add the policy to each response that does not bring its own."""
    return _finishing(get_response, _with_policy)


@sync_and_async_middleware
def secure_cookies(get_response: GetResponse | AsyncGetResponse) -> object:
    """Keep cookies that were given over TLS off plain connections.

    Not a setting of Django's, because the same portal also answers without TLS, on loopback alone.
    """
    return _finishing(get_response, _with_secure_cookies)


def _with_policy(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    response.headers.setdefault(HEADER, POLICY)
    return response


def _with_secure_cookies(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    if request.is_secure():
        for cookie in response.cookies.values():
            cookie["secure"] = True
    return response


def _finishing(get_response: GetResponse | AsyncGetResponse, finish: Finish) -> object:
    """A middleware that has the last word on each response."""
    if iscoroutinefunction(get_response):
        answer_later = cast(AsyncGetResponse, get_response)

        async def later(request: HttpRequest) -> HttpResponseBase:
            return finish(request, await answer_later(request))

        return markcoroutinefunction(later)

    answer = cast(GetResponse, get_response)

    def now(request: HttpRequest) -> HttpResponseBase:
        return finish(request, answer(request))

    return now
