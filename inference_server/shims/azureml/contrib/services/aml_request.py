"""The older name of the request module."""

from azureml_inference_server_http.api.aml_request import (  # type: ignore[import-not-found]
    AMLRequest,
    rawhttp,
)

__all__ = ["AMLRequest", "rawhttp"]
