"""Who a request comes from."""

from __future__ import annotations

from django.http import HttpRequest


def address_of(request: HttpRequest) -> str:
    """The caller's address, from the one header that Envoy alone sets.

    `REMOTE_ADDR` comes from X-Forwarded-For here, whose leftmost entry is whatever the caller sent.
    """
    told = request.META.get("HTTP_X_ENVOY_EXTERNAL_ADDRESS") or request.META.get("REMOTE_ADDR")
    return str(told or "")
