"""The buttons of the failure card, and what they fill in on the edit page: the mended wish, one click from retrying."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.http import QueryDict
from django.urls import reverse
from django.utils.translation import gettext as _

from deployments.changes import machine
from deployments.environments.amending import as_conda, package_of, with_python, with_requirement
from deployments.environments.specification import translate
from deployments.models import PROBE_DEFAULTS, OnlineDeployment
from deployments.specs import DeploymentSpec
from deployments.staging import environment_spec_of
from portal.studio.deployment_form import TEMPLATE_CONDA, TEMPLATE_SCRIPT
from workspaces.errors import UserError
from workspaces.models import InstanceType

MOST = 3
POSTED = {"retry", "free_disk", "check_index"}
# What a link asks for that changes nothing by itself: a choice that brings the text into sight.
SHOWING = {"packages", "write"}
# Where on the edit page each kind of fix is done.
STEPS = {
    "edit_environment": "environment",
    "set_pin": "environment",
    "set_python": "environment",
    "edit_code": "code",
    "show_template": "code",
    "edit_probes": "id_readiness_probe_failure_threshold",
    "edit_compute": "compute",
}
_MISSING_MODULE = re.compile(r"No module named '([A-Za-z0-9_.]+)'")


@dataclass(frozen=True)
class FixLink:
    """A button: a link, or a form that is POSTed."""

    label: str
    url: str
    is_post: bool = False


def fix_links(deployment: OnlineDeployment, failure: dict[str, Any]) -> list[FixLink]:
    """What the card offers, the most helpful first; "Edit and retry" where nothing else leads to the form."""
    links = [_link(deployment, failure, fix) for fix in failure.get("fixes", [])][:MOST]
    names = _names(deployment)
    edit_url = reverse("studio:edit_deployment", kwargs=names)
    if failure and len(links) < MOST and not any(edit_url in link.url for link in links):
        links.append(FixLink(_("Edit and retry"), edit_url))
    retry_url = reverse("studio:retry_deployment", kwargs=names)
    if failure and len(links) < MOST and not any(link.is_post for link in links):
        links.append(FixLink(_("Try again"), retry_url, True))
    return links


def amended(initial: dict[str, Any], query: QueryDict, spec: DeploymentSpec) -> dict[str, Any]:
    """What the edit form shows when a fix led there: `?add= pin= python= packages= attempts= type= template=`."""
    shown = dict(initial)
    requirement, python = query.get("add") or query.get("pin", ""), query.get("python", "")
    if requirement or python or query.get("packages"):
        shown |= _amended_environment(spec, requirement, python)
    if query.get("attempts", "").isdecimal():
        shown["readiness_probe_failure_threshold"] = query["attempts"]
    if query.get("type"):
        shown["instance_type"] = query["type"]
    if query.get("template"):
        shown |= {"code_source": "write", "script": TEMPLATE_SCRIPT}
    elif query.get("write"):
        shown["code_source"] = "write"
    return shown


def missing_package(failure: dict[str, Any]) -> str:
    """The package that an import error asks for; empty when it does not say."""
    for text in (failure.get("cause", ""), *reversed(failure.get("evidence", []))):
        found = _MISSING_MODULE.search(text)
        if found:
            return package_of(found[1])
    return ""


def larger_type(current: str) -> str:
    """The next larger type that this machine has room for; empty when there is none."""
    own = machine()
    now = InstanceType.objects.filter(name__iexact=current).first()
    if now is None:
        return ""
    wider = InstanceType.objects.filter(
        is_enabled=True,
        gpu_count=0,
        memory_bytes__gt=now.memory_bytes,
        memory_bytes__lte=int(own["memory_bytes"]),
    )
    found = wider.order_by("memory_bytes", "price_per_hour").first()
    return found.name if found else ""


def _link(deployment: OnlineDeployment, failure: dict[str, Any], fix: dict[str, str]) -> FixLink:
    kind, label, detail = fix["kind"], fix["label"], fix.get("detail", "")
    names = _names(deployment)
    if kind in POSTED:
        return FixLink(label, reverse("studio:retry_deployment", kwargs=names), True)
    here = reverse("studio:deployment", kwargs=names)
    if kind == "open_build_log":
        return FixLink(label, f"{here}#phase-build-environment")
    if kind == "list_model_files":
        return FixLink(label, f"{here}#model-files")
    if kind == "open_log":
        names = {name: value for name, value in names.items() if name != "deployment"}
        query = urlencode({"deployment": deployment.name})
        return FixLink(label, f"{reverse('studio:logs', kwargs=names)}?{query}")
    query_of: dict[str, str] = {}
    if kind == "edit_environment" and failure.get("code") == "UserScriptImportError":
        package = missing_package(failure)
        if package:
            query_of, label = (
                {"add": package},
                _("Add %(package)s and retry") % {"package": package},
            )
        else:
            query_of = {"packages": "1"}
    elif kind == "edit_environment":
        query_of = {"packages": "1"}
    elif kind == "set_pin":
        query_of = {"pin": detail}
    elif kind == "set_python":
        query_of = {"python": detail}
    elif kind == "show_template":
        query_of = {"template": "1"}
    elif kind == "edit_code":
        query_of = {"write": "1"}
    elif kind == "edit_probes" and deployment.revision:
        query_of = {"attempts": str(_more_attempts(deployment.revision.readiness_probe))}
    elif kind == "edit_compute" and failure.get("code") == "OutOfMemory" and deployment.revision:
        larger = larger_type(deployment.revision.instance_type.name)
        if larger:
            query_of, label = {"type": larger}, _("Use %(type)s and retry") % {"type": larger}
    query = f"?{urlencode(query_of)}" if query_of else ""
    anchor = f"#{STEPS[kind]}" if kind in STEPS else ""
    return FixLink(label, f"{reverse('studio:edit_deployment', kwargs=names)}{query}{anchor}")


def _more_attempts(probe: dict[str, int]) -> int:
    """Twice as long as it was, and no less than Azure's default."""
    usual: int = PROBE_DEFAULTS["failure_threshold"]
    return max(usual, 2 * probe.get("failure_threshold", usual))


def _amended_environment(spec: DeploymentSpec, requirement: str, python: str) -> dict[str, str]:
    """The environment's text with the change, as the form's own conda file or requirements."""
    wanted = spec.environment
    try:
        if wanted is not None and wanted.requirements and not python:
            text = wanted.requirements
            if requirement:
                text = with_requirement(text, requirement, is_conda=False)
            return {"environment_source": "requirements", "requirements": text}
        if wanted is None:
            text = TEMPLATE_CONDA
        elif wanted.conda_file:
            text = wanted.conda_file
        else:
            translation = translate(environment_spec_of(wanted))
            text = as_conda(translation.requirements, translation.python)
        if requirement:
            text = with_requirement(text, requirement, is_conda=True)
        if python:
            text = with_python(text, python)
    except UserError:
        # The form shows the environment as it is; what is wrong with it is said when it is sent.
        return {}
    return {"environment_source": "conda", "conda_file": text}


def _names(deployment: OnlineDeployment) -> dict[str, str]:
    endpoint = deployment.endpoint
    return {
        "workspace": endpoint.workspace.name,
        "endpoint": endpoint.name,
        "deployment": deployment.name,
    }
