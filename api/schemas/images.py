"""Images that were built here."""

from __future__ import annotations

from api.schemas.operations import Routes, act, read
from api.schemas.shapes import Named, flag, items, record, text, whole

TAG = "Images"

IMAGE = Named(
    "Image",
    record(
        {
            "key": text("The hash of its content."),
            "sizeBytes": whole("With all layers, also those that others share."),
            "isUsed": flag("A deployment of any workspace runs in it, or is to."),
            "madeFor": items(text(), "Deployments and environments of this workspace."),
        },
        {"image": text("Its identity on the engine."), "python": text("The version inside.")},
    ),
)
IMAGES = Named("Images", record({"value": items(IMAGE)}))
REMOVED = Named(
    "RemovedImages",
    record(
        {
            "removed": items(record({"key": text(), "sizeBytes": whole()})),
            "removedBytes": whole("Layers that several shared count for each."),
        }
    ),
)

ROUTES: Routes = {
    "arm-images": {"GET": read("List the images that were built for the workspace", IMAGES)},
    "arm-remove-unused-images": {
        "POST": act("Remove the images that nothing runs in; for administrators", REMOVED)
    },
}
