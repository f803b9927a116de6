"""Instance types: what an instance may use here, what it costs, and how much of the quota is used."""

from __future__ import annotations

from django.conf import settings
from django.db.models import Count, Q
from django.http import HttpResponse

from deployments.changes import machine, reserved_cores
from deployments.installation import runtime
from deployments.models import Instance, OnlineDeployment
from portal.pages import render_page
from portal.studio.deployment_form import has_room
from portal.studio.scope import StudioRequest, studio_page
from workspaces import quota
from workspaces.models import InstanceType


@studio_page("computes/read")
def instance_types(request: StudioRequest) -> HttpResponse:
    """This machine, the workspace's quotas, and the table of instance types; `?q=` and `?fits=1` filter it."""
    own = machine()
    query, only_fitting = request.GET.get("q", "").strip(), request.GET.get("fits") == "1"
    deployments = OnlineDeployment.objects.filter(endpoint__workspace=request.workspace)
    used = {
        "endpoints": request.workspace.online_endpoints.count(),
        "deployments": deployments.count(),
        "cores": reserved_cores(deployments),
    }
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
        "usages": [
            quota.Usage(name, count, quota.limit_of(request.workspace, name))
            for name, count in used.items()
        ],
        "labels": quota.LABELS,
        "workspace": request.workspace,
    }
    page, part = "workspaces/compute.html", "workspaces/_instance_type_table.html"
    return render_page(request, page, part, context)
