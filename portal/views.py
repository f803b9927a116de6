"""Home, health, signing in and out, and the pages for errors."""

from __future__ import annotations

import logging

from django.conf import settings
from django.contrib.auth import login, logout
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView
from django.core.exceptions import (
    DisallowedHost,
    RequestDataTooBig,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from portal.certificates import authority_path
from workspaces import tokens
from workspaces.models import User, Workspace

logger = logging.getLogger(__name__)


@login_required
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """The overview of the workspace visited last, or of the first one."""
    visible = Workspace.objects.visible_to(request.user)
    last = request.session.get("workspace", "")
    workspace = visible.filter(name=last).first() or visible.first()
    if workspace is None:
        return render(request, "workspaces/no_workspace.html", status=403)
    return redirect("studio:overview", workspace=workspace.name)


@require_safe
@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    """200 once requests are served; 503 while the database does not answer."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        logger.warning("health: the database does not answer")
        return JsonResponse({"status": "database unavailable"}, status=503)
    return JsonResponse({"status": "ok"})


@require_safe
def authority(request: HttpRequest) -> HttpResponse:
    """The certificate of the installation's own authority, for clients that pin it. Public, as in each handshake."""
    path = authority_path(settings.CERTIFICATES_DIR)
    if settings.TLS_CERTIFICATE or not path.exists():
        reason = "This portal uses a certificate of its operator; its authority is not ours to hand out.\n"
        return HttpResponse(reason, status=404, content_type="text/plain")
    return HttpResponse(path.read_bytes(), content_type="application/x-pem-file")


class SignIn(LoginView):
    template_name = "workspaces/sign_in.html"
    redirect_authenticated_user = True


@never_cache
def sign_in_once(request: HttpRequest, secret: str) -> HttpResponse:
    """Sign the link's user in, once. A visit only asks: link previews must not use it up."""
    if request.method != "POST":
        is_open = tokens.is_open(secret)
        status = 200 if is_open else 410
        return render(request, "workspaces/sign_in_once.html", {"is_open": is_open}, status=status)
    user = tokens.use_sign_in_link(secret)
    if user is None:
        return render(request, "workspaces/sign_in_once.html", {"is_open": False}, status=410)
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return redirect("home")


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return redirect("sign_in")


@login_required
@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """Keep the theme with the user; back to where they were."""
    wanted = request.POST.get("theme", "")
    if wanted in User.Theme.values:
        User.objects.filter(username=request.user.get_username()).update(theme=wanted)
    if request.headers.get("HX-Request"):
        return HttpResponse(status=204)
    back = request.META.get("HTTP_REFERER", "")
    is_ours = url_has_allowed_host_and_scheme(back, allowed_hosts={request.get_host()})
    return HttpResponseRedirect(back if is_ours else reverse("home"))


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """A request that Django will not read: a foreign host name, too much text, too many files or fields."""
    message = "The request could not be read. Load the page again, then send it once more."
    if isinstance(exception, DisallowedHost):
        message = (
            "Portico does not answer at this address. Its operator can add the name to PORTICO_ALLOWED_HOSTS, or "
            "make it PORTICO_HOST, and start Portico again."
        )
    elif isinstance(exception, RequestDataTooBig):
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE / 1024**2
        message = f"The fields hold more than {limit:g} MiB of text. Upload long texts as files."
    elif isinstance(exception, TooManyFilesSent | TooManyFieldsSent):
        most = settings.DATA_UPLOAD_MAX_NUMBER_FILES
        message = f"More than {most} files were sent at once. Pack them into one zip."
    if request.headers.get("HX-Request"):
        return HttpResponse(status=400, headers={"X-Error": message})
    return render(request, "refused.html", {"message": message}, status=400)


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return render(request, "403.html", {"message": str(exception or "")}, status=403)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return render(request, "404.html", status=404)


def server_error(request: HttpRequest) -> HttpResponse:
    return render(request, "500.html", status=500)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form from before a new sign-in, or from elsewhere: nobody's role is to blame."""
    message = "This form is out of date: nothing was changed. Go back, load the page again, then send it once more."
    return render(request, "refused.html", {"message": message}, status=403)
