"""Only the gallery and the addresses that its frame names, so that it can be looked at without a database."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.generic import TemplateView


def nothing(request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=204)


def healthz(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok"})


urlpatterns = [
    path("_gallery", TemplateView.as_view(template_name="gallery.html")),
    path("healthz", healthz, name="healthz"),
    path("theme", nothing, name="theme"),
    path("sign-in", nothing, name="sign_in"),
    path("sign-out", nothing, name="sign_out"),
]
