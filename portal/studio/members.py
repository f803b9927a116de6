"""Who is in the workspace; owners add, change and remove right here."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from portal.pages import go, toast
from portal.studio.scope import StudioRequest, studio_page
from workspaces import access, members
from workspaces.errors import UserError
from workspaces.models import Membership, Role

ROLE_WORDS = {
    Role.OWNER: gettext_lazy("everything, members included"),
    Role.CONTRIBUTOR: gettext_lazy("everything but members and quotas"),
    Role.DATA_SCIENTIST: gettext_lazy("models, environments, endpoints; not compute or quotas"),
    Role.READER: gettext_lazy("looks, changes nothing, sees no keys"),
}


@studio_page("read")
def member_list(request: StudioRequest) -> HttpResponse:
    """The members with their roles, and for owners the ways to change them."""
    return _page(request)


@studio_page("members/write")
@require_POST
def add(request: StudioRequest) -> HttpResponse:
    """Let somebody in."""
    name, role = request.POST.get("user", ""), request.POST.get("role", "")
    try:
        member = members.add_member(request.workspace, name, role, by=request.user)
    except UserError as error:
        return _page(request, error)
    toast(
        request,
        _("%(user)s is now %(role)s here.") % {"user": member.user.username, "role": member.role},
    )
    return go(request, _url(request))


@studio_page("members/write")
@require_POST
def change(request: StudioRequest, pk: int) -> HttpResponse:
    """Another role."""
    member = _find(request, pk)
    role = request.POST.get("role", "")
    words = _("%(user)s is now %(role)s here.") % {"user": member.user.username, "role": role}
    return _do(request, lambda: members.change_role(member, role, by=request.user), words)


@studio_page("members/write")
@require_POST
def remove(request: StudioRequest, pk: int) -> HttpResponse:
    """Out."""
    member = _find(request, pk)
    words = _("%(user)s was removed.") % {"user": member.user.username}
    response = _do(request, lambda: members.remove_member(member, by=request.user), words)
    # Whoever removed themselves has no page here any more.
    return (
        response
        if access.role_of(request.user, request.workspace)
        else go(request, reverse("home"))
    )


def _do(request: StudioRequest, verb: Callable[[], object], words: str) -> HttpResponse:
    try:
        verb()
    except UserError as error:
        return _page(request, error)
    toast(request, words)
    return go(request, _url(request))


def _page(request: StudioRequest, error: UserError | None = None) -> HttpResponse:
    problems = [{"field": error.target, "message": error.message}] if error else []
    context = {
        "members": request.workspace.memberships.select_related(
            "user__service_principal"
        ).order_by("user__username"),
        "may_change": access.role_may(request.role, "members/write"),
        "roles": ROLE_WORDS.items(),
        "typed": request.POST,
        "problems": problems,
        "workspace": request.workspace,
    }
    status = 200 if error is None else 409 if error.status == 409 else 422
    return render(request, "workspaces/member_list.html", context, status=status)


def _find(request: StudioRequest, pk: int) -> Membership:
    rows = request.workspace.memberships.select_related("user", "workspace")
    return get_object_or_404(rows, pk=pk)


def _url(request: StudioRequest) -> str:
    return reverse("studio:members", kwargs={"workspace": request.workspace.name})
