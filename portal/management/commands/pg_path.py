from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from portal.embedded import postgres_binaries


class Command(BaseCommand):
    """For backups: a `pg_dump` that is older than the server refuses to work."""

    help = "Print the folder of PostgreSQL's own programs, such as pg_dump."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(str(postgres_binaries(settings.STAGED_ROOT, for_others=False)))
