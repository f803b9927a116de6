"""What the drives have in common; run by the SDK's own Python, beside them."""

# mypy: ignore-errors
from azure.ai.ml import MLClient
from azure.identity import DefaultAzureCredential


def client_of(base):
    """The SDK's client of workspace `main` on the portal at this address, which is a cloud of its own."""
    return MLClient(
        DefaultAzureCredential(),
        "00000000-0000-0000-0000-000000000001",
        "portico",
        "main",
        enable_telemetry=False,
        show_progress=False,
        cloud="SelfHosted",
        cloud_metadata={
            "azure_portal": base,
            "resource_manager": base,
            "active_directory": base,
            "aml_resource_id": "https://ml.azure.com",
            "storage_endpoint": "core.windows.net",
            "registry_discovery_endpoint": base,
        },
    )
