"""Images that this installation has built on its engine: our own addresses; Azure's are in a registry."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from api.arm import ArmView, Json
from deployments.image_surveys import ImageSurvey, survey_images
from deployments.tidying import remove_unused_images
from workspaces import access


class ImageList(ArmView):
    actions = {"GET": "environments/versions/read"}

    def get(self, request: Request) -> Response:
        """The workspace's own, the largest first; administrators of the installation see all."""
        sees_all = access.reaches_all(self.caller)
        found = survey_images(self.workspace)
        return Response(
            {"value": [present(image) for image in found if sees_all or image.made_for]}
        )


class RemoveUnusedImages(ArmView):
    actions = {"POST": "environments/versions/delete"}

    def post(self, request: Request) -> Response:
        """For administrators of the installation: images belong to all workspaces."""
        removed = remove_unused_images(by=self.caller)
        images = [{"key": key, "sizeBytes": size} for key, size in removed.items()]
        return Response({"removed": images, "removedBytes": sum(removed.values())})


def present(image: ImageSurvey) -> Json:
    told: Json = {
        "key": image.key,
        "sizeBytes": image.size_bytes,
        "isUsed": image.is_used,
        "madeFor": list(image.made_for),
    }
    texts = {"image": image.reference, "python": image.python_version}
    return told | {name: text for name, text in texts.items() if text}
