"""Compute: this machine, the quotas, the clusters for batch jobs, and what instance types may use and cost."""

from __future__ import annotations

from django.conf import settings
from django.db.models import Count, Q
from django.http import HttpResponse

from deployments.changes import machine
from deployments.installation import runtime
from deployments.models import BatchDeployment, Instance, OnlineDeployment
from deployments.usages import usages_of
from portal.pages import render_page
from portal.studio.as_code import computes
from portal.studio.code_part import place_of
from portal.studio.code_values import compute_values
from portal.studio.deployment_form import has_room
from portal.studio.scope import StudioRequest, studio_page
from workspaces import access, quota
from workspaces.computes import spec_of
from workspaces.models import Compute, InstanceType


@studio_page("computes/read")
def instance_types(request: StudioRequest) -> HttpResponse:
    """This machine, quotas, computes, and the table of instance types, which `?q=` and `?fits=1` filter."""
    own = machine()
    query, only_fitting = request.GET.get("q", "").strip(), request.GET.get("fits") == "1"
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
        "rows": [row for row in rows if row[1] or not only_fitting],
        "q": query,
        "only_fitting": only_fitting,
        "machine": own,
        "runtime": settings.DEPLOYMENT_RUNTIME,
        "runtime_words": house.describe() if hasattr(house, "describe") else "",
        "running": running.count(),
        "usages": usages_of([request.workspace])[request.workspace.pk],
        "computes": _computes(request),
        "may_write": access.role_may(request.role, "computes/write"),
        "may_delete": access.role_may(request.role, "computes/delete"),
        "labels": quota.LABELS,
        "workspace": request.workspace,
    }
    page, part = "workspaces/compute.html", "workspaces/_instance_type_table.html"
    return render_page(request, page, part, context)


def _computes(request: StudioRequest) -> list[tuple[Compute, int, list[dict[str, str]]]]:
    """Each with the number of batch deployments that name it, and with its deletion as code."""
    named = BatchDeployment.objects.filter(endpoint__workspace=request.workspace)
    uses = dict(named.values_list("compute").annotate(count=Count("pk")).order_by())
    rows = request.workspace.computes.select_related("instance_type")
    place = place_of(request)
    return [
        (
            row,
            uses.get(row.name, 0),
            computes.delete(place, compute_values(spec_of(row))).samples(place),
        )
        for row in rows
    ]
