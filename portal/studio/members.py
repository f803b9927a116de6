"""Who is in the workspace; owners add, change and remove right here."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from portal.pages import go, toast
from portal.studio.as_code import access as as_code
from portal.studio.as_code.forms import Forms
from portal.studio.code_part import asks_for_code, code_part, place_of, samples_of
from portal.studio.scope import StudioRequest, studio_page
from workspaces import access, members
from workspaces.assignments import assignment_id, principal_id
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
    if asks_for_code(request):
        return code_part(request, _add_code(request))
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
    found = list(
        request.workspace.memberships.select_related("user__service_principal").order_by(
            "user__username"
        )
    )
    may_change = access.role_may(request.role, "members/write")
    context = {
        "members": found,
        "may_change": may_change,
        **(_as_code(request, found) if may_change else {}),
        "roles": ROLE_WORDS.items(),
        "typed": request.POST,
        "problems": problems,
        "workspace": request.workspace,
    }
    status = 200 if error is None else 409 if error.status == 409 else 422
    return render(request, "workspaces/member_list.html", context, status=status)


def _as_code(request: StudioRequest, found: list[Membership]) -> dict[str, object]:
    """Adding, changing and removing; a change is shown with the first member who is somebody else."""
    place = place_of(request)
    other = next((member for member in found if member.user_id != request.user.pk), None)
    change = (
        as_code.assign(
            place, _principal(other), other.role, assignment=str(assignment_id(other))
        ).samples(place)
        if other
        else []
    )
    return {
        "code_samples": samples_of(request, _add_code(request)),
        "code_url": reverse("studio:add_member", kwargs={"workspace": request.workspace.name}),
        "change_samples": change,
        "remove_dialogs": [
            (member, as_code.remove(place, str(assignment_id(member))).samples(place))
            for member in found
        ],
    }


def _add_code(request: StudioRequest) -> Forms:
    """What stands in the form, with a new id for the assignment."""
    who = request.POST.get("user", "").strip() or "bob@example.com"
    role = request.POST.get("role", "") or Role.READER
    return as_code.assign(place_of(request), who, role, assignment=str(uuid4()))


def _principal(member: Membership) -> str:
    return str(principal_id(member.user))


def _find(request: StudioRequest, pk: int) -> Membership:
    rows = request.workspace.memberships.select_related("user", "workspace")
    return get_object_or_404(rows, pk=pk)


def _url(request: StudioRequest) -> str:
    return reverse("studio:members", kwargs={"workspace": request.workspace.name})
