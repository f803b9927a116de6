"""The create wizard: a new endpoint with its first deployment, or one more deployment of an endpoint that is there.

The page holds all steps as one form; a script shows them one by one. "Check" does what "Create" would and takes it
back.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from deployments import computes
from deployments.changes import create_deployment as make_deployment
from deployments.changes import machine
from deployments.models import OnlineDeployment
from deployments.specs import DeploymentSpec
from endpoints.changes import EndpointSpec
from endpoints.changes import create_endpoint as make_endpoint
from endpoints.models import OnlineEndpoint
from portal.pages import go, is_swap, toast
from portal.studio.as_code import online
from portal.studio.as_code.forms import Forms
from portal.studio.code_assets import next_version
from portal.studio.code_part import asks_for_code, code_part, place_of, samples_of
from portal.studio.code_values import takes_all_traffic, typed_deployment, typed_endpoint
from portal.studio.deployment_form import TEMPLATE_SCRIPT, DeploymentForm, EndpointForm
from portal.studio.preflight import checked_environment, findings
from portal.studio.problems import ENDPOINT_FIELDS, Problem, problems_of, told, told_of
from portal.studio.scope import StudioRequest, find_endpoint, studio_page
from portal.studio.specification import Files, files_of, specification
from workspaces.errors import UserError
from workspaces.models import ModelVersion

NAMES = ("blue", "green", "purple", "orange", "teal", "amber")


class WrongEndpoint(Exception):
    """The endpoint's own verb refused: its fields stand in the first step."""

    def __init__(self, error: UserError) -> None:
        super().__init__(error.message)
        self.error = error


@studio_page("onlineEndpoints/write")
def create_endpoint(request: StudioRequest) -> HttpResponse:
    """`/endpoints/create`: endpoint, then deployment."""
    return _wizard(request, None)


@studio_page("onlineEndpoints/deployments/write")
def create_deployment(request: StudioRequest, endpoint: str) -> HttpResponse:
    """`/endpoints/<name>/deployments/create`: one more deployment."""
    return _wizard(request, find_endpoint(request, endpoint))


@studio_page("onlineEndpoints/deployments/write")
@require_POST
def check(request: StudioRequest) -> HttpResponse:
    """The preflight: everything that can be known before anything is made."""
    name = request.POST.get("for_endpoint", "")
    endpoint = find_endpoint(request, name) if name else None
    endpoint_form = None if endpoint else EndpointForm(request.POST, workspace=request.workspace)
    form = _form(request, endpoint)
    problems = _form_problems(endpoint_form, form)
    found: dict[str, Any] = {}
    if not problems:
        try:
            files = files_of(request, form, may_come_later=True)
            with transaction.atomic():
                deployment, spec = _make(request, endpoint, endpoint_form, form, files)
                runtime = computes.place_of(deployment.endpoint).runtime
                found = findings(spec, files, runtime=runtime)
                transaction.set_rollback(True)
        except (UserError, WrongEndpoint) as error:
            problems = _told(error, form)
    context = {
        "problems": problems,
        "is_checked": True,
        **found,
    }
    return render(request, "deployments/_preflight.html", context, status=422 if problems else 200)


def _wizard(request: StudioRequest, endpoint: OnlineEndpoint | None) -> HttpResponse:
    endpoint_form = None
    if endpoint is None:
        endpoint_form = EndpointForm(request.POST or None, workspace=request.workspace)
    form = _form(request, endpoint)
    if asks_for_code(request):
        return code_part(request, _code(request, form, endpoint, endpoint_form))
    if request.method != "POST":
        return _page(request, form, endpoint, endpoint_form)
    problems = _form_problems(endpoint_form, form)
    if not problems:
        try:
            files = files_of(request, form)
            # One transaction: a refusal leaves neither an empty endpoint nor half-registered assets behind.
            with transaction.atomic():
                deployment, _spec = _make(request, endpoint, endpoint_form, form, files)
        except (UserError, WrongEndpoint) as error:
            problems = _told(error, form)
        else:
            return _gone_to(request, deployment)
    if is_swap(request):
        # The list alone, so that chosen files stay chosen.
        context = {"problems": problems}
        return render(request, "deployments/_preflight.html", context, status=422)
    return _page(request, form, endpoint, endpoint_form, problems)


