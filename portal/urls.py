"""Every address of the studio; the API's are in `api/urls.py`."""

from __future__ import annotations

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views.generic import TemplateView

from portal import views

handler400 = "portal.views.bad_request"
handler403 = "portal.views.forbidden"
handler404 = "portal.views.not_found"
handler500 = "portal.views.server_error"

urlpatterns = [
    path("", views.home, name="home"),
    path("healthz", views.healthz, name="healthz"),
    path("ca.pem", views.authority, name="authority"),
    path("sign-in", views.SignIn.as_view(), name="sign_in"),
    path("sign-in/<str:secret>", views.sign_in_once, name="sign_in_once"),
    path("sign-out", views.sign_out, name="sign_out"),
    path("theme", views.theme, name="theme"),
    path("admin/", admin.site.urls),
    path("w/<str:workspace>/", include("portal.studio.urls")),
    path("api/docs", TemplateView.as_view(template_name="api/docs.html"), name="api_docs"),
    path("", include("api.urls")),
]

if settings.DEBUG:
    urlpatterns.append(path("_gallery", TemplateView.as_view(template_name="gallery.html")))
