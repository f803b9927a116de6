"""Registered models and environments, fetched from the portal for a local deployment."""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cli.faults import MissingFault, UsageFault

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import Environment

SHORT = re.compile(r"(?:azureml:)?([^:@/]+)(?::([^:@/]+)|@([^:@/]+))")
LONG = re.compile(
    r"(?:azureml:)?/+subscriptions/[^/]+/resourceGroups/[^/]+/(?:providers/[^/]+/)?workspaces/([^/]+)/"
    r"[a-z]+/([^/]+)/(versions|labels)/([^/]+)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class FetchedModel:
    """A file or folder on this disk, under the name that scripts find it by."""

    path: Path
    name: str
    version: str
    type: str = "custom_model"


@dataclass(frozen=True)
class Reference:
    """`azureml:name:version`, `azureml:name@label`, or the id of an asset of a workspace."""

    name: str
    version: str | None
    label: str | None
    workspace: str = ""


class Assets:
    """Fetches below `folder`. `sign_in` is called only when an asset is asked for, and may refuse."""

    def __init__(self, folder: Path, sign_in: Callable[[], MLClient]) -> None:
        self._folder = folder
        self._sign_in = sign_in
        self.fetched: Path | None = None
        """The folder of what this command has fetched; older ones beside it can go."""

    def model(self, reference: str) -> FetchedModel:
        """Download a registered model; the SDK's own error when there is none."""
        wanted = parse(reference, "model")
        client = self._client(wanted, "model")
        found = client.models.get(wanted.name, version=wanted.version, label=wanted.label)
        target = self._folder / secrets.token_hex(4)
        target.mkdir(mode=0o700, parents=True)
        self.fetched = target
        client.models.download(found.name, str(found.version), download_path=target)
        inside = list((target / str(found.name)).iterdir())
        if len(inside) != 1:
            raise MissingFault(f"The model '{reference}' has no files on the portal.")
        return FetchedModel(inside[0], str(found.name), str(found.version), str(found.type))

    def environment(self, reference: str) -> Environment:
        """A registered environment; the SDK's own error when there is none."""
        wanted = parse(reference, "environment")
        client = self._client(wanted, "environment")
        return client.environments.get(wanted.name, version=wanted.version, label=wanted.label)

    def forget_older(self) -> None:
        """Remove what earlier commands have fetched."""
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            if path != self.fetched:
                shutil.rmtree(path, ignore_errors=True)

    def _client(self, wanted: Reference, kind: str) -> MLClient:
        try:
            client = self._sign_in()
        except UsageFault as fault:
            raise UsageFault(
                f"The {kind} '{wanted.name}' is registered on a portal. {fault} Or give a local path instead."
            ) from fault
        if wanted.workspace and wanted.workspace.lower() != client.workspace_name.lower():
            raise UsageFault(
                f"The {kind} '{wanted.name}' is in the workspace '{wanted.workspace}', and you are signed in to "
                f"'{client.workspace_name}'. Sign in there, or give a local path."
            )
        return client


def parse(reference: str, kind: str) -> Reference:
    """`UsageFault` for what names no asset of a workspace."""
    short, long = SHORT.fullmatch(reference), LONG.fullmatch(reference)
    if short:
        return Reference(short[1], short[2], short[3])
    if long:
        is_version = long[3].lower() == "versions"
        version, label = (long[4], None) if is_version else (None, long[4])
        return Reference(long[2], version, label, workspace=long[1])
    raise UsageFault(
        f"The {kind} '{reference}' cannot be fetched. Write azureml:<name>:<version> or azureml:<name>@latest, or "
        "describe it with local paths."
    )
