"""Data assets: files of the store under a name, or the address of data that lies elsewhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from workspaces import catalog, storage
from workspaces.catalog import Labels
from workspaces.errors import UserError
from workspaces.models import Data, DataVersion, User, Workspace
from workspaces.storage import Content

TABLE_FILE = "MLTable"
SCHEMES = ("azureml", "http", "https", "wasb", "wasbs", "abfs", "abfss", "adl")
PLACES = re.compile(
    r"azureml:/{1,2}(?:jobs/[^/]+/outputs|(?:.+/)?datastores/[^/]+/paths)/.+", re.I
)
"""Where data of a workspace is: what a job wrote, and paths of datastores."""
LONGEST_URI = 4000


def register_files(
    workspace: Workspace,
    name: str,
    content: Content,
    *,
    type: str,
    leaf: str,
    is_folder: bool,
    by: User | None,
    version: str = "",
    referenced_uris: Sequence[str] = (),
    labels: Labels | None = None,
) -> DataVersion:
    """Register stored content, which never changes from then on; rules of repetition as for models."""
    _check_type(type)
    if is_folder == (type == DataVersion.Type.FILE):
        wanted, found = ("a file", "a folder") if is_folder else ("a folder", "a file")
        raise UserError(
            f"Data of the type {type} is {wanted}, and '{leaf}' is {found}. Upload {wanted}, or choose another "
            "type.",
            target="type",
        )
    if type == DataVersion.Type.TABLE and not any(
        entry.path == TABLE_FILE for entry in storage.entries(content.content_hash)
    ):
        raise UserError(
            f"A table needs a file named {TABLE_FILE} at the top of its folder. Add it, or choose the type "
            "uri_folder.",
            target="type",
        )
    facts = {
        "type": type,
        "uri": "",
        "content_hash": content.content_hash,
        "leaf": storage.safe_path(leaf),
        "is_folder": is_folder,
        "size_bytes": content.size_bytes,
        "file_count": content.file_count,
        "referenced_uris": list(referenced_uris),
    }
    return _register(workspace, name, version, facts, labels, by)


def register_address(
    workspace: Workspace,
    name: str,
    uri: str,
    *,
    type: str,
    by: User | None,
    version: str = "",
    referenced_uris: Sequence[str] = (),
    labels: Labels | None = None,
) -> DataVersion:
    """Register the address of data, which is not looked at before it is used."""
    _check_type(type)
    check_address(uri)
    facts = {
        "type": type,
        "uri": uri,
        "content_hash": "",
        "leaf": "",
        "is_folder": type != DataVersion.Type.FILE,
        "size_bytes": 0,
        "file_count": 0,
        "referenced_uris": list(referenced_uris),
    }
    return _register(workspace, name, version, facts, labels, by)


def resolve(workspace: Workspace, reference: str) -> DataVersion:
    """The version that `azureml:name:3`, `name:3` or `name@latest` names (archived ones included)."""
    found = catalog.resolve(Data, DataVersion, workspace, reference, "data")
    assert isinstance(found, DataVersion)
    return found


def check_address(uri: str) -> None:
    """Whether data may lie there: a scheme that clients know, a place, no password."""
    try:
        parts = urlsplit(uri)
        # The containers of wasbs:// and abfss:// stand before an @, as a user does elsewhere.
        broken = parts.password is not None or not parts.netloc
    except ValueError:
        broken = True
        parts = urlsplit("")
    scheme = parts.scheme.lower()
    broken = broken or scheme not in SCHEMES or re.search(r"[\s\x00-\x1f]", uri) is not None
    if broken or (scheme == "azureml" and not PLACES.fullmatch(uri)):
        raise UserError(
            f"The path {uri[:200]!r} is no address of data. Give an upload or a path in a datastore "
            "(azureml://datastores/<datastore>/paths/<path>), or an https address without a password.",
            target="path",
        )


def _check_type(type: str) -> None:
    if type not in DataVersion.Type.values:
        raise UserError(
            f"The data type '{type[:60]}' is not known. Use one of {', '.join(DataVersion.Type.values)}.",
            target="type",
        )


def _register(
    workspace: Workspace,
    name: str,
    version: str,
    facts: dict[str, Any],
    labels: Labels | None,
    by: User | None,
) -> DataVersion:
    made: DataVersion = catalog.register(
        Data, DataVersion, workspace, name, version, facts, labels or Labels(), by
    )
    return made
