"""Batch endpoints: the list, one endpoint with its deployments, and the forms that make and change them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import Count
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from deployments.batch import (
    create_batch_deployment,
    delete_batch_deployment,
    spec_of,
    update_batch_deployment,
    with_facts,
)
from deployments.models import BatchDeployment
from endpoints import batch as endpoints
from endpoints.models import BatchEndpoint
from portal.pages import go, is_swap, render_page, toast
from portal.studio.as_code.forms import Forms
from portal.studio.batch_form import (
    SHOWN_AS,
    TEMPLATE,
    BatchDeploymentForm,
    BatchEndpointForm,
    initial_of,
    spec_from,
)
from portal.studio.code_batch import (
    default_code,
    delete_code,
    delete_deployment_code,
    deployment_code,
    endpoint_code,
)
from portal.studio.code_part import asks_for_code, code_part, samples_of
from portal.studio.problems import Problem, problems_of, told
from portal.studio.scope import StudioRequest, studio_page
from workspaces import access
from workspaces.errors import UserError

PAGE = 50
WRITE = "batchEndpoints/write"
WRITE_DEPLOYMENT = "batchEndpoints/deployments/write"


@studio_page("batchEndpoints/read")
@require_safe
def endpoint_list(request: StudioRequest) -> HttpResponse:
    """`?q=` searches names."""
    query = request.GET.get("q", "").strip()
    rows = request.workspace.batch_endpoints.filter(name__icontains=query)
    rows = rows.select_related("created_by").annotate(deployment_count=Count("deployments"))
    context = {
        "page": Paginator(rows.order_by("name"), PAGE).get_page(request.GET.get("page")),
        "q": query,
        "may_write": access.role_may(request.role, WRITE),
        "workspace": request.workspace,
    }
    return render_page(request, "endpoints/batch_list.html", "endpoints/_batch_list.html", context)


@studio_page("batchEndpoints/read")
@require_safe
def details(request: StudioRequest, batch: str) -> HttpResponse:
    """What the endpoint is, and its deployments with what each says."""
    endpoint = _find(request, batch)
    deployments = list(with_facts(endpoint.deployments.order_by("created_at", "pk")))
    context = {
        "endpoint": endpoint,
        "deployments": deployments,
        "default_samples": samples_of(
            request,
            default_code(request, endpoint, endpoint.default_deployment or deployments[0].name),
        )
        if deployments
        else [],
        "delete_samples": samples_of(request, delete_code(request, endpoint)),
        "delete_dialogs": [
            (row, samples_of(request, delete_deployment_code(request, endpoint, spec_of(row))))
            for row in deployments
        ],
        "computes": {
            name.lower() for name in request.workspace.computes.values_list("name", flat=True)
        },
        "may_write": access.role_may(request.role, WRITE_DEPLOYMENT),
        "workspace": request.workspace,
    }
    return render(request, "endpoints/batch_detail.html", context)


@studio_page(WRITE)
def create(request: StudioRequest) -> HttpResponse:
    """The form of a new endpoint."""
    form = BatchEndpointForm(request.POST or None)

    def make() -> HttpResponse:
        spec = endpoints.BatchEndpointSpec(**_texts(form))
        made = endpoints.create_batch_endpoint(request.workspace, spec, by=request.user)
        toast(request, _("Batch endpoint %(name)s was created.") % {"name": made.name})
        return go(request, _url(request, "batch_endpoint", made.name))

    code = endpoint_code(request, form)
    return _form_page(request, "endpoints/batch_form.html", form, make, code, {})


@studio_page(WRITE)
def edit(request: StudioRequest, batch: str) -> HttpResponse:
    """Description and tags."""
    endpoint = _find(request, batch)
    initial = {"description": endpoint.description, "tags": endpoint.tags}
    form = BatchEndpointForm(request.POST or None, initial=initial, is_new=False)

    def change() -> HttpResponse:
        wanted = replace(endpoints.spec_of(endpoint), **_texts(form))
        endpoints.update_batch_endpoint(endpoint, wanted, by=request.user)
        toast(request, _("Saved."))
        return go(request, _url(request, "batch_endpoint", endpoint.name))

    code = endpoint_code(request, form, endpoint)
    context = {"endpoint": endpoint}
    return _form_page(request, "endpoints/batch_form.html", form, change, code, context)


@studio_page(WRITE)
@require_POST
def set_default(request: StudioRequest, batch: str) -> HttpResponse:
    """Jobs that name no deployment go to the one given; an empty name leaves none."""
    endpoint = _find(request, batch)
    name = request.POST.get("deployment", "")
    changed = endpoints.set_default_deployment(endpoint, name, by=request.user)
    words = _("Jobs go to %(name)s by default.") % {"name": changed.default_deployment}
    toast(request, words if name else _("There is no default deployment any more."))
    return go(request, _url(request, "batch_endpoint", endpoint.name))


@studio_page("batchEndpoints/delete")
@require_POST
def delete(request: StudioRequest, batch: str) -> HttpResponse:
    """Gone at once, with its deployments."""
    endpoint = _find(request, batch)
    endpoints.delete_batch_endpoint(endpoint, by=request.user)
    toast(request, _("Batch endpoint %(name)s was deleted.") % {"name": endpoint.name})
    return go(request, _url(request, "batch_endpoints"))


@studio_page(WRITE_DEPLOYMENT)
def create_deployment(request: StudioRequest, batch: str) -> HttpResponse:
    """The form of a new deployment of a model."""
    endpoint = _find(request, batch)
    form = BatchDeploymentForm(
        request.POST or None,
        workspace=request.workspace,
        initial={"is_default": not endpoint.default_deployment},
    )

    def make() -> HttpResponse:
        # One transaction: a refusal registers nothing.
        with transaction.atomic():
            spec = spec_from(form, request, by=request.user)
            is_default = form.cleaned_data["is_default"]
            made = create_batch_deployment(endpoint, spec, by=request.user, is_default=is_default)
        toast(request, _("Deployment %(name)s was created.") % {"name": made.name})
        return go(request, _url(request, "batch_endpoint", endpoint.name))

    code = deployment_code(request, form, endpoint)
    context = {"endpoint": endpoint, "template_script": TEMPLATE}
    return _form_page(request, "deployments/batch_form.html", form, make, code, context)


@studio_page(WRITE_DEPLOYMENT)
def edit_deployment(request: StudioRequest, batch: str, deployment: str) -> HttpResponse:
    """Everything but the name and the type; a pipeline is edited as YAML."""
    endpoint = _find(request, batch)
    found = _find_deployment(endpoint, deployment)
    if found.type != BatchDeployment.Type.MODEL:
        raise UserError(
            _(
                "A deployment of a pipeline is changed by its YAML, through the command line or the SDK."
            )
        )
    current = spec_of(found)
    form = BatchDeploymentForm(
        request.POST or None,
        workspace=request.workspace,
        current=current,
        initial=initial_of(current),
    )

    def change() -> HttpResponse:
        with transaction.atomic():
            update_batch_deployment(
                found, spec_from(form, request, by=request.user), by=request.user
            )
        toast(request, _("Saved. New jobs use it."))
        return go(request, _url(request, "batch_endpoint", endpoint.name))

    code = deployment_code(request, form, endpoint, current)
    context = {"endpoint": endpoint, "deployment": found, "template_script": TEMPLATE}
    return _form_page(request, "deployments/batch_form.html", form, change, code, context)


@studio_page("batchEndpoints/deployments/delete")
@require_POST
def delete_deployment(request: StudioRequest, batch: str, deployment: str) -> HttpResponse:
    """Gone at once; an endpoint whose default it was has none then."""
    endpoint = _find(request, batch)
    found = _find_deployment(endpoint, deployment)
    delete_batch_deployment(found, by=request.user)
    toast(request, _("Deployment %(name)s was deleted.") % {"name": found.name})
    return go(request, _url(request, "batch_endpoint", endpoint.name))


def _form_page(
    request: StudioRequest,
    page: str,
    form: Any,
    verb: Callable[[], HttpResponse],
    code: Forms,
    context: dict[str, Any],
) -> HttpResponse:
    """The form, or what comes after it; what is wrong is listed above it."""
    if asks_for_code(request):
        return code_part(request, code)
    problems: list[Problem] = []
    if request.method == "POST":
        problems = problems_of(form)
        if not problems:
            try:
                return verb()
            except UserError as error:
                problems = told(error, shown_as=SHOWN_AS)
    status = 422 if problems else 200
    if problems and is_swap(request):
        return render(request, "parts/_problems.html", {"problems": problems}, status=status)
    facts = {
        "form": form,
        "problems": problems,
        "workspace": request.workspace,
        "code_samples": samples_of(request, code),
        "code_url": request.path,
        **context,
    }
    return render(request, page, facts, status=status)


def _texts(form: BatchEndpointForm) -> dict[str, Any]:
    data = dict(form.cleaned_data)
    return {**data, "description": data["description"].replace("\r\n", "\n")}


def _find(request: StudioRequest, name: str) -> BatchEndpoint:
    found = endpoints.find_batch_endpoint(request.workspace, name)
    if found is None:
        raise Http404(f"There is no batch endpoint '{name}' in '{request.workspace.name}'.")
    return found


def _find_deployment(endpoint: BatchEndpoint, name: str) -> BatchDeployment:
    found = with_facts(endpoint.deployments.filter(name__iexact=name)).first()
    if found is None:
        raise Http404(f"Batch endpoint '{endpoint.name}' has no deployment '{name}'.")
    return found


def _url(request: StudioRequest, name: str, *names: str) -> str:
    return reverse(f"studio:{name}", args=[request.workspace.name, *names])
