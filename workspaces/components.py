"""Components: steps that pipelines are made of, kept as their YAML says them."""

from __future__ import annotations

from typing import Any

from workspaces import catalog
from workspaces.catalog import Labels
from workspaces.errors import UserError, all_of
from workspaces.models import Component, ComponentVersion, User, Workspace

# What a component of the type cannot be without, and what that is.
TYPES: dict[str, tuple[str, type, str]] = {
    "command": ("command", str, "the command line"),
    "parallel": ("task", dict, "an object with the entry script"),
    "pipeline": ("jobs", dict, "an object with the steps"),
}
LATEST = "azureml_default"
"""The version by which the SDK asks for the newest."""


def register(
    workspace: Workspace,
    name: str,
    specification: dict[str, Any],
    *,
    by: User | None,
    version: str = "",
    labels: Labels | None = None,
) -> ComponentVersion:
    """Register what a component's YAML says; rules of repetition as for models.

    A name or version in it must be the ones given, but for an anonymous component, whose name is nobody's.
    """
    labels = labels or Labels()
    errors = _faults(specification)
    given = {"name": name, "version": version}
    kept = dict(specification)
    for key, value in given.items():
        if labels.is_anonymous and key == "name":
            continue
        found = kept.pop(key, None)
        if found is not None and value and str(found) != value:
            errors.append(
                UserError(
                    f"{key} is {str(found)[:60]!r} in the component and {value[:60]!r} in the address. Write "
                    "the same in both.",
                    target=key,
                )
            )
    if errors:
        raise all_of(errors)
    shown = kept.get("display_name")
    facts = {
        "type": str(kept["type"]),
        "display_name": shown[:255] if isinstance(shown, str) else "",
        "specification": kept,
    }
    made: ComponentVersion = catalog.register(
        Component, ComponentVersion, workspace, name, version, facts, labels, by
    )
    return made


def resolve(workspace: Workspace, reference: str) -> ComponentVersion:
    """The version that `azureml:name:3`, `name:3` or `name@latest` names (archived ones included)."""
    found = catalog.resolve(Component, ComponentVersion, workspace, reference, "component")
    assert isinstance(found, ComponentVersion)
    return found


def specification_of(version: ComponentVersion) -> dict[str, Any]:
    """The component's YAML, with its name and version in it."""
    own = {"name": version.component.name, "version": version.version}
    return {**own, **version.specification}


def _faults(specification: dict[str, Any]) -> list[UserError]:
    """What would keep clients from reading the component: one such breaks their list of all."""
    kind = specification.get("type")
    if not isinstance(kind, str) or kind not in TYPES:
        return [
            UserError(
                f"type is {str(kind)[:60]!r}. A component is one of {', '.join(TYPES)}.",
                target="type",
            )
        ]
    errors = []
    field, needed, words = TYPES[kind]
    if not specification.get(field) or not isinstance(specification[field], needed):
        errors.append(
            UserError(f"{field} is missing. A {kind} component needs {words} there.", target=field)
        )
    for side in ("inputs", "outputs"):
        ports = specification.get(side)
        if ports is None:
            continue
        if not isinstance(ports, dict) or not all(_has_type(port) for port in ports.values()):
            errors.append(
                UserError(
                    f"{side} must map names to objects that have a type, such as uri_folder or string.",
                    target=side,
                )
            )
    return errors


def _has_type(port: Any) -> bool:
    return isinstance(port, dict) and isinstance(port.get("type"), str)
