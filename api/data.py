"""Data assets: files of the datastore, or the address of data elsewhere (wire 10)."""

from __future__ import annotations

from rest_framework.request import Request

from api import datastores
from api.arm import Json
from api.assets import Family, WrittenVersionDetail
from api.bodies import Body
from workspaces import catalog, data, uploads
from workspaces.models import Data, DataVersion

TYPES: dict[str, str] = {kind: kind for kind in DataVersion.Type.values}


def present(request: Request, version: DataVersion) -> Json:
    told: Json = {"dataType": version.type, "dataUri": version.uri}
    if version.content_hash:
        path = uploads.asset_path(version.content_hash, version.leaf)
        slash = "/" if version.is_folder else ""
        told["dataUri"] = f"{datastores.datastore_uri(version.data.workspace, path)}{slash}"
    if version.type == DataVersion.Type.TABLE:
        told["referencedUris"] = version.referenced_uris
    return told


def present_asset(asset: Data) -> Json:
    return {"dataType": getattr(asset, "newest_type", None) or DataVersion.Type.FOLDER}


DATA = Family("data", "data", Data, DataVersion, present, present_asset)


class DataVersionDetail(WrittenVersionDetail):
    """What was uploaded is kept as it is now; any other address is only noted."""

    family = DATA

    def register(self, name: str, version: str, body: Body, labels: catalog.Labels) -> DataVersion:
        kind = body.choice("dataType", TYPES, DataVersion.Type.FOLDER)
        uri = body.text("dataUri", longest=data.LONGEST_URI)
        referenced = body.texts_list("referencedUris")
        body.finish()
        if datastores.is_upload(self.workspace, uri, target="properties.dataUri"):
            upload = datastores.open_uri(self.workspace, uri, target="properties.dataUri")
            return data.register_files(
                self.workspace,
                name,
                upload.content,
                type=kind,
                leaf=upload.leaf,
                is_folder=upload.is_folder,
                by=self.caller,
                version=version,
                referenced_uris=referenced,
                labels=labels,
            )
        return data.register_address(
            self.workspace,
            name,
            uri,
            type=kind,
            by=self.caller,
            version=version,
            referenced_uris=referenced,
            labels=labels,
        )
