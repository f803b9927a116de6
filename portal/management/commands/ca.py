from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from portal.certificates import authority_path, fingerprint


class Command(BaseCommand):
    """Clients are told to trust this file: `curl --cacert "$(portico ca)" ...`."""

    help = "Print the path of the certificate that clients are to trust."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--fingerprint",
            action="store_true",
            help="print its SHA-256 fingerprint, which 'portico login' shows on other machines",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        path = authority_path(settings.CERTIFICATES_DIR)
        if not path.exists():
            raise CommandError(f"{path} is not made yet. Start Portico once with 'portico up'.")
        self.stdout.write(fingerprint(path) if options["fingerprint"] else str(path))
