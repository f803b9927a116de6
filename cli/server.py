"""Server verbs: Django's management commands, with errors as sentences instead of tracebacks."""

from __future__ import annotations

import os
import sys

import django
from django.core.exceptions import ImproperlyConfigured
from django.core.management import BaseCommand, CommandError, load_command_class
from django.core.management import get_commands as command_apps
from django.db import DatabaseError, InterfaceError

from portal.faults import StartFault

# These read settings only: without the models they start sooner, and `up` stays small for its long life.
WITHOUT_MODELS = {"up", "restart", "ca"}


def run(verb: str, arguments: list[str]) -> int:
    """Run the management command of that name; the exit code."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    name = verb.replace("-", "_")
    try:
        command = _command(name)
        parser = command.create_parser("portico", verb)
        options = vars(parser.parse_args(arguments))
        args = options.pop("args", ())
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


def _command(name: str) -> BaseCommand:
    if name in WITHOUT_MODELS:
        return load_command_class("portal", name)
    django.setup()
    return load_command_class(command_apps()[name], name)
