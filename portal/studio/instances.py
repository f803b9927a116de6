"""The tab “Instances” of a deployment: what runs, how it fares, how it ended last; restarting and draining one."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import Http404, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from deployments.models import Instance, OnlineDeployment
from deployments.replacing import drain_instance, find_instance, restart_instance
from monitoring.usage import Latest, latest_usage
from portal.pages import go, render_page, toast
from portal.studio.as_code import instances as as_code
from portal.studio.code_part import place_of, samples_of
from portal.studio.scope import StudioRequest, find_deployment, studio_page
from workspaces.errors import NotFound, UserError

WRITE = "onlineEndpoints/deployments/write"
DIGEST = "sha256:"
SHORT = 12


@dataclass(frozen=True)
class InstanceRow:
    """One instance as the tab shows it."""

    instance: Instance
    usage: Latest | None
    memory_bytes: float | None
    """What it uses now."""
    address_kind: str
    image: str
    """The short form of its image's id."""
    wish: str
    """What somebody wants of it and was not done yet; empty if nothing."""
    may_act: bool
    """Whether it may be restarted and drained now."""


def instance_rows(deployment: OnlineDeployment) -> list[InstanceRow]:
    usage = latest_usage(deployment)
    rows = deployment.instances.select_related("revision__instance_type", "revision__compute")
    return [_row(deployment, row, usage.get(row.name)) for row in rows]


@studio_page(WRITE)
def restart(request: StudioRequest, endpoint: str, deployment: str, instance: str) -> HttpResponse:
    """A GET asks, in a dialog or on a page; a POST restarts it."""
    words = _("Restarting instance %(number)s. It leaves the routes first.")
    return _ask_or_do(request, endpoint, deployment, instance, "restart", restart_instance, words)


@studio_page(WRITE)
def drain(request: StudioRequest, endpoint: str, deployment: str, instance: str) -> HttpResponse:
    words = _("Replacing instance %(number)s by a fresh one.")
    return _ask_or_do(request, endpoint, deployment, instance, "drain", drain_instance, words)


def short_image(reference: str) -> str:
    """`sha256:0123…` as engines show it; a name as it is."""
    if reference.startswith(DIGEST):
        return reference[len(DIGEST) :][:SHORT]
    return reference


def _ask_or_do(
    request: StudioRequest,
    endpoint: str,
    deployment: str,
    instance: str,
    what: str,
    verb: Callable[..., Instance],
    words: str,
) -> HttpResponse:
    found = find_deployment(request, endpoint, deployment)
    try:
        row = find_instance(found, instance)
    except NotFound as error:
        raise Http404(error.message) from error
    page = f"{_url_of(request, found)}?tab=instances"
    if request.method == "POST":
        try:
            verb(found, row.name, by=request.user)
        except UserError as error:
            toast(request, error.message, level="error")
        else:
            toast(request, words % {"number": row.number})
        return go(request, page)
    others = sum(other.is_healthy for other in found.instances.exclude(pk=row.pk))
    forms = as_code.act_on_instance(
        place_of(request), found.endpoint.name, found.name, row.name, what
    )
    context: dict[str, Any] = {
        "workspace": request.workspace,
        "endpoint": found.endpoint,
        "deployment": found,
        "instance": row,
        "what": what,
        "others": others,
        "page_url": page,
        "code_samples": samples_of(request, forms),
    }
    form, part = "deployments/instance_act.html", "deployments/_instance_act.html"
    return render_page(request, form, part, context)


def _row(deployment: OnlineDeployment, row: Instance, usage: Latest | None) -> InstanceRow:
    limit = row.revision.instance_type.memory_bytes
    is_ours = row.revision_id == deployment.serving_revision_id
    is_going = row.is_leaving or row.state == Instance.State.DRAINING
    return InstanceRow(
        instance=row,
        usage=usage,
        memory_bytes=usage.memory_percent * limit / 100 if usage else None,
        address_kind=_address_kind(row.address, row.revision.runtime),
        image=short_image(row.revision.image),
        wish=_wish(row),
        may_act=is_ours and not is_going and not deployment.is_busy,
    )


def _address_kind(address: str, runtime: str) -> str:
    """How the gateway reaches it."""
    if address.startswith("unix:"):
        return _("over a local socket")
    if address and runtime == "docker":
        if _is_in_its_own_network(address):
            return _("in its own network on this machine")
        return _("by a port of the engine's host")
    return _("over the network") if address else ""


def _is_in_its_own_network(address: str) -> bool:
    with contextlib.suppress(ValueError):
        host = ipaddress.IPv4Address(address.rpartition(":")[0])
        return host in ipaddress.IPv4Network(settings.DOCKER_SUBNETS)
    return False


def _wish(row: Instance) -> str:
    if row.is_leaving:
        return _("a fresh one takes its place")
    if row.restart_requested_at is not None:
        return _("will be restarted")
    return ""


def _url_of(request: StudioRequest, deployment: OnlineDeployment) -> str:
    names = [request.workspace.name, deployment.endpoint.name, deployment.name]
    return reverse("studio:deployment", args=names)
