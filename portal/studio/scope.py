"""What a page may see: the workspace of its address, the user's role there, and what is in it.

A stranger learns nothing: what they may not see does not exist (404). A member without the right is told which one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404

from deployments.models import OnlineDeployment
from endpoints.models import OnlineEndpoint
from portal.studio.refusals import refused
from workspaces import access
from workspaces.errors import UserError
from workspaces.models import User, Workspace

P = ParamSpec("P")


class StudioRequest(HttpRequest):
    """A request whose user is signed in and whose workspace is visible to them."""

    user: User
    workspace: Workspace
    role: str
    htmx: Any


View = Callable[Concatenate[StudioRequest, P], HttpResponse]


def studio_page(action: str) -> Callable[[View[P]], Callable[..., HttpResponse]]:
    """A view below `/w/<workspace>/` that needs `action` there (one of Azure's, such as `onlineEndpoints/read`).

    Reading methods need `action` as given; give the writing action to a view that only takes POST. A `UserError`
    that the view lets through becomes a page with its sentence.
    """

    def decorate(view: View[P]) -> Callable[..., HttpResponse]:
        @login_required
        @wraps(view)
        def guarded(request: Any, workspace: str, *args: Any, **kwargs: Any) -> HttpResponse:
            if holds_zero([workspace, *kwargs.values()]):
                raise Http404("No name holds a zero character.")
            visible = Workspace.objects.visible_to(request.user)
            request.workspace = get_object_or_404(visible, name=workspace)
            request.role = access.role_of(request.user, request.workspace)
            if request.session.get("workspace") != request.workspace.name:
                request.session["workspace"] = request.workspace.name
            try:
                access.require(request.user, action, request.workspace)
                refuse_zero(request)
                return view(request, *args, **kwargs)
            except UserError as error:
                return refused(request, error)

        return guarded

    return decorate


def refuse_zero(request: HttpRequest) -> None:
    """Raise for a field with a zero character, which no text of the database can hold."""
    for fields in (request.GET, request.POST):
        for name, values in fields.lists():
            if holds_zero([name, *values]):
                raise UserError(
                    f"The field '{name[:60]}' holds a zero character. Remove it, then send it again.",
                    target=name,
                )


def holds_zero(values: Iterable[object]) -> bool:
    return any(isinstance(value, str) and "\x00" in value for value in values)


def find_endpoint(request: StudioRequest, name: str) -> OnlineEndpoint:
    """The endpoint of that name (without regard to case) in the request's workspace, or 404."""
    found = request.workspace.online_endpoints.filter(name__iexact=name).first()
    if found is None:
        raise Http404(f"There is no endpoint '{name}' in workspace '{request.workspace.name}'.")
    found.workspace = request.workspace
    return found


def find_deployment(request: StudioRequest, endpoint: str, name: str) -> OnlineDeployment:
    """The deployment of that name under the endpoint, or 404."""
    parent = find_endpoint(request, endpoint)
    found = parent.deployments.filter(name__iexact=name).first()
    if found is None:
        raise Http404(f"Endpoint '{endpoint}' has no deployment '{name}'.")
    found.endpoint = parent
    return found
