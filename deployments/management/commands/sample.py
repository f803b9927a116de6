import time
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from deployments import samples
from deployments.models import SampleLoad
from endpoints import keys
from workspaces.errors import UserError
from workspaces.models import Workspace
from workspaces.setup import administrator

WAIT_SECONDS = 600
QUIET_SECONDS = 30


class Command(BaseCommand):
    """A door to `deployments.samples`; the worker of the running portal does the work."""

    help = (
        "Make the sample endpoint 'diabetes' with two deployments, 90/10, and say how to call it."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--workspace", default=settings.FIRST_WORKSPACE["name"])
        parser.add_argument("--remove", action="store_true", help="take the sample away again")

    def handle(self, *args: Any, **options: Any) -> None:
        workspace = Workspace.objects.filter(name=options["workspace"]).first()
        if workspace is None:
            raise CommandError(f"There is no workspace '{options['workspace']}'.")
        try:
            if options["remove"]:
                self._remove(workspace)
            else:
                self._load(workspace)
        except UserError as error:
            raise CommandError(error.message) from error

    def _remove(self, workspace: Workspace) -> None:
        was_there = samples.remove_samples(workspace, by=administrator())
        self.stdout.write("The sample is being removed." if was_there else "There is no sample.")

    def _load(self, workspace: Workspace) -> None:
        load = samples.load_samples(workspace, by=administrator())
        self._wait(load)
        endpoint = workspace.online_endpoints.get(name=samples.ENDPOINT)
        key = keys.list_keys(endpoint, by=administrator()).primary
        certificate = settings.CERTIFICATES_DIR / "ca.pem"
        self.stdout.write(
            f"\nScoring URI  {endpoint.scoring_uri}\n"
            f"Key          {key}\n\n"
            f"curl --cacert {certificate} {endpoint.scoring_uri} \\\n"
            f"  -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\\n"
            f"  -d '{samples.REQUEST}'\n"
        )

    def _wait(self, load: SampleLoad) -> None:
        began, told, waiting_since = time.monotonic(), "", time.monotonic()
        while True:
            load.refresh_from_db()
            if load.message != told:
                told, waiting_since = load.message, time.monotonic()
                self.stdout.write(told)
                self.stdout.flush()
            if load.state == SampleLoad.State.DONE:
                return
            if load.state == SampleLoad.State.FAILED:
                raise CommandError("The sample could not be made. The reason stands above.")
            untouched = load.state == SampleLoad.State.WANTED and not load.lease_token
            if untouched and time.monotonic() - waiting_since > QUIET_SECONDS:
                raise CommandError(
                    "Nobody took up the work. Is Portico running? Start it with 'portico up'; the wish is kept."
                )
            if time.monotonic() - began > WAIT_SECONDS:
                raise CommandError(
                    "It takes unusually long. 'portico doctor' looks for the reason."
                )
            time.sleep(0.3)
