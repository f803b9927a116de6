"""What can be known of a wish before it is granted: packages, script, cost."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from deployments import scripts
from deployments.changes import machine
from deployments.environment_checks import packages_of
from deployments.environments.conda import Translation
from deployments.environments.specification import hash_of
from deployments.installation import environments
from deployments.specs import DeploymentSpec, limit_warnings
from portal.studio.specification import ENVIRONMENT_FIELDS, Files
from workspaces import storage
from workspaces.errors import NotFound, UserError
from workspaces.instance_types import find_instance_type
from workspaces.models import EnvironmentVersion

TYPED = ENVIRONMENT_FIELDS | {"image": "image", "dockerfile": "dockerfile"}
"""Where the form has what a source is made of."""


def checked_environment(
    wanted: EnvironmentVersion | None, source: str = "registered"
) -> Translation | None:
    """What the packages are; the `UserError` for a wrong text points to the field it was typed in."""
    try:
        return packages_of(wanted)
    except UserError as error:
        field = TYPED.get(source, "environment_version")
        raise UserError(error.message, code=error.code, target=field) from error


def findings(spec: DeploymentSpec, files: Files) -> dict[str, Any]:
    """What is known of a spec that is right: for the part `deployments/_preflight.html`."""
    size = find_instance_type(spec.instance_type)
    translation = packages_of(spec.environment, spec.model, has_code=spec.code is not None)
    built = environments().find(hash_of(translation)) if translation else None
    asked = list(translation.requirements) if translation else []
    installed = built.lock_text.splitlines() if built else asked
    own = machine()
    return {
        "spec": spec,
        "files": files,
        "instance_type": size,
        "warnings": [
            *limit_warnings(size, own),
            *(translation.warnings if translation else ()),
            # What an image brings is not known yet.
            *(script_warnings(spec, installed) if translation else ()),
        ],
        "python": translation.python if translation else "",
        "requirements": asked,
        "brings_packages": translation is None,
        "is_built": built is not None,
        "memory_bytes": min(size.memory_bytes, own["memory_bytes"]) * spec.instance_count,
        "price_per_hour": size.price_per_hour * spec.instance_count,
    }


def script_warnings(spec: DeploymentSpec, installed: list[str]) -> list[str]:
    """Sentences about a script that parses: a function it lacks, a module that no package brings."""
    if spec.code is None:
        return []
    name = spec.scoring_script
    try:
        source = storage.read_file(
            spec.code.content_hash, name, limit=scripts.LARGEST_PARSED_BYTES + 1
        )
        script = scripts.read_script(source)
    except (NotFound, SyntaxError, ValueError):
        return []
    found = [
        _("%(script)s has no %(function)s() function.") % {"script": name, "function": function}
        for function in script.lacks
    ]
    siblings = [entry.path for entry in storage.entries(spec.code.content_hash)]
    folder = name.rpartition("/")[0]
    siblings += [path.removeprefix(f"{folder}/") for path in siblings if folder]
    for module, package in scripts.unmet_imports(script, installed, siblings):
        found.append(
            _(
                "%(script)s imports %(module)s, and the environment does not name it. Add %(package)s, unless "
                "another package brings it."
            )
            % {"script": name, "module": module, "package": package}
        )
    return found
