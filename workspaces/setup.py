"""What a fresh installation needs before anyone can sign in."""

from __future__ import annotations

from django.conf import settings
from django.db import transaction

from workspaces import tokens
from workspaces.computes import ComputeSpec, create_compute
from workspaces.models import Membership, Role, User, Workspace

# The name that Azure's examples use for a batch deployment; it holds nothing while no job runs.
FIRST_COMPUTE = ComputeSpec(name="cpu-cluster", max_instances=4)


def first_start() -> None:
    """Make the administrator and the workspace `main` with a compute; may run at every start.

    A password or token given by environment is set each time, so that an operator can recover an installation.
    """
    with transaction.atomic():
        admin = administrator()
        if not Workspace.objects.exists():
            workspace = Workspace.objects.create(**settings.FIRST_WORKSPACE)
            Membership.objects.create(workspace=workspace, user=admin, role=Role.OWNER)
            create_compute(workspace, FIRST_COMPUTE, by=None)
        if settings.PORTICO_ADMIN_PASSWORD and not admin.check_password(
            settings.PORTICO_ADMIN_PASSWORD
        ):
            admin.set_password(settings.PORTICO_ADMIN_PASSWORD)
            admin.save(update_fields=["password"])
        if settings.PORTICO_ADMIN_TOKEN:
            tokens.set_token(admin, "PORTICO_ADMIN_TOKEN", settings.PORTICO_ADMIN_TOKEN)


def administrator() -> User:
    """The first superuser; `admin`, with no usable password, when there is none yet."""
    found = User.objects.filter(is_superuser=True, is_active=True).order_by("pk").first()
    if found is not None:
        return found
    admin, _ = User.objects.get_or_create(username="admin")
    admin.is_staff = admin.is_superuser = admin.is_active = True
    if not admin.password:
        admin.set_unusable_password()
    admin.save()
    return admin


def sign_in_link() -> str:
    """Address of a page that signs the administrator in, once."""
    secret = tokens.create_sign_in_link(administrator())
    return f"http://localhost:{settings.PORTICO_PORT}/sign-in/{secret}"
