"""The older name of the response module."""

from azureml_inference_server_http.api.aml_response import (  # type: ignore[import-not-found]
    AMLResponse,
)

__all__ = ["AMLResponse"]
