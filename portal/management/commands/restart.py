import os
import signal
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from portal.processes import Identity
from portal.supervisor import read_state

PATIENCE_SECONDS = 300


class Command(BaseCommand):
    """Web, worker, beat and watch begin anew, with the code that is installed now; models go on answering."""

    help = "Replace the control plane after an upgrade, while scoring goes on."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        before = read_state()
        supervisor = Identity.of(before["pid"]) if before else None
        if supervisor is None:
            raise CommandError("Portico does not run here. Start it with 'portico up'.")
        try:
            os.kill(supervisor.pid, signal.SIGHUP)
        except PermissionError:
            raise CommandError(
                f"Portico (process {supervisor.pid}) runs as another user. Run this as that user."
            ) from None
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until and supervisor.is_alive:
            now = read_state()
            if now and now["generation"] > before["generation"]:
                if now["restart_problem"]:
                    raise CommandError(now["restart_problem"])
                self.stdout.write("The control plane is replaced and answers.")
                return
            time.sleep(0.1)
        raise CommandError("The restart did not end in time. 'portico doctor' tells more.")
