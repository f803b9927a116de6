from typing import Any

from django.core.management.base import BaseCommand

from portal import doctor


class Command(BaseCommand):
    """Ends with exit code 1 when anything is bad."""

    help = "Check versions, ports, disk, processes and data, and say what to do."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        styles = {"ok": self.style.SUCCESS, "hint": self.style.WARNING, "BAD": self.style.ERROR}
        is_bad = False
        for finding in doctor.examine():
            is_bad |= finding.label == "BAD"
            mark = styles[finding.label](f"{finding.label:<4}")
            self.stdout.write(f"{mark} {finding.subject:<12} {finding.text}")
        if is_bad:
            raise SystemExit(1)
