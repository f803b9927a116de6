"""Finding an instance type by the name that YAML, the SDK or a form gives it."""

from __future__ import annotations

from workspaces.errors import UserError
from workspaces.models import InstanceType


def find_instance_type(name: object, *, target: str = "instance_type") -> InstanceType:
    """The enabled instance type of that name, without regard to case."""
    found = InstanceType.objects.filter(name__iexact=str(name), is_enabled=True).first()
    if found is None:
        some = InstanceType.objects.filter(is_enabled=True).values_list("name", flat=True)[:6]
        raise UserError(
            f"The instance type '{name}' does not exist here. Use for example {', '.join(some)}; the Compute "
            "page lists them all.",
            target=target,
        )
    return found
