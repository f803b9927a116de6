"""The supported surface of Azure's REST dialect, on one page; `docs/api.md` says the same in words."""

from __future__ import annotations

import re
from typing import Any

from django.urls import URLPattern, path, re_path

from api import (
    assets,
    batch_deployments,
    batch_endpoints,
    blobs,
    clouds,
    components,
    compute_engines,
    computes,
    data,
    datastores,
    debug_sessions,
    documents,
    environment_builds,
    environments,
    images,
    instances,
    jobs,
    locations,
    oauth,
    online_deployments,
    online_endpoints,
    operations,
    personal_tokens,
    role_assignments,
    service_principals,
    workspaces,
)
from api.arm import PROVIDER

OURS = ("subscriptions", "batch", "history", "mferp", "api/tokens")
"""What the other addresses begin with that are answered in Azure's envelope, whatever follows."""
SUBSCRIPTION = "subscriptions/<subscription>"
LOCATION = f"{SUBSCRIPTION}/providers/{PROVIDER}/locations/<location>"
GROUP = f"{SUBSCRIPTION}/resourceGroups/<resource_group>"
WORKSPACE = f"{GROUP}/providers/{PROVIDER}/workspaces/<workspace>"
ENDPOINT = f"{WORKSPACE}/onlineEndpoints/<endpoint>"
DATASTORE = f"{WORKSPACE}/datastores/<datastore>"
DEPLOYMENT = f"{ENDPOINT}/deployments/<deployment>"
ENGINES = f"{WORKSPACE}/computes/<compute>/engines"
INSTANCE = f"{DEPLOYMENT}/instances/<instance>"
ENVIRONMENT = f"{WORKSPACE}/environments/<name>/versions/<version>"
PRINCIPAL = f"{WORKSPACE}/servicePrincipals/<client>"
AUTHORIZATION = f"{WORKSPACE}/providers/{role_assignments.PROVIDER}"
BATCH_ENDPOINT = f"{WORKSPACE}/batchEndpoints/<endpoint>"
BATCH_DEPLOYMENT = f"{BATCH_ENDPOINT}/deployments/<deployment>"
RUN = f"history/v1.0/{WORKSPACE}/runs/<run>"


def arm(route: str, view: Any, name: str) -> URLPattern:
    """Azure compares the words of a path without regard to case; what stands in `<>` is a name."""
    parts = [
        rf"(?P<{part[1:-1]}>[^/\x00-\x1f]+)" if part.startswith("<") else any_case(part)
        for part in route.split("/")
    ]
    found: URLPattern = re_path(f"^{'/'.join(parts)}/?$", view, name=name)
    return found


def any_case(word: str) -> str:
    """The word in any case. `(?i:…)` would be shorter, but Django cannot reverse any address beside one."""
    return "".join(
        f"[{letter}{letter.swapcase()}]" if letter.isalpha() else re.escape(letter)
        for letter in word
    )


def family(
    kind: assets.Family,
    version_view: type[assets.VersionDetail],
    versions_view: type[assets.VersionList] = assets.VersionList,
) -> list[URLPattern]:
    """The four addresses of one kind of asset."""
    base = f"{WORKSPACE}/{kind.collection}"
    names = f"arm-{kind.kind}"
    return [
        arm(base, assets.AssetList.as_view(family=kind), f"{names}-list"),
        arm(f"{base}/<name>", assets.AssetDetail.as_view(family=kind), names),
        arm(f"{base}/<name>/versions", versions_view.as_view(family=kind), f"{names}-versions"),
        arm(
            f"{base}/<name>/versions/<version>",
            version_view.as_view(family=kind),
            f"{names}-version",
        ),
    ]


