"""Files, as in Azure's blob service: XML, signed queries, and no api-version of ours."""

from __future__ import annotations

from api.schemas.operations import Answer, Operation, Routes, parameter
from api.schemas.shapes import choice, text, whole

TAG = "Files"

BYTES = text(contentMediaType="application/octet-stream")
XML = Answer(text(), "application/xml")
OF_A_FILE = {
    "ETag": "Changes with the content.",
    "Last-Modified": "When it was written.",
}
SIGNATURE = tuple(
    parameter(name, text(description))
    for name, description in (
        ("sig", "The signature; with it, listSecrets and startPendingUpload give the rest."),
        ("sv", "Signed: the version."),
        ("sr", "Signed: what kind of thing."),
        ("sp", "Signed: what may be done."),
        ("se", "Signed: when it ends."),
        ("si", "Signed: for whom."),
    )
)
REFUSED = frozenset({400, 403, 404, 405, 409, 413})

ROUTES: Routes = {
    "blobs": {
        "GET": Operation(
            "Read a file or a range of it",
            {200: Answer(BYTES, "application/octet-stream", headers=OF_A_FILE)}
            | {206: Answer(BYTES, "application/octet-stream", headers=OF_A_FILE)},
            headers=(
                parameter(
                    "x-ms-range", text("bytes=first-last; Range does the same."), place="header"
                ),
            ),
            query=SIGNATURE,
            refusals=REFUSED | {416},
            refusal=XML,
            is_public=True,
        ),
        "PUT": Operation(
            "Store a file, a block of it, its list of blocks, or its metadata",
            {
                200: Answer(headers=OF_A_FILE, description="The metadata was replaced."),
                201: Answer(headers=OF_A_FILE, description="The file or block was stored."),
            },
            body=BYTES,
            body_type="application/octet-stream",
            query=(
                parameter("comp", choice(("block", "blocklist", "metadata"), "Absent: the file.")),
                parameter("blockid", text("Of a block; base64.")),
                *SIGNATURE,
            ),
            headers=(
                parameter("x-ms-blob-type", choice(("BlockBlob",)), place="header"),
                parameter("If-None-Match", text("*: do not replace a file."), place="header"),
            ),
            refusals=REFUSED,
            refusal=XML,
            is_public=True,
        ),
        "DELETE": Operation(
            "Delete a file",
            {202: Answer(description="It is gone.")},
            query=SIGNATURE,
            refusals=REFUSED,
            refusal=XML,
            is_public=True,
        ),
    },
    "blobs-list": {
        "GET": Operation(
            "List the files of a container",
            {200: XML},
            query=(
                parameter("comp", choice(("list",)), is_needed=True),
                parameter("restype", choice(("container",))),
                parameter("prefix", text("What their paths begin with.")),
                parameter("delimiter", text("Tell folders in place of what is below them.")),
                parameter("marker", text("Where the page begins; NextMarker has it.")),
                parameter("maxresults", whole(minimum=1)),
                parameter("include", choice(("metadata",))),
                *SIGNATURE,
            ),
            refusals=REFUSED,
            refusal=XML,
            is_public=True,
        )
    },
}
