from typing import Any

from django.core.management.base import BaseCommand

from workspaces.setup import sign_in_link


class Command(BaseCommand):
    """For an administrator without a password, or with a forgotten one."""

    help = "Print a link that signs the administrator in, once."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(sign_in_link())
