"""What this installation is called as a cloud of its own: `ARM_CLOUD_METADATA_URL` alone points clients here."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

NAME = "Portico"
# The SDK makes the audience of machine learning, https://ml.azure.com, of the end of this name; it opens it nowhere.
PORTAL = "https://portal.azure.com/"
HEADERS = {"Cache-Control": "max-age=300", "Vary": "Host"}


class CloudMetadata(APIView):
    """The one cloud there is (wire 2.2). The SDK asks dozens of times in a run: nothing is looked up here."""

    authentication_classes = ()
    permission_classes = ()
    metadata_class = None

    def get(self, request: Request) -> Response:
        return Response([describe(origin_of(request))], headers=HEADERS)


def origin_of(request: HttpRequest | Request) -> str:
    """`https://host:port` by which the caller reached us; our own name when that was not over TLS."""
    if request.is_secure():
        return f"https://{request.get_host()}"
    return f"https://{settings.PORTICO_HOST}:{settings.PORTICO_TLS_PORT}"


def describe(origin: str) -> dict[str, Any]:
    """Of several clouds the SDK takes the one whose `resourceManager` is a part of the address that it asked."""
    return {
        "name": NAME,
        "portal": PORTAL,
        "resourceManager": f"{origin}/",
        "authentication": {"loginEndpoint": origin, "audiences": [origin, f"{origin}/"]},
        "suffixes": {"storage": "core.windows.net"},
    }
