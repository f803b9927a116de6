"""Run by the SDK's own Python: signs in with each class of azure-identity; asserts as it goes."""

# mypy: ignore-errors
import json
import os
import sys

from azure.ai.ml import MLClient
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.identity import (
    ClientSecretCredential,
    DefaultAzureCredential,
    EnvironmentCredential,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)

base = sys.argv[1]
given = json.loads(sys.stdin.read())
PLACE = ("00000000-0000-0000-0000-000000000001", "portico", "main")
QUIET = {"enable_telemetry": False, "show_progress": False}
MANAGEMENT = f"{base}/.default"


def with_variables(**variables):
    """Set these of the variables that azure-identity reads, and no others."""
    for name in [*os.environ]:
        if name.startswith(("AZURE_", "IDENTITY_", "MSI_")):
            del os.environ[name]
    os.environ.update(variables)


def reads(credential):
    """Whether the credential opens the workspace, found by ARM_CLOUD_METADATA_URL alone."""
    client = MLClient(credential, *PLACE, **QUIET)
    assert client.workspaces.get("main").name == "main"
    return [endpoint.name for endpoint in client.online_endpoints.list()]


def refused(act):
    try:
        act()
    except (ClientAuthenticationError, HttpResponseError) as error:
        return str(error)
    raise AssertionError("it was let in")


# A person: variables of a managed identity, in both of its forms.
with_variables(IDENTITY_ENDPOINT=f"{base}/identity/token", IDENTITY_HEADER=given["personal_token"])
before = reads(DefaultAzureCredential())
reads(ManagedIdentityCredential())
token = DefaultAzureCredential().get_token(MANAGEMENT).token
assert token != given["personal_token"] and token.count(".") == 2
with_variables(MSI_ENDPOINT=f"{base}/identity/token", MSI_SECRET=given["personal_token"])
reads(ManagedIdentityCredential())
with_variables(
    IDENTITY_ENDPOINT=f"{base}/identity/token",
    IDENTITY_HEADER=f"{given['client_id']}:{given['secret']}",
)
reads(DefaultAzureCredential())

# A program: client id and secret.
program = {"AZURE_CLIENT_ID": given["client_id"], "AZURE_CLIENT_SECRET": given["secret"]}
with_variables(AZURE_AUTHORITY_HOST=base, AZURE_TENANT_ID="adfs", **program)
reads(EnvironmentCredential())
reads(DefaultAzureCredential())
with_variables(AZURE_AUTHORITY_HOST=base, AZURE_TENANT_ID="portico", **program)
reads(EnvironmentCredential(disable_instance_discovery=True))
reads(DefaultAzureCredential(disable_instance_discovery=True))
with_variables()


def client_secret(tenant="portico", secret=given["secret"]):
    return ClientSecretCredential(
        tenant, given["client_id"], secret, authority=base, disable_instance_discovery=True
    )


assert reads(client_secret()) == before
reads(client_secret("adfs"))

# A program with a token of its own cluster.
with_variables(
    AZURE_AUTHORITY_HOST=base,
    AZURE_TENANT_ID="portico",
    AZURE_CLIENT_ID=given["client_id"],
    AZURE_FEDERATED_TOKEN_FILE=given["token_file"],
)
reads(WorkloadIdentityCredential(disable_instance_discovery=True))
reads(DefaultAzureCredential(disable_instance_discovery=True))
with_variables()

# What is refused is told by the credential, in our words.
wrong = refused(lambda: client_secret(secret="ptcs_wrong").get_token(MANAGEMENT))
assert "AADSTS7000215: Invalid client secret provided" in wrong, wrong
elsewhere = refused(lambda: client_secret().get_token("https://graph.microsoft.com/.default"))
assert "AADSTS500011" in elsewhere, elsewhere


class ForScoring:
    """A token for another door in place of the one that is asked for."""

    def get_token(self, *scopes, **options):
        return client_secret().get_token("https://ml.azure.com/.default")


told = refused(lambda: reads(ForScoring()))
assert "InvalidAuthenticationTokenAudience" in told, told

# A reader's secret reads, and is refused to write, in our words.
reader = MLClient(client_secret(), *PLACE, **QUIET)
told = refused(lambda: reader.online_endpoints.begin_delete("nothing").result())
assert "(AuthorizationFailed)" in told, told
print("\nall done")