def _make(
    request: StudioRequest,
    endpoint: OnlineEndpoint | None,
    endpoint_form: EndpointForm | None,
    form: DeploymentForm,
    files: Files,
) -> tuple[OnlineDeployment, DeploymentSpec]:
    """The endpoint if it is new, and its deployment; the caller holds the transaction."""
    if endpoint is None:
        assert endpoint_form is not None
        try:
            endpoint = make_endpoint(
                request.workspace, _endpoint_spec(endpoint_form), by=request.user
            )
        except UserError as error:
            raise WrongEndpoint(error) from error
    spec = specification(form, files, by=request.user)
    checked_environment(spec.environment, form.cleaned_data["environment_source"])
    deployment = make_deployment(
        endpoint,
        spec,
        by=request.user,
        takes_traffic_when_ready=form.cleaned_data["all_traffic"],
    )
    return deployment, spec


def _form(request: StudioRequest, endpoint: OnlineEndpoint | None) -> DeploymentForm:
    if request.method == "POST":
        return DeploymentForm(request.POST, workspace=request.workspace)
    own = machine()
    initial: dict[str, Any] = {"all_traffic": endpoint is None}
    if endpoint is not None:
        taken = {name.lower() for name in endpoint.deployments.values_list("name", flat=True)}
        initial["name"] = next((name for name in NAMES if name not in taken), "")
    initial |= _asked_for(request)
    form = DeploymentForm(initial=initial, workspace=request.workspace)
    form.initial["instance_type"] = form.usual_type(own)
    return form


def _asked_for(request: StudioRequest) -> dict[str, str]:
    """What a link fills in beforehand: the page of a model or an environment leads here."""
    asked: dict[str, str] = {}
    if request.GET.get("model"):
        asked |= {"model_source": "registered", "model_version": request.GET["model"]}
    if request.GET.get("environment"):
        asked |= {
            "environment_source": "registered",
            "environment_version": request.GET["environment"],
        }
    elif request.GET.get("curated"):
        asked |= {"environment_source": "curated", "curated": request.GET["curated"]}
    return asked


def _form_problems(endpoint_form: EndpointForm | None, form: DeploymentForm) -> list[Problem]:
    first = problems_of(endpoint_form) if endpoint_form else []
    return first + problems_of(form)


def _told(error: UserError | WrongEndpoint, form: DeploymentForm) -> list[Problem]:
    if isinstance(error, WrongEndpoint):
        return told(error.error, shown_as=ENDPOINT_FIELDS)
    return told_of(error, form)


def _endpoint_spec(form: EndpointForm) -> EndpointSpec:
    data = form.cleaned_data
    return EndpointSpec(
        name=data["endpoint_name"],
        description=data["endpoint_description"].replace("\r\n", "\n"),
        auth_mode=data["auth_mode"],
        compute=data.get("compute", ""),
        tags=data["endpoint_tags"],
    )


def _page(
    request: StudioRequest,
    form: DeploymentForm,
    endpoint: OnlineEndpoint | None,
    endpoint_form: EndpointForm | None,
    problems: list[Problem] | None = None,
) -> HttpResponse:
    own = machine()
    context = {
        "form": form,
        "endpoint_form": endpoint_form,
        "endpoint": endpoint,
        "endpoints": request.workspace.online_endpoints.order_by("name") if not endpoint else [],
        "model": request.GET.get("model", ""),
        "problems": problems or [],
        "machine": own,
        "type_groups": form.type_groups(own),
        "template_script": TEMPLATE_SCRIPT,
        "scoring_uri": OnlineEndpoint(name="{name}").scoring_uri,
        "workspace": request.workspace,
        "code_samples": samples_of(request, _code(request, form, endpoint, endpoint_form)),
        "code_url": request.path,
    }
    status = 422 if problems else 200
    return render(request, "deployments/deployment_create.html", context, status=status)


def _code(
    request: StudioRequest,
    form: DeploymentForm,
    endpoint: OnlineEndpoint | None,
    endpoint_form: EndpointForm | None,
) -> Forms:
    """What stands in the wizard, right or not, as code."""
    place = place_of(request)
    new = typed_endpoint(endpoint_form) if endpoint_form else None
    name = endpoint.name if endpoint else new.name if new else ""
    deployment, model = typed_deployment(request, place, form, name)
    if model:
        number = next_version(request, ModelVersion, "model", model.name)
        model = replace(model, next_version=number)
    return online.create(
        place, new, deployment, register=model, all_traffic=takes_all_traffic(form)
    )


def _gone_to(request: StudioRequest, deployment: OnlineDeployment) -> HttpResponse:
    toast(request, _("Creating %(name)s. This page follows it.") % {"name": deployment.name})
    names = {
        "workspace": request.workspace.name,
        "endpoint": deployment.endpoint.name,
        "deployment": deployment.name,
    }
    return go(request, reverse("studio:deployment", kwargs=names))
