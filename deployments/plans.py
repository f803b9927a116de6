"""What an update would change and how, said before it is done. Pure but for the environments already built."""

from __future__ import annotations

from dataclasses import dataclass, fields

from deployments.specs import DeploymentSpec

# These change nothing inside an instance.
OUTSIDE = {"name", "description", "tags", "properties", "instance_count"}


@dataclass(frozen=True)
class Change:
    """One field; `before` and `after` are empty where showing them would tell too much or too long a text."""

    field: str
    before: str = ""
    after: str = ""


@dataclass(frozen=True)
class Plan:
    """The changes of an update, in the order of the fields."""

    changes: tuple[Change, ...]

    @property
    def restarts(self) -> bool:
        """Whether instances are replaced, one by one, while the old ones serve."""
        return any(change.field not in OUTSIDE for change in self.changes)

    @property
    def rebuilds(self) -> bool:
        """Whether the environment becomes another one."""
        return any(change.field == "environment" for change in self.changes)

    @property
    def scales(self) -> bool:
        return any(change.field == "instance_count" for change in self.changes)


def plan_update(current: DeploymentSpec, wanted: DeploymentSpec) -> Plan:
    """What differs; values of environment variables are left out, for they may be secret."""
    changes = []
    for item in fields(DeploymentSpec):
        before, after = getattr(current, item.name), getattr(wanted, item.name)
        if item.name == "name" or before == after:
            continue
        if item.name in {
            "environment_variables",
            "tags",
            "properties",
            "description",
            "data_collector",
        }:
            changes.append(Change(item.name, after=_names_of_difference(before, after)))
        else:
            changes.append(Change(item.name, _shown(before), _shown(after)))
    return Plan(tuple(changes))


def _names_of_difference(before: object, after: object) -> str:
    if not isinstance(before, dict) or not isinstance(after, dict):
        return ""
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return ", ".join(sorted(names))


def _shown(value: object) -> str:
    asset = getattr(value, "model", None) or getattr(value, "environment", None)
    asset = asset or getattr(value, "code", None)
    if asset is not None:
        return str(getattr(value, "leaf", "")) if asset.is_anonymous else str(value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    return "" if value is None else str(value)
