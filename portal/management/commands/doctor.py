from typing import Any

from django.core.management.base import BaseCommand

from portal import doctor


class Command(BaseCommand):
    """Ends with exit code 1 when anything is bad."""

    help = "Check versions, ports, disk, processes and data, and say what to do."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        bad = 0
        for finding in doctor.examine():
            bad += not finding.is_good
            mark = self.style.SUCCESS("ok ") if finding.is_good else self.style.ERROR("BAD")
            self.stdout.write(f"{mark} {finding.subject:<12} {finding.text}")
        if bad:
            raise SystemExit(1)
