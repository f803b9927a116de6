"""Server verbs: Django's management commands, with errors as sentences instead of tracebacks."""

from __future__ import annotations

import os
import sys

import django
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import BaseCommand, CommandError, load_command_class
from django.core.management import get_commands as command_apps
from django.db import DatabaseError, InterfaceError

from portal import preflight
from portal.checks import refuse_faults
from portal.faults import StartFault

# These read settings only: without the models they start sooner, and `up` stays small for its long life.
WITHOUT_MODELS = {"up", "restart", "ca"}
# These work on what an installation holds, and these only on its database, which may be elsewhere.
ON_INSTALLATION = {"sample", "remove-unused-images", "sign-in-link", "createsuperuser"}
ON_DATABASE = {"migrate", "changepassword", "shell", "dbshell"}


def run(verb: str, arguments: list[str]) -> int:
    """Run the management command of that name; the exit code."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    name = verb.replace("-", "_")
    try:
        command = _command(name)
        parser = command.create_parser("portico", verb)
        options = vars(parser.parse_args(arguments))
        args = options.pop("args", ())
        _refuse_empty_home(verb)
        if command.requires_system_checks and not options["skip_checks"]:
            # Errors only: warnings are for 'portico doctor', not for everybody who wants something done.
            refuse_faults()
            options["skip_checks"] = True
        command.execute(*args, **options)
    except KeyboardInterrupt:
        return 130
    except (StartFault, ImproperlyConfigured, CommandError) as fault:
        print(f"portico {verb}: {fault}", file=sys.stderr)
        return getattr(fault, "returncode", 1)
    except (DatabaseError, InterfaceError) as error:
        words = str(error).strip().splitlines() or [type(error).__name__]
        print(
            f"portico {verb}: The database refused: {words[0]}. 'portico doctor' tells more.",
            file=sys.stderr,
        )
        return 1
    return 0


def _refuse_empty_home(verb: str) -> None:
    """Raise `CommandError` when the verb needs an installation, and none was ever started on this home."""
    is_needed = verb in ON_INSTALLATION or (verb in ON_DATABASE and settings.EMBEDDED_POSTGRES)
    if is_needed and not preflight.has_run():
        raise CommandError(
            f"No Portico has run on {settings.PORTICO_HOME}. Start it with 'make run', or set PORTICO_HOME to "
            "the folder of the one that does."
        )


def _command(name: str) -> BaseCommand:
    if name in WITHOUT_MODELS:
        return load_command_class("portal", name)
    django.setup()
    return load_command_class(command_apps()[name], name)
