"""Components: the YAML of a step, as the SDK sends and reads it."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request

from api.arm import Json
from api.assets import Family, WrittenVersionDetail
from api.bodies import Body
from workspaces import catalog, components
from workspaces.errors import UserError, ValidationFailed
from workspaces.models import Component, ComponentVersion

PLACE = "properties.componentSpec"


def present(request: Request, version: ComponentVersion) -> Json:
    return {"componentSpec": components.specification_of(version)}


COMPONENTS = Family("components", "component", Component, ComponentVersion, present)


class ComponentVersionDetail(WrittenVersionDetail):
    family = COMPONENTS

    def find_version(self, name: str, version: str) -> Any:
        """Also `azureml_default`, the newest."""
        if version == components.LATEST:
            newest = self.versions(name).filter(archived_at__isnull=True).first()
            version = newest.version if newest else version
        return super().find_version(name, version)

    def register(
        self, name: str, version: str, body: Body, labels: catalog.Labels
    ) -> ComponentVersion:
        specification = body.mapping("componentSpec", {})
        body.finish()
        try:
            return components.register(
                self.workspace,
                name,
                specification,
                by=self.caller,
                version=version,
                labels=labels,
            )
        except ValidationFailed as error:
            raise ValidationFailed([_placed(item) for item in error.errors]) from error
        except UserError as error:
            raise _placed(error) from error


def _placed(error: UserError) -> UserError:
    """The same, said of the place in the body."""
    if error.status != 400:
        return error
    target = f"{PLACE}.{error.target}" if error.target else PLACE
    return UserError(error.message, code=error.code, target=target)
