from typing import Any

from django.core.management.base import BaseCommand

from deployments import provisioning
from deployments.installation import runtimes_in_use


class Command(BaseCommand):
    """What `up` calls when it is stopped; the next `up` starts the instances again."""

    help = "Stop all running instances of models."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            provisioning.stop_all_instances()
        finally:
            # Those that no row knows, and all of them when the database is away.
            for house in runtimes_in_use():
                for name in list(house.owned()):
                    house.remove(name)
