from typing import Any

from django.core.management.base import BaseCommand, CommandError

from deployments.tidying import remove_unused_images
from workspaces.errors import UserError
from workspaces.setup import administrator


class Command(BaseCommand):
    """A door to `deployments.tidying.remove_unused_images`."""

    help = (
        "Remove images that no deployment runs in from the Docker engine, without waiting a week."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            removed = remove_unused_images(by=administrator())
        except UserError as error:
            raise CommandError(error.message) from error
        for key, size_bytes in removed.items():
            self.stdout.write(f"{key}  {size_bytes / 1e6:,.0f} MB")
        self.stdout.write(f"{len(removed)} removed.")
