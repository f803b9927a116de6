from typing import Any

from django.core.management.base import BaseCommand

from monitoring import watch


class Command(BaseCommand):
    """One of the portal's processes; `portico up` starts it."""

    help = (
        "Tell the gateway about endpoints, count requests, keep logs and figures, until SIGTERM."
    )
    requires_system_checks: list[str] = []  # `prepare` makes them

    def handle(self, *args: Any, **options: Any) -> None:
        watch.main()
