from typing import Any

from django.core.management.base import BaseCommand

from portal.supervisor import Supervisor


class Command(BaseCommand):
    """The whole portal in the foreground."""

    help = "Start the whole portal here, and keep it running until Ctrl-C."
    requires_system_checks: list[str] = []  # `prepare` makes them

    def handle(self, *args: Any, **options: Any) -> None:
        Supervisor().run()
