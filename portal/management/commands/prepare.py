import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from deployments import provisioning
from portal import prepared, static_files
from portal.checks import refuse_faults
from workspaces import setup

MIGRATION_LOCK = 0x706F7274


class Command(BaseCommand):
    """All that the database and the static files need before the web starts; safe to run at any time."""

    help = "Migrate the database, collect static files, make what a first start needs."
    requires_system_checks: list[str] = []  # made below, for an error in one sentence

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--sign-in-link",
            action="store_true",
            help="print a one-time sign-in link at the end, and what is still to start",
        )

        parser.add_argument(
            "--when-told",
            action="store_true",
            help="begin when a line comes in: loading takes a while",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["when_told"] and not sys.stdin.readline():
            raise CommandError("Whoever was to say when to begin has gone.")
        refuse_faults()
        with connection.cursor() as cursor:
            # Two servers on one database migrate one after the other.
            cursor.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
            try:
                call_command("migrate", interactive=False, verbosity=0)
                setup.first_start()
            finally:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [MIGRATION_LOCK])
        static_files.collect()
        prepared.mark()
        if options["sign_in_link"]:
            self.stdout.write(setup.sign_in_link())
            count = provisioning.count_unserved()
            if count:
                self.stdout.write(starting_text(count))


def starting_text(count: int) -> str:
    if count == 1:
        return "1 deployment starts now; its endpoint answers 503 until it is up."
    return f"{count} deployments start now; their endpoints answer 503 until they are up."
