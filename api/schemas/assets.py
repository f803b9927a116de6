"""Models, environments, code, data and components."""

from __future__ import annotations

from api.assets import MODEL_TYPES
from api.data import TYPES
from api.environments import OS_TYPES
from api.environments import ROUTES as INFERENCE_ROUTES
from api.schemas.operations import (
    PAGED,
    VIEWED,
    Operation,
    Routes,
    act,
    delete,
    listed,
    parameter,
    read,
    resource,
    write,
)
from api.schemas.shapes import (
    Json,
    Named,
    anything,
    choice,
    flag,
    items,
    mapping,
    or_null,
    record,
    text,
    whole,
)

TAG = "Assets"

ARCHIVE = Named(
    "AssetWrite", record(optional={"properties": record(optional={"isArchived": flag()})})
)
DESCRIBE = Named(
    "AssetVersionChange",
    record(
        optional={
            "properties": record(
                optional={
                    "description": text(),
                    "tags": mapping(or_null(text()), "Null takes a tag away."),
                    "isArchived": flag(),
                }
            )
        }
    ),
)
PORT = record(optional={"path": text(), "port": whole()})
FLAVORS = mapping(record({"data": mapping(anything())}))


def family(
    kind: str, one: str, many: str, sent: Json, told: Json, *, query: tuple[Json, ...] = ()
) -> dict[str, dict[str, Operation]]:
    """The four addresses of one kind of asset; `sent` and `told` are the fields of it alone."""
    name = kind.capitalize()
    container = record(
        {
            "latestVersion": or_null(text()),
            "nextVersion": text(),
            "isArchived": flag(),
            "tags": mapping(),
            "properties": mapping(),
        },
        {"dataType": choice(TYPES)} if kind == "data" else None,
    )
    asset = resource(f"{name}Container", container)
    labels: Json = {"description": text(), "isAnonymous": flag(), "isArchived": flag()}
    maps: Json = {"tags": mapping(), "properties": mapping()}
    state = {"provisioningState": choice(("Succeeded",))}
    version = resource(f"{name}Version", record({**labels, **maps, **state}, told))
    fields = record(optional={**labels, **maps, **sent})
    written = Named(f"{name}VersionWrite", record(optional={"properties": fields}))
    archive = f"Archive or restore {one} with all versions"
    describe = f"Describe, archive or restore a version of {one}"
    return {
        f"arm-{kind}-list": {"GET": listed(f"List {many}", asset, query=(*PAGED, VIEWED))},
        f"arm-{kind}": {
            "GET": read(f"Get {one}: its latest and its next version", asset),
            "PUT": write(archive, ARCHIVE, asset),
            "PATCH": write(archive, ARCHIVE, asset),
            "DELETE": delete(f"Delete {one} with all versions"),
        },
        f"arm-{kind}-versions": {
            "GET": listed(
                f"List the versions of {one}, newest first",
                version,
                query=(*PAGED, VIEWED, *query),
            )
        },
        f"arm-{kind}-version": {
            "GET": read(f"Get a version of {one}", version),
            "PUT": write(f"Register a version of {one}", written, version, creates=True),
            "PATCH": write(describe, DESCRIBE, version),
            "DELETE": delete(f"Delete a version of {one}"),
        },
    }


MODEL: Json = {
    "modelType": choice(MODEL_TYPES),
    "modelUri": text("azureml://datastores/workspaceblobstore/paths/…, where it was uploaded."),
}
CODE: Json = {"codeUri": text("The address of the uploaded folder.")}
HASH = (
    parameter("hash", text("Of code: the versions with this content, under any name.")),
    parameter("hashVersion", text()),
)
ENVIRONMENT: Json = {
    "osType": choice(OS_TYPES),
    "image": text("A container image, or the address of a curated environment."),
    "condaFile": text("The text of the file."),
    "build": record(optional={"contextUri": text(), "dockerfilePath": text()}),
    "inferenceConfig": record(optional=dict.fromkeys(INFERENCE_ROUTES, PORT)),
}
DATA: Json = {
    "dataType": choice(TYPES),
    "dataUri": text("The address of the data; what was uploaded is kept as it is at that moment."),
    "referencedUris": items(text()),
}
COMPONENT: Json = {
    "componentSpec": mapping(anything(), "The YAML of the component, as JSON."),
}
PENDING_UPLOAD = Named(
    "PendingUpload",
    record(
        {
            "pendingUploadId": text(),
            "pendingUploadType": text(),
            "blobReferenceForConsumption": record(
                {
                    "blobUri": text(),
                    "storageAccountArmId": text(),
                    "credential": record({"credentialType": text(), "sasUri": text()}),
                }
            ),
        }
    ),
)

ROUTES: Routes = {
    **family("model", "a model", "models", MODEL, {**MODEL, "flavors": FLAVORS}),
    **family(
        "environment",
        "an environment",
        "environments",
        ENVIRONMENT,
        {**ENVIRONMENT, "environmentType": choice(("Curated", "UserCreated"))},
    ),
    **family("code", "a code folder", "code folders", CODE, CODE, query=HASH),
    **family("data", "a data asset", "data assets", DATA, DATA),
    **family("component", "a component", "components", COMPONENT, COMPONENT),
    "arm-pending-upload": {
        "POST": act("Get a container and a signed address for a code folder", PENDING_UPLOAD)
    },
}
