"""What a page answers when a verb refused: the sentence, with its status; in a toast where a part was asked for."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from portal.pages import is_swap
from workspaces.errors import Forbidden, NotFound, UserError

LONGEST_HEADER = 500


def refused(request: HttpRequest, error: UserError) -> HttpResponse:
    """The answer to a refused request; raises what Django's own page for 404 answers."""
    if is_swap(request):
        # `static/js/requests.js` shows it; a header holds one line of ASCII.
        words = " ".join(error.message.split())[:LONGEST_HEADER]
        text = words.encode("ascii", "replace").decode()
        return HttpResponse(status=error.status, headers={"X-Error": text})
    if isinstance(error, NotFound):
        raise Http404(error.message) from error
    if isinstance(error, Forbidden):
        return render(request, "403.html", {"message": error.message}, status=error.status)
    return render(request, "refused.html", {"message": error.message}, status=error.status)
