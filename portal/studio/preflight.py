"""What can be known of a wish before it is granted: packages, script, cost."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from deployments import scripts
from deployments.changes import machine
from deployments.containers import is_custom, needs_engine, routes
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


def findings(spec: DeploymentSpec, files: Files, *, runtime: str) -> dict[str, Any]:
    """What is known of a spec that is right for `runtime`: for the part `deployments/_preflight.html`."""
    size = find_instance_type(spec.instance_type)
    translation = packages_of(spec.environment, spec.model, has_code=spec.code is not None)
    built = environments().find(hash_of(translation)) if translation else None
    asked = list(translation.requirements) if translation else []
    installed = built.lock_text.splitlines() if built else asked
    own = machine()
    in_containers = runtime == "docker"
    return {
        "spec": spec,
        "files": files,
        "instance_type": size,
        "warnings": [
            *limit_warnings(size, own),
            *(translation.warnings if translation else ()),
            *script_warnings(spec, installed, knows_packages=translation is not None),
        ],
        "unseen": things_unseen(spec) if in_containers else [],
        "python": translation.python if translation else "",
        "requirements": asked,
        "brings_packages": translation is None,
        # Of images nothing is known here: their engine may be elsewhere.
        "is_built": built is not None and not in_containers,
        "in_containers": in_containers,
        "is_image_alone": translation is None and not _has_dockerfile(spec),
        "memory_bytes": min(size.memory_bytes, own["memory_bytes"]) * spec.instance_count,
        "price_per_hour": size.price_per_hour * spec.instance_count,
    }


def script_warnings(
    spec: DeploymentSpec, installed: list[str], *, knows_packages: bool
) -> list[str]:
    """Sentences about a script that parses: a function it lacks, a module that no package brings."""
    if is_custom(spec.environment, spec.model, has_code=spec.code is not None):
        return []
    name = spec.scoring_script
    script = _script_of(spec)
    found = [
        _("%(script)s has no %(function)s() function.") % {"script": name, "function": function}
        for function in (script.lacks if script else ())
    ]
    # What an image brings is not known yet.
    for module, package in unmet_imports(spec, installed) if knows_packages else ():
        found.append(
            _(
                "%(script)s imports %(module)s, and the environment does not name it. Add %(package)s, unless "
                "another package brings it."
            )
            % {"script": name, "module": module, "package": package}
        )
    return found


def things_unseen(spec: DeploymentSpec) -> list[str]:
    """Sentences about what only the image itself could tell, which nobody looks into before it runs."""
    wanted = spec.environment
    if wanted is None or not (wanted.image or wanted.build_context_hash):
        return []
    found = [
        _("whether the Dockerfile builds")
        if wanted.build_context_hash
        else _("whether the engine has the image %(image)s or can fetch it")
        % {"image": wanted.image}
    ]
    has_code = spec.code is not None
    if is_custom(wanted, spec.model, has_code=has_code):
        port = routes(wanted).port
        found.append(_("whether its server answers on port %(port)s") % {"port": port})
    elif has_code and needs_engine(wanted):
        modules = [module for module, _package in unmet_imports(spec, [])]
        found.append(_("whether it has a Python from 3.8 to 3.13"))
        if modules:
            found.append(
                _("whether that has what %(script)s imports (%(modules)s)")
                % {"script": spec.scoring_script, "modules": ", ".join(modules)}
            )
    return found


def unmet_imports(spec: DeploymentSpec, installed: list[str]) -> list[tuple[str, str]]:
    """`(module, package)` for what its script imports and neither Python, its folder nor `installed` brings."""
    script = _script_of(spec)
    if spec.code is None or script is None:
        return []
    siblings = [entry.path for entry in storage.entries(spec.code.content_hash)]
    folder = spec.scoring_script.rpartition("/")[0]
    siblings += [path.removeprefix(f"{folder}/") for path in siblings if folder]
    return scripts.unmet_imports(script, installed, siblings)


def _has_dockerfile(spec: DeploymentSpec) -> bool:
    return spec.environment is not None and bool(spec.environment.build_context_hash)


def _script_of(spec: DeploymentSpec) -> scripts.Script | None:
    if spec.code is None:
        return None
    try:
        source = storage.read_file(
            spec.code.content_hash, spec.scoring_script, limit=scripts.LARGEST_PARSED_BYTES + 1
        )
        return scripts.read_script(source)
    except (NotFound, SyntaxError, ValueError):
        return None
