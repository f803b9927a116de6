"""What helps after a failure: one list for the buttons of the studio, the errors of the API and the terminal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from deployments.changes import machine
from deployments.containers import is_custom, needs_engine
from deployments.environments.amending import package_of
from deployments.environments.failures import Fix
from deployments.models import PROBE_DEFAULTS, OnlineDeployment
from workspaces.models import InstanceType

MOST = 3
ADDING = {"add_package", "add_on_top", "install_in_dockerfile", "install_in_image"}
# Where a module that is missing is one of the user's environment, not of a build's.
IMPORTING = {"UserScriptImportError", "UserScriptInitFailed", "ModelLoadFailed"}
_MISSING_MODULE = re.compile(r"No module named '([A-Za-z0-9_.]+)'")
# kind → what to do where there are no buttons; `{names}` are the options that name the deployment.
HOW = {
    "add_package": "Add {detail} to the packages of the environment, then update the deployment.",
    "add_on_top": "Give the environment, beside its image, a conda_file with {detail} and all else that the script "
    "imports (with packages on top it sees those, not the image's own), then update the deployment.",
    "install_in_dockerfile": "Write 'RUN pip install {detail}' into the Dockerfile of the environment, then update the "
    "deployment.",
    "install_in_image": "The image has a server of its own: install {detail} where that image is made, name the new "
    "image in the environment, then update the deployment.",
    "edit_environment": "{label}, then try again.",
    "set_pin": "{label} in the packages of the environment.",
    "set_python": "{label}: python={detail} in the conda file of the environment.",
    "edit_code": "Correct the scoring script, then update the deployment.",
    "show_template": "A scoring script has 'def init():', which loads the model from the folder that AZUREML_MODEL_DIR "
    "names, and 'def run(data):', which answers one request.",
    "list_model_files": "Compare the paths in init() with the files of the model: AZUREML_MODEL_DIR is the folder "
    "above them.",
    "edit_probes": "Raise the limit: portico ml online-deployment update {names} --set "
    "readiness_probe.failure_threshold={detail}",
    "edit_compute": "{label}: portico ml online-deployment update {names} --set instance_type={detail}",
    "open_log": "Read the whole log: portico ml online-deployment get-logs {names}",
    "open_build_log": "Read the whole build log: portico ml online-deployment get-build-log {names}",
    "free_disk": "Ask an administrator to free space on the disk (portico ml environment remove-unused-images), then "
    "try again.",
    "check_index": "{label}: PORTICO_PACKAGE_INDEX_URL and PORTICO_CA_BUNDLE are an operator's.",
    "retry": "Try again: the same command, once the cause is gone.",
    "edit": "{label}, then try again.",
}


def fixes_of(failure: Mapping[str, Any], deployment: OnlineDeployment | None) -> list[Fix]:
    """At most three, the most helpful first, with the value to set where there is one."""
    found = [
        Fix(fix["label"], fix["kind"], fix.get("detail", "")) for fix in failure.get("fixes", [])
    ]
    found = [_valued(fix, failure, deployment) for fix in found]
    package = missing_package(failure)
    if package and not any(fix.kind in ADDING for fix in found):
        found.insert(0, _adding(package, deployment))
    return found[:MOST]


def in_words(fix: Fix, deployment: OnlineDeployment | None) -> str:
    """One sentence for those who have no buttons."""
    if fix.kind in ("edit_compute", "edit_probes") and not fix.detail:
        return f"{fix.label}, then update the deployment."
    if fix.kind == "open_build_log" and deployment is None:
        return f"{fix.label}."
    names = f"-e {deployment.endpoint.name} -n {deployment.name}" if deployment else ""
    how = HOW.get(fix.kind, "{label}.")
    return how.format(label=fix.label, detail=fix.detail, names=names).replace("  ", " ").strip()


def missing_package(failure: Mapping[str, Any]) -> str:
    """The package that an import error asks for; empty when it does not say."""
    if failure.get("code") not in IMPORTING:
        return ""
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


def _valued(fix: Fix, failure: Mapping[str, Any], deployment: OnlineDeployment | None) -> Fix:
    """With the value that the deployment and its failure tell."""
    code = failure.get("code")
    revision = deployment.revision if deployment else None
    if fix.kind == "edit_environment" and not fix.detail:
        package = missing_package(failure)
        return _adding(package, deployment) if package else fix
    if fix.kind == "edit_probes" and revision is not None:
        return Fix(fix.label, fix.kind, str(_more_attempts(revision.readiness_probe)))
    if fix.kind == "edit_compute" and code == "OutOfMemory" and revision is not None:
        larger = larger_type(revision.instance_type.name)
        return Fix(f"Use {larger} and retry", fix.kind, larger) if larger else fix
    return fix


def _adding(package: str, deployment: OnlineDeployment | None) -> Fix:
    """Where the package goes: into packages that the environment names, or whatever its image is made of."""
    revision = deployment.revision if deployment else None
    wanted = revision.environment_version if revision else None
    if revision is not None and wanted is not None:
        if wanted.build_context_hash:
            return Fix(f"Install {package} in the Dockerfile", "install_in_dockerfile", package)
        has_code = revision.code_version_id is not None
        if is_custom(wanted, revision.model_version, has_code=has_code):
            return Fix(f"Install {package} in the image", "install_in_image", package)
        if needs_engine(wanted):
            return Fix(f"Add {package} and retry", "add_on_top", package)
    return Fix(f"Add {package} and retry", "add_package", package)


def _more_attempts(probe: Mapping[str, int]) -> int:
    """Twice as long as it was, and no less than Azure's default."""
    usual: int = PROBE_DEFAULTS["failure_threshold"]
    return max(usual, 2 * probe.get("failure_threshold", usual))
