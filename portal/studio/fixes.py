"""The buttons of the failure card, and what they fill in on the edit page: the mended wish, one click from retrying."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.http import QueryDict
from django.urls import reverse
from django.utils.translation import gettext as _
from packaging.requirements import InvalidRequirement, Requirement

from deployments.containers import is_custom
from deployments.environments.amending import as_conda, with_python, with_requirement
from deployments.environments.curated import curated
from deployments.environments.failures import Fix
from deployments.environments.specification import translate
from deployments.fixes import MOST, fixes_of
from deployments.models import OnlineDeployment
from deployments.specs import DeploymentSpec
from deployments.staging import environment_spec_of
from portal.studio.deployment_form import TEMPLATE_CONDA, TEMPLATE_SCRIPT
from portal.studio.preflight import unmet_imports
from portal.studio.specification import container_source
from workspaces.errors import UserError
from workspaces.models import EnvironmentVersion

POSTED = {"retry", "free_disk", "check_index"}
# What a link asks for that changes nothing by itself: a choice that brings the text into sight.
SHOWING = {"packages", "write", "install"}
# Where on the edit page each kind of fix is done.
STEPS = {
    "add_package": "environment",
    "add_on_top": "environment",
    "install_in_dockerfile": "environment",
    "install_in_image": "environment",
    "edit_environment": "environment",
    "set_pin": "environment",
    "set_python": "environment",
    "edit_code": "code",
    "show_template": "code",
    "edit_probes": "id_readiness_probe_failure_threshold",
    "edit_compute": "compute",
}
# What the edit page is asked for, and the value where the fix itself has none.
QUERIES = {
    "add_package": ("add", ""),
    "add_on_top": ("add", ""),
    "install_in_dockerfile": ("install", ""),
    "install_in_image": ("install", ""),
    "edit_environment": ("packages", "1"),
    "set_pin": ("pin", ""),
    "set_python": ("python", ""),
    "show_template": ("template", "1"),
    "edit_code": ("write", "1"),
    "edit_probes": ("attempts", ""),
    "edit_compute": ("type", ""),
}


@dataclass(frozen=True)
class FixLink:
    """A button: a link, or a form that is POSTed."""

    label: str
    url: str
    is_post: bool = False


def fix_links(deployment: OnlineDeployment, failure: dict[str, Any]) -> list[FixLink]:
    """What the card offers, the most helpful first; "Edit and retry" where nothing else leads to the form."""
    links = [_link(deployment, fix) for fix in fixes_of(failure, deployment)]
    names = _names(deployment)
    edit_url = reverse("studio:edit_deployment", kwargs=names)
    if failure and len(links) < MOST and not any(edit_url in link.url for link in links):
        links.append(FixLink(_("Edit and retry"), edit_url))
    retry_url = reverse("studio:retry_deployment", kwargs=names)
    if failure and len(links) < MOST and not any(link.is_post for link in links):
        links.append(FixLink(_("Try again"), retry_url, True))
    return links


def amended(initial: dict[str, Any], query: QueryDict, spec: DeploymentSpec) -> dict[str, Any]:
    """What the edit form shows when a fix led there: the keys of `QUERIES`, each with its value."""
    shown = dict(initial)
    requirement, python = query.get("add") or query.get("pin", ""), query.get("python", "")
    if requirement or python or query.get("packages") or query.get("install"):
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


def advice(query: QueryDict, spec: DeploymentSpec) -> str:
    """What is left to do by hand where a package cannot be filled in; empty for every other fix."""
    try:
        package = Requirement(query.get("install") or query.get("add", "")).name
    except InvalidRequirement:
        return ""
    wanted, words = spec.environment, {"package": package}
    if wanted is None or not _brings_its_own(wanted, spec):
        return ""
    if not wanted.build_context_hash:
        return (
            _(
                "The image has a server of its own, which packages on top do not reach: install %(package)s where the "
                "image is made, then name the new image below."
            )
            % words
        )
    if container_source(wanted):
        return (
            _("Write `RUN pip install %(package)s` into the Dockerfile below, then update.")
            % words
        )
    return (
        _(
            "Write `RUN pip install %(package)s` into the Dockerfile, then choose Dockerfile below and hand in "
            "its folder."
        )
        % words
    )


def _brings_its_own(wanted: EnvironmentVersion, spec: DeploymentSpec) -> bool:
    """Whether no packages can be put on top: it is made by a Dockerfile, or its own server answers."""
    has_code = spec.code is not None
    return bool(wanted.build_context_hash) or is_custom(wanted, spec.model, has_code=has_code)


def _link(deployment: OnlineDeployment, fix: Fix) -> FixLink:
    names = _names(deployment)
    if fix.kind in POSTED:
        return FixLink(fix.label, reverse("studio:retry_deployment", kwargs=names), True)
    here = reverse("studio:deployment", kwargs=names)
    if fix.kind == "open_build_log":
        return FixLink(fix.label, f"{here}#phase-build-environment")
    if fix.kind == "list_model_files":
        return FixLink(fix.label, f"{here}#model-files")
    if fix.kind == "open_log":
        names = {name: value for name, value in names.items() if name != "deployment"}
        query = urlencode({"deployment": deployment.name})
        return FixLink(fix.label, f"{reverse('studio:logs', kwargs=names)}?{query}")
    name, value = QUERIES.get(fix.kind, ("", ""))
    value = value or fix.detail
    query = f"?{urlencode({name: value})}" if name and value else ""
    anchor = f"#{STEPS[fix.kind]}" if fix.kind in STEPS else ""
    return FixLink(fix.label, f"{reverse('studio:edit_deployment', kwargs=names)}{query}{anchor}")


def _amended_environment(spec: DeploymentSpec, requirement: str, python: str) -> dict[str, str]:
    """The environment's text with the change, as the form's own conda file or requirements, on its image if it has one.

    Nothing where no packages can be added.
    """
    wanted = spec.environment
    try:
        if wanted is not None and (wanted.image or wanted.build_context_hash):
            return _amended_container(wanted, spec, requirement, python)
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


def _amended_container(
    wanted: EnvironmentVersion, spec: DeploymentSpec, requirement: str, python: str
) -> dict[str, str]:
    """The same of an image or a Dockerfile: what it is comes into sight, packages go on top of an image."""
    source = container_source(wanted)
    is_changed = bool(requirement or python)
    if not source or (is_changed and _brings_its_own(wanted, spec)):
        return {}
    text = wanted.conda_file
    if not text and (is_changed or wanted.requirements):
        text = _packages_beside(wanted, spec)
    if requirement:
        text = with_requirement(text, requirement, is_conda=True)
    if python:
        text = with_python(text, python)
    return {"environment_source": source, "image_conda_file": text}


def _packages_beside(wanted: EnvironmentVersion, spec: DeploymentSpec) -> str:
    """A conda file for an image that has none: the script sees what is on top alone, so all that it imports."""
    if wanted.requirements:
        translation = translate(environment_spec_of(wanted))
        return as_conda(translation.requirements, translation.python)
    known = curated(wanted.curated or wanted.image)
    if known is not None:
        return as_conda(known.requirements, known.python)
    return as_conda([package for _module, package in unmet_imports(spec, [])], "")


def _names(deployment: OnlineDeployment) -> dict[str, str]:
    endpoint = deployment.endpoint
    return {
        "workspace": endpoint.workspace.name,
        "endpoint": endpoint.name,
        "deployment": deployment.name,
    }
