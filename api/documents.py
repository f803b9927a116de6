"""The description of this API in OpenAPI's form."""

from __future__ import annotations

from drf_spectacular.renderers import (
    OpenApiJsonRenderer,
    OpenApiJsonRenderer2,
    OpenApiYamlRenderer,
    OpenApiYamlRenderer2,
)
from drf_spectacular.views import SpectacularAPIView


class OpenApiDocument(SpectacularAPIView):
    """JSON, or YAML with `?format=yaml`; for everybody, since it tells nothing of this installation."""

    authentication_classes = ()
    permission_classes = ()
    metadata_class = None
    renderer_classes = [
        OpenApiJsonRenderer2,
        OpenApiJsonRenderer,
        OpenApiYamlRenderer,
        OpenApiYamlRenderer2,
    ]
