"""Compute: this machine, the quotas, the clusters for batch jobs, and what instance types may use and cost."""

from __future__ import annotations

from django.db.models import Count, Q
from django.http import Http404, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from api.locations import WORDS
from deployments.changes import machine
from deployments.engines import runtime_name
from deployments.installation import runtime
from deployments.models import BatchDeployment, Instance, OnlineDeployment
from deployments.usages import usages_of
from portal.pages import go, render_page, toast
from portal.studio.as_code import computes, quotas
from portal.studio.as_code.forms import Forms
from portal.studio.code_part import place_of
from portal.studio.code_values import compute_values
from portal.studio.deployment_form import has_room
from portal.studio.scope import StudioRequest, studio_page
from workspaces import access, quota
from workspaces.computes import spec_of
from workspaces.errors import UserError
from workspaces.models import Compute, InstanceType


@studio_page("computes/read")
def instance_types(request: StudioRequest) -> HttpResponse:
    """Machine, quotas, computes and instance types: those with room here or in use; `?all=1` and `?q=` show others."""
    own = machine()
    query, shows_all = request.GET.get("q", "").strip(), request.GET.get("all") == "1"
    deployments = OnlineDeployment.objects.filter(endpoint__workspace=request.workspace)
    in_use = dict(
        deployments.exclude(revision=None)
        .values_list("revision__instance_type")
        .annotate(count=Count("pk"))
        .order_by()
    )
    words = Q(name__icontains=query) | Q(family__icontains=query) | Q(gpu_model__icontains=query)
    types = InstanceType.objects.filter(words, is_enabled=True)
    rows = [(row, has_room(row, own), in_use.get(row.pk, 0)) for row in types]
    house = runtime()
    running = Instance.objects.filter(
        state=Instance.State.HEALTHY, deployment__endpoint__workspace=request.workspace
    )
    context = {
        "rows": [row for row in rows if query or shows_all or row[1] or row[2]],
        "type_count": len(rows),
        "q": query,
        "shows_all": shows_all,
        "machine": own,
        "runtime": runtime_name(),
        "runtime_words": house.describe() if hasattr(house, "describe") else "",
        "running": running.count(),
        "usages": usages_of([request.workspace])[request.workspace.pk],
        "computes": _computes(request),
        "may_write": access.role_may(request.role, "computes/write"),
        "may_delete": access.role_may(request.role, "computes/delete"),
        "labels": quota.LABELS,
        "may_set": access.role_may(request.role, "quotas/write"),
        "quota_samples": _quota_code(request).samples(place_of(request)),
        "workspace": request.workspace,
    }
    page, part = "workspaces/compute.html", "workspaces/_instance_type_table.html"
    return render_page(request, page, part, context)


@studio_page("quotas/write")
@require_POST
def set_quota(request: StudioRequest, resource: str) -> HttpResponse:
    """Lower a limit; administrators may raise it, too."""
    if resource not in quota.DEFAULTS:
        raise Http404(f"There is no quota '{resource}'.")
    typed = request.POST.get("limit", "").strip()
    if not (typed.isascii() and typed.isdecimal() and len(typed) < 10):
        raise UserError(
            _("The limit is “%(text)s”. It must be a whole number.") % {"text": typed[:40]},
            target="limit",
        )
    limit = quota.set_limit(request.workspace, resource, int(typed), by=request.user)
    toast(
        request,
        _("This workspace may have %(what)s now.") % {"what": quota.in_words(resource, limit)},
    )
    return go(request, reverse("studio:compute", kwargs={"workspace": request.workspace.name}))


def _quota_code(request: StudioRequest) -> Forms:
    """All limits as they are, to be changed by hand."""
    limits = quota.limits_of([request.workspace.pk])[request.workspace.pk]
    words = {WORDS[resource]: limit for resource, limit in limits.items()}
    return quotas.set_limits(place_of(request), request.workspace.location, words)


def _computes(request: StudioRequest) -> list[tuple[Compute, int, list[dict[str, str]]]]:
    """Each with the number of batch deployments that name it, and with its deletion as code."""
    named = BatchDeployment.objects.filter(endpoint__workspace=request.workspace)
    uses = dict(named.values_list("compute").annotate(count=Count("pk")).order_by())
    rows = request.workspace.computes.select_related("instance_type").prefetch_related("engines")
    place = place_of(request)
    return [
        (
            row,
            uses.get(row.name, 0),
            computes.delete(place, compute_values(spec_of(row))).samples(place),
        )
        for row in rows
    ]