urlpatterns = [
    re_path(
        r"^storage/(?P<account>[^/\x00-\x1f]+)\.blob\.[^/]+/(?P<container>[a-z0-9-]{3,63})"
        r"(?:/(?P<path>[^\x00-\x1f]+))?$",
        blobs.Blobs.as_view(),
        name="blobs",
    ),
    re_path(r"^metadata/endpoints/?$", clouds.CloudMetadata.as_view(), name="cloud-metadata"),
    path("api/schema", documents.OpenApiDocument.as_view(), name="schema"),
    path("api/tokens", personal_tokens.TokenList.as_view(), name="tokens"),
    path("api/tokens/<str:token>", personal_tokens.TokenDetail.as_view(), name="token"),
    path("identity/token", oauth.ManagedIdentity.as_view(), name="identity-token"),
    path(
        "common/discovery/instance", oauth.InstanceDiscovery.as_view(), name="instance-discovery"
    ),
    path(
        "adfs/.well-known/openid-configuration",
        oauth.OpenIdConfiguration.as_view(),
        name="adfs-configuration",
    ),
    path(
        "<str:tenant>/v2.0/.well-known/openid-configuration",
        oauth.OpenIdConfiguration.as_view(),
        name="openid-configuration",
    ),
    path("<str:tenant>/discovery/v2.0/keys", oauth.SigningKeys.as_view(), name="signing-keys"),
    path("<str:tenant>/oauth2/v2.0/token", oauth.TokenEndpoint.as_view(), name="oauth-token"),
    arm("subscriptions", workspaces.SubscriptionList.as_view(), "arm-subscriptions"),
    arm(
        f"{SUBSCRIPTION}/providers/{PROVIDER}/workspaces",
        workspaces.WorkspaceList.as_view(),
        "arm-workspaces-of-subscription",
    ),
    arm(
        f"{GROUP}/providers/{PROVIDER}/workspaces",
        workspaces.WorkspaceList.as_view(),
        "arm-workspaces",
    ),
    arm(WORKSPACE, workspaces.WorkspaceDetail.as_view(), "arm-workspace"),
    arm(
        f"{WORKSPACE}/operations/<operation>",
        operations.OperationStatus.as_view(),
        "arm-operation",
    ),
    arm(f"{LOCATION}/vmSizes", locations.VmSizes.as_view(), "arm-vm-sizes"),
    arm(f"{LOCATION}/usages", locations.Usages.as_view(), "arm-usages"),
    arm(f"{LOCATION}/quotas", locations.Quotas.as_view(), "arm-quotas"),
    arm(f"{LOCATION}/updateQuotas", locations.UpdateQuotas.as_view(), "arm-update-quotas"),
    arm(f"{WORKSPACE}/computes", computes.ComputeList.as_view(), "arm-computes"),
    arm(f"{WORKSPACE}/computes/<compute>", computes.ComputeDetail.as_view(), "arm-compute"),
    arm(
        f"{WORKSPACE}/computes/<compute>/listNodes",
        computes.NodeList.as_view(),
        "arm-compute-nodes",
    ),
    arm(ENGINES, compute_engines.EngineList.as_view(), "arm-compute-engines"),
    arm(f"{ENGINES}/<engine>", compute_engines.EngineDetail.as_view(), "arm-compute-engine"),
    arm(f"{ENGINES}/<engine>/check", compute_engines.CheckEngine.as_view(), "arm-check-engine"),
    arm(f"{ENGINES}/<engine>/drain", compute_engines.DrainEngine.as_view(), "arm-drain-engine"),
    arm(f"{WORKSPACE}/onlineEndpoints", online_endpoints.EndpointList.as_view(), "arm-endpoints"),
    arm(ENDPOINT, online_endpoints.EndpointDetail.as_view(), "arm-endpoint"),
    arm(f"{ENDPOINT}/listKeys", online_endpoints.ListKeys.as_view(), "arm-list-keys"),
    arm(
        f"{ENDPOINT}/regenerateKeys",
        online_endpoints.RegenerateKeys.as_view(),
        "arm-regenerate-keys",
    ),
    arm(f"{ENDPOINT}/token", online_endpoints.Token.as_view(), "arm-endpoint-token"),
    arm(f"{ENDPOINT}/deployments", online_deployments.DeploymentList.as_view(), "arm-deployments"),
    arm(DEPLOYMENT, online_deployments.DeploymentDetail.as_view(), "arm-deployment"),
    arm(f"{DEPLOYMENT}/getLogs", online_deployments.GetLogs.as_view(), "arm-get-logs"),
    arm(f"{DEPLOYMENT}/skus", online_deployments.SkuList.as_view(), "arm-skus"),
    arm(f"{DEPLOYMENT}/getBuildLog", instances.GetBuildLog.as_view(), "arm-get-build-log"),
    arm(
        f"{DEPLOYMENT}/debugSession",
        debug_sessions.DebugSessionItem.as_view(),
        "arm-debug-session",
    ),
    arm(f"{DEPLOYMENT}/instances", instances.InstanceList.as_view(), "arm-instances"),
    arm(f"{INSTANCE}/restart", instances.RestartInstance.as_view(), "arm-restart-instance"),
    arm(f"{INSTANCE}/drain", instances.DrainInstance.as_view(), "arm-drain-instance"),
    arm(
        f"{WORKSPACE}/batchEndpoints",
        batch_endpoints.BatchEndpointList.as_view(),
        "arm-batch-endpoints",
    ),
    arm(BATCH_ENDPOINT, batch_endpoints.BatchEndpointDetail.as_view(), "arm-batch-endpoint"),
    arm(f"{BATCH_ENDPOINT}/listKeys", batch_endpoints.ListKeys.as_view(), "arm-batch-list-keys"),
    arm(
        f"{BATCH_ENDPOINT}/deployments",
        batch_deployments.BatchDeploymentList.as_view(),
        "arm-batch-deployments",
    ),
    arm(
        BATCH_DEPLOYMENT,
        batch_deployments.BatchDeploymentDetail.as_view(),
        "arm-batch-deployment",
    ),
    arm(
        f"mferp/managementfrontend/{BATCH_ENDPOINT}/jobs",
        jobs.JobsOfEndpoint.as_view(),
        "batch-endpoint-jobs",
    ),
    arm(
        f"mferp/managementfrontend/{BATCH_DEPLOYMENT}/jobs",
        jobs.JobsOfEndpoint.as_view(),
        "batch-deployment-jobs",
    ),
    arm("batch/<endpoint>/jobs", jobs.BatchJobs.as_view(), "batch-jobs"),
    arm("batch/<endpoint>/jobs/<job>", jobs.BatchJob.as_view(), "batch-job"),
    arm(f"{WORKSPACE}/jobs", jobs.JobList.as_view(), "arm-jobs"),
    arm(f"{WORKSPACE}/jobs/<job>", jobs.JobDetail.as_view(), "arm-job"),
    arm(f"{WORKSPACE}/jobs/<job>/cancel", jobs.CancelJob.as_view(), "arm-cancel-job"),
    arm(RUN, jobs.Run.as_view(), "run"),
    arm(f"{RUN}/details", jobs.Run.as_view(), "run-details"),
    arm(f"{RUN}/children", jobs.Run.as_view(), "run-children"),
    arm(f"history/v1.0/{WORKSPACE}/rundata", jobs.RunData.as_view(), "run-data"),
    path("discovery", jobs.Discovery.as_view(), name="discovery"),
    arm(f"{WORKSPACE}/datastores", datastores.DatastoreList.as_view(), "arm-datastores"),
    arm(DATASTORE, datastores.DatastoreDetail.as_view(), "arm-datastore"),
    arm(f"{DATASTORE}/listSecrets", datastores.ListSecrets.as_view(), "arm-list-secrets"),
    arm(
        f"{WORKSPACE}/codes/<name>/versions/<version>/startPendingUpload",
        datastores.PendingUpload.as_view(),
        "arm-pending-upload",
    ),
    *family(assets.MODELS, assets.ModelVersionDetail),
    *family(environments.ENVIRONMENTS, environments.EnvironmentVersionDetail),
    arm(
        f"{ENVIRONMENT}/check",
        environment_builds.CheckEnvironment.as_view(),
        "arm-check-environment",
    ),
    arm(f"{WORKSPACE}/images", images.ImageList.as_view(), "arm-images"),
    arm(
        f"{WORKSPACE}/images/removeUnused",
        images.RemoveUnusedImages.as_view(),
        "arm-remove-unused-images",
    ),
    arm(f"{ENVIRONMENT}/builds", environment_builds.BuildList.as_view(), "arm-environment-builds"),
    arm(
        f"{ENVIRONMENT}/builds/<build>",
        environment_builds.BuildDetail.as_view(),
        "arm-environment-build",
    ),
    arm(
        f"{ENVIRONMENT}/builds/<build>/cancel",
        environment_builds.CancelBuild.as_view(),
        "arm-cancel-environment-build",
    ),
    arm(
        f"{ENVIRONMENT}/builds/<build>/getLog",
        environment_builds.GetBuildLog.as_view(),
        "arm-environment-build-log",
    ),
    *family(assets.CODES, assets.CodeVersionDetail, assets.CodeVersionList),
    *family(data.DATA, data.DataVersionDetail),
    *family(components.COMPONENTS, components.ComponentVersionDetail),
    arm(
        f"{AUTHORIZATION}/roleAssignments",
        role_assignments.AssignmentList.as_view(),
        "arm-role-assignments",
    ),
    arm(
        f"{AUTHORIZATION}/roleAssignments/<assignment>",
        role_assignments.AssignmentDetail.as_view(),
        "arm-role-assignment",
    ),
    arm(
        f"{AUTHORIZATION}/roleDefinitions",
        role_assignments.DefinitionList.as_view(),
        "arm-role-definitions",
    ),
    arm(
        f"{AUTHORIZATION}/roleDefinitions/<definition>",
        role_assignments.DefinitionDetail.as_view(),
        "arm-role-definition",
    ),
    arm(
        f"{WORKSPACE}/servicePrincipals",
        service_principals.PrincipalList.as_view(),
        "arm-principals",
    ),
    arm(PRINCIPAL, service_principals.PrincipalDetail.as_view(), "arm-principal"),
    arm(f"{PRINCIPAL}/secrets", service_principals.SecretList.as_view(), "arm-principal-secrets"),
    arm(
        f"{PRINCIPAL}/secrets/<secret>",
        service_principals.SecretDetail.as_view(),
        "arm-principal-secret",
    ),
    arm(
        f"{PRINCIPAL}/federatedCredentials",
        service_principals.FederatedList.as_view(),
        "arm-federated-credentials",
    ),
    arm(
        f"{PRINCIPAL}/federatedCredentials/<credential>",
        service_principals.FederatedDetail.as_view(),
        "arm-federated-credential",
    ),
    re_path(
        rf"^(?:{'|'.join(map(any_case, OURS))})(?:/[\s\S]*)?$",
        workspaces.Unsupported.as_view(),
        name="arm-unsupported",
    ),
    re_path(r"^storage/[\s\S]*$", blobs.nowhere, name="blobs-unsupported"),
]
