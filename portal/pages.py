"""How a view of the studio answers: a page or its part, a redirect, a toast."""

from __future__ import annotations

import json
from typing import Any, Protocol, cast

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import patch_vary_headers
from django_htmx.http import HttpResponseClientRedirect, trigger_client_event

LEVELS = {
    "success": messages.SUCCESS,
    "info": messages.INFO,
    "warning": messages.WARNING,
    "error": messages.ERROR,
}


class HtmxDetails(Protocol):
    """What `django_htmx` puts on a request."""

    boosted: bool

    def __bool__(self) -> bool: ...


def render_page(
    request: HttpRequest,
    page: str,
    part: str,
    context: dict[str, Any],
    *,
    status: int = 200,
) -> HttpResponse:
    """The whole page for a visit, only `part` for an htmx swap of the same URL.

    Give 422 as `status` for a form that did not validate: htmx swaps it in like a success.
    """
    swap = is_swap(request)
    response = render(request, part if swap else page, context, status=status)
    patch_vary_headers(response, ["HX-Request", "HX-Boosted"])
    return announce(request, response) if swap else response


def render_part(
    request: HttpRequest, part: str, context: dict[str, Any], *, status: int = 200
) -> HttpResponse:
    """A part that has no page of its own, such as the body of a dialog, with the toasts that wait."""
    return announce(request, render(request, part, context, status=status))


def is_swap(request: HttpRequest) -> bool:
    """Whether htmx asks for a part, rather than a browser for a page."""
    htmx = _htmx(request)
    return bool(htmx) and not htmx.boosted


def go(request: HttpRequest, url: str) -> HttpResponse:
    """After a POST that worked: 303, or `HX-Redirect` when htmx sent it. `url` is ours, never the user's."""
    if _htmx(request):
        return HttpResponseClientRedirect(url)
    return HttpResponse(status=303, headers={"Location": url})


def done(request: HttpRequest, *, refresh: str = "") -> HttpResponse:
    """After an htmx POST that leaves the page where it is: closes the dialog, shows the waiting toasts.

    `refresh` names a client event; parts ask again with `hx-trigger="<event> from:body"`.
    """
    response = HttpResponse(status=204)
    trigger_client_event(response, "dialog:close", {})
    if refresh:
        trigger_client_event(response, refresh, {})
    return announce(request, response)


def toast(
    request: HttpRequest,
    text: str,
    *,
    level: str = "success",
    action: tuple[str, str] | None = None,
) -> None:
    """Show `text` bottom right, on this response or after the redirect it causes.

    `action` is a label and a URL that is POSTed, such as ("Undo", url). Errors stay until dismissed.
    """
    # Message storage keeps strings only, so the action travels as JSON in the tags.
    label, url = action or ("", "")
    tags = json.dumps({"label": label, "url": url}) if action else ""
    messages.add_message(request, LEVELS[level], text, extra_tags=tags)


def announce(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Hand the waiting toasts to the page that is already open, through `HX-Trigger`."""
    items = waiting_toasts(request)
    if items:
        trigger_client_event(response, "toast", {"items": items})
    return response


def waiting_toasts(request: HttpRequest) -> list[dict[str, Any]]:
    """Take the toasts that wait: `{text, level, action}` each, `action` null or `{label, url}`."""
    names = {number: name for name, number in LEVELS.items()}
    return [
        {
            "text": str(message.message),
            "level": names.get(message.level, "info"),
            "action": json.loads(message.extra_tags) if message.extra_tags else None,
        }
        for message in messages.get_messages(request)
    ]


def _htmx(request: HttpRequest) -> HtmxDetails:
    return cast(HtmxDetails, cast(Any, request).htmx)
