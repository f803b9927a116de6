"""The page of a deployment: what its operation does now, why it failed, what runs, and changing it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django_htmx.http import HTMX_STOP_POLLING

from deployments import changes, computes
from deployments.models import OnlineDeployment
from deployments.plans import plan_update
from deployments.specs import DeploymentSpec
from portal.pages import go, is_swap, render_page, toast
from portal.studio.as_code import changes as as_code
from portal.studio.as_code.forms import Forms
from portal.studio.build_log import build_log
from portal.studio.code_part import asks_for_code, code_part, place_of, samples_of
from portal.studio.code_values import (
    delete_samples,
    deployment_of,
    scale_samples,
    typed_deployment,
)
from portal.studio.deployment_form import TEMPLATE_SCRIPT, DeploymentForm
from portal.studio.deployment_page import (
    overview,
    plan_words,
    revision_rows,
    with_parts,
)
from portal.studio.fixes import SHOWING, advice, amended
from portal.studio.instances import instance_rows
from portal.studio.logs import READ as READ_LOG
from portal.studio.preflight import checked_environment, findings
from portal.studio.problems import Problem, problems_of, told_of
from portal.studio.scope import StudioRequest, find_deployment, find_endpoint, studio_page
from portal.studio.specification import files_of, initial_of, specification
from workspaces import access
from workspaces.errors import UserError

ASKS_EVERY = {"instances": "5s"}
"""Tabs that live on while nothing is under way."""
TABS = {
    "overview": gettext_lazy("Overview"),
    "instances": gettext_lazy("Instances"),
    "build": gettext_lazy("Build log"),
    "revisions": gettext_lazy("Revisions"),
}


@studio_page("onlineEndpoints/deployments/read")
def details(request: StudioRequest, endpoint: str, deployment: str) -> HttpResponse:
    """`/endpoints/<e>/deployments/<d>`: the page, or its live part while something is running."""
    try:
        found = with_parts(find_deployment(request, endpoint, deployment))
    except (Http404, OnlineDeployment.DoesNotExist):
        return _gone(request, endpoint, deployment)
    tabs = dict(TABS)
    if not access.role_may(request.role, READ_LOG):
        del tabs["build"]
    tab = request.GET.get("tab", "")
    tab = tab if tab in tabs else "overview"
    here = _url(request, found)
    context = _context(request, found) | {
        "delete_samples": delete_samples(place_of(request), found),
        "scale_samples": scale_samples(place_of(request), found),
        "tab": tab,
        "tabs": [
            {"label": label, "url": f"{here}?tab={name}", "is_current": name == tab}
            for name, label in tabs.items()
        ],
    }
    if tab == "overview":
        context |= overview(found)
    elif tab == "instances":
        context["instances"] = instance_rows(found)
    elif tab == "build":
        context |= build_log(request, found)
    else:
        context["rows"] = revision_rows(place_of(request), found)
    # A morph keeps the element, and with it htmx's timer: this status is what ends the polling.
    context["asks_every"] = "1s" if found.is_busy else ASKS_EVERY.get(tab, "")
    status = 200 if context["asks_every"] or not is_swap(request) else HTMX_STOP_POLLING
    page, part = "deployments/deployment_detail.html", "deployments/_deployment_body.html"
    return render_page(request, page, part, context, status=status)


@studio_page("onlineEndpoints/deployments/write")
def edit(request: StudioRequest, endpoint: str, deployment: str) -> HttpResponse:
    """The whole wish as a form; a rolling update follows. With `only_check` nothing is changed: the plan."""
    found = find_deployment(request, endpoint, deployment)
    current = changes.spec_of(found)
    as_it_is = initial_of(current)
    initial = amended(as_it_is, request.GET, current)
    form = DeploymentForm(
        request.POST or None,
        initial=initial,
        workspace=request.workspace,
        current=current,
    )
    if asks_for_code(request):
        return code_part(request, _code(request, found, form, current))
    problems: list[Problem] = []
    plan: dict[str, Any] = {}
    only_checks = bool(request.POST.get("only_check"))
    if request.method == "POST":
        problems = problems_of(form)
        if not problems:
            try:
                plan = _update(request, found, form, current, only_checks=only_checks)
            except UserError as error:
                problems = told_of(error, form)
            else:
                if not only_checks:
                    toast(
                        request,
                        _("Updating %(name)s. This page follows it.") % {"name": found.name},
                    )
                    return go(request, _url(request, found))
    status = 422 if problems else 200
    if request.method == "POST" and is_swap(request):
        context = {"problems": problems, "is_checked": True, **plan}
        return render(request, "deployments/_preflight.html", context, status=status)
    own = changes.machine()
    context = {
        "form": form,
        "deployment": found,
        "endpoint": found.endpoint,
        "spec": current,
        "problems": problems,
        "machine": own,
        "type_groups": form.type_groups(own),
        "template_script": TEMPLATE_SCRIPT,
        "is_amended": bool(request.GET.keys() - SHOWING) and initial != as_it_is,
        "advice": advice(request.GET, current),
        "workspace": request.workspace,
        "code_samples": samples_of(request, _code(request, found, form, current)),
        "code_url": request.get_full_path(),
    }
    return render(request, "deployments/deployment_edit.html", context, status=status)


@studio_page("onlineEndpoints/deployments/write")
def scale(request: StudioRequest, endpoint: str, deployment: str) -> HttpResponse:
    found = find_deployment(request, endpoint, deployment)
    text = request.POST.get("instance_count", "")
    if request.method == "POST" and not (text.isascii() and text.isdecimal() and len(text) < 6):
        return _answer(request, found, UserError(_("The instance count must be a whole number.")))
    words = _("Scaling %(name)s to %(count)s.") % {"name": found.name, "count": text}
    return _do(
        request, found, lambda: changes.scale_deployment(found, int(text), by=request.user), words
    )


@studio_page("onlineEndpoints/deployments/write")
def retry(request: StudioRequest, endpoint: str, deployment: str) -> HttpResponse:
    found = find_deployment(request, endpoint, deployment)
    words = _("Trying %(name)s again.") % {"name": found.name}
    return _do(request, found, lambda: changes.retry(found, by=request.user), words)


@studio_page("onlineEndpoints/deployments/write")
def cancel(request: StudioRequest, endpoint: str, deployment: str) -> HttpResponse:
    found = find_deployment(request, endpoint, deployment)
    words = _("Canceling. What served before goes on serving.")
    return _do(request, found, lambda: changes.cancel(found, by=request.user), words)


@studio_page("onlineEndpoints/deployments/write")
def restore(request: StudioRequest, endpoint: str, deployment: str, number: int) -> HttpResponse:
    found = find_deployment(request, endpoint, deployment)
    words = _("Restoring revision %(number)s of %(name)s.") % {
        "number": number,
        "name": found.name,
    }
    return _do(
        request, found, lambda: changes.restore_revision(found, number, by=request.user), words
    )


@studio_page("onlineEndpoints/deployments/delete")
def delete(request: StudioRequest, endpoint: str, deployment: str) -> HttpResponse:
    """A GET asks; a POST deletes."""
    found = find_deployment(request, endpoint, deployment)
    if request.method != "POST":
        context = _context(request, with_parts(found))
        context["code_samples"] = delete_samples(place_of(request), found)
        return render(request, "deployments/deployment_delete.html", context)
    words = _("Deleting %(name)s.") % {"name": found.name}
    return _do(request, found, lambda: changes.delete_deployment(found, by=request.user), words)


def _code(
    request: StudioRequest,
    deployment: OnlineDeployment,
    form: DeploymentForm,
    current: DeploymentSpec,
) -> Forms:
    """The update that stands in the form, right or not, as code."""
    place, name = place_of(request), deployment.endpoint.name
    wanted, _model = typed_deployment(request, place, form, name, current)
    return as_code.update(place, wanted, deployment_of(place, name, current))


def _update(
    request: StudioRequest,
    deployment: OnlineDeployment,
    form: DeploymentForm,
    current: DeploymentSpec,
    *,
    only_checks: bool,
) -> dict[str, Any]:
    """Update, or do the same and take it back; what the plan says of it."""
    files = files_of(request, form, current, may_come_later=only_checks)
    with transaction.atomic():
        spec = specification(form, files, by=request.user, current=current)
        if spec.environment != current.environment:
            checked_environment(spec.environment, form.cleaned_data["environment_source"])
        changes.update_deployment(deployment, spec, by=request.user)
        if not only_checks:
            return {}
        runtime = computes.place_of(deployment.endpoint).runtime
        found = findings(spec, files, runtime=runtime)
        transaction.set_rollback(True)
    plan = plan_update(current, spec)
    return {
        **found,
        "plan": plan,
        "plan_words": plan_words(
            plan, deployment, is_built=None if found["is_image_alone"] else found["is_built"]
        ),
    }


def _do(
    request: StudioRequest, deployment: OnlineDeployment, verb: Callable[[], object], words: str
) -> HttpResponse:
    """Call the verb on a POST; anything else goes to the page."""
    if request.method != "POST":
        return go(request, _url(request, deployment))
    try:
        verb()
    except UserError as error:
        return _answer(request, deployment, error)
    toast(request, words)
    return _answer(request, deployment, None)


def _answer(
    request: StudioRequest, deployment: OnlineDeployment, error: UserError | None
) -> HttpResponse:
    if error is not None:
        toast(request, error.message, level="error")
    if request.POST.get("next", "") == "endpoint":
        return go(request, _endpoint_url(request, deployment.endpoint.name))
    return go(request, _url(request, deployment))


def _gone(request: StudioRequest, endpoint: str, deployment: str) -> HttpResponse:
    """Not there: an open page that asks learns that it was deleted, and leaves."""
    parent = find_endpoint(request, endpoint)
    if not is_swap(request):
        raise Http404(f"Endpoint '{endpoint}' has no deployment '{deployment}'.")
    toast(request, _("Deployment %(name)s was deleted.") % {"name": deployment})
    return go(request, _endpoint_url(request, parent.name))


def _context(request: StudioRequest, deployment: OnlineDeployment) -> dict[str, Any]:
    return {
        "workspace": request.workspace,
        "endpoint": deployment.endpoint,
        "deployment": deployment,
        "revision": deployment.revision,
        "ready": deployment.ready_count(),
        "fewer": deployment.instance_count - 1,
        "more": deployment.instance_count + 1,
        "may_write": access.role_may(request.role, "onlineEndpoints/deployments/write"),
        "may_score": access.role_may(request.role, "onlineEndpoints/score/action"),
        "live_percent": deployment.live_percent,
        "mirrored_percent": deployment.mirrored_percent,
    }


def _url(request: StudioRequest, deployment: OnlineDeployment) -> str:
    names = {
        "workspace": request.workspace.name,
        "endpoint": deployment.endpoint.name,
        "deployment": deployment.name,
    }
    return reverse("studio:deployment", kwargs=names)


def _endpoint_url(request: StudioRequest, endpoint: str) -> str:
    names = {"workspace": request.workspace.name, "endpoint": endpoint}
    return reverse("studio:endpoint", kwargs=names)
