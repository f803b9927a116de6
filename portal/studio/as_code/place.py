"""Which workspace of which installation the code speaks to, and what must be said once before any of it runs. Pure."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

PROVIDER = "Microsoft.MachineLearningServices"
CONTAINER = "azureml"
API_VERSION = "2024-10-01"


@dataclass(frozen=True)
class Place:
    url: str
    """Studio and API over TLS, without a slash at the end."""
    subscription: str
    resource_group: str
    workspace: str
    ca_path: str = ""
    """The authority to trust; empty where the system trusts the certificate already."""
    upload: str = "upload"
    """Names the folder for files that the REST form uploads, and what is registered without a name."""

    @property
    def arm_id(self) -> str:
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}"
            f"/providers/{PROVIDER}/workspaces/{self.workspace}"
        )

    @property
    def flags(self) -> str:
        """The end of every `portico ml` command: nothing depends on what was configured before."""
        return f"-g {shlex.quote(self.resource_group)} -w {shlex.quote(self.workspace)}"

    def reference(self, collection: str, name: str, version: str) -> str:
        """What is registered without a name goes by its id."""
        return f"azureml:{self.arm_id}/{collection}/{name}/versions/{version}"

    @property
    def files_url(self) -> str:
        """Where the REST form puts files, with the token as its credential."""
        return (
            f"{self.url}/storage/{self.workspace}.blob.core.windows.net/{CONTAINER}"
            f"/LocalUpload/{self.upload}"
        )

    @property
    def files_uri(self) -> str:
        """The same place as models and data name it."""
        return f"azureml://datastores/workspaceblobstore/paths/LocalUpload/{self.upload}"


def set_up(place: Place) -> str:
    """Shell lines for `curl`, the SDK and the command line, with one token for all three."""
    lines = ["export PORTICO_TOKEN='<your access token>'"]
    trust = ""
    if place.ca_path:
        lines.append(f"export REQUESTS_CA_BUNDLE={shlex.quote(place.ca_path)}")
        trust = ' --ca-file "$REQUESTS_CA_BUNDLE"'
    metadata = f"{place.url}/metadata/endpoints?api-version=2019-05-01"
    return "\n".join(
        [
            "# Once in each shell. Make the token on the page Account.",
            *lines,
            f"export ARM_CLOUD_METADATA_URL={shlex.quote(metadata)}",
            f"export IDENTITY_ENDPOINT={shlex.quote(f'{place.url}/identity/token')}",
            'export IDENTITY_HEADER="$PORTICO_TOKEN"',
            f"portico login --url {shlex.quote(place.url)}{trust}",
            "",
        ]
    )
