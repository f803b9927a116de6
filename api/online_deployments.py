"""Online deployments: read, write, scale, logs, sizes (wire 12.2)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from api import references
from api.arm import OWN_PROPERTIES, ArmView, Json, page, system_data, type_of, word_of
from api.bodies import Body, iso_duration
from api.data_collector import parse_collector, present_collector
from api.online_endpoints import NETWORK_ACCESS, find_endpoint
from api.operations import Ticket, started, write_of
from deployments.changes import create_deployment, delete_deployment, spec_of, update_deployment
from deployments.models import OnlineDeployment
from deployments.specs import DeploymentSpec
from monitoring import logs
from workspaces import access, quota
from workspaces.errors import Conflict, NotFound, UserError
from workspaces.models import User, Workspace

READ = "onlineEndpoints/deployments/read"
WRITE = "onlineEndpoints/deployments/write"
HIDDEN = "********"
TYPES: dict[str, str] = {
    "Managed": OnlineDeployment.Type.MANAGED,
    "Kubernetes": OnlineDeployment.Type.KUBERNETES,
}
SCALE_TYPES: dict[str, str] = {"Default": "default", "TargetUtilization": "target_utilization"}
CONTAINERS = {
    "InferenceServer": logs.CONSOLE,
    "StorageInitializer": logs.STORAGE_INITIALIZER,
}
LINES = 500
# Azure's field, ours, and whether it is a time.
PROBE_FIELDS = (
    ("initialDelay", "initial_delay", True),
    ("period", "period", True),
    ("timeout", "timeout", True),
    ("successThreshold", "success_threshold", False),
    ("failureThreshold", "failure_threshold", False),
)


class DeploymentList(ArmView):
    actions = {"GET": READ}

    def get(self, request: Request, endpoint: str) -> Response:
        parent = find_endpoint(self.workspace, endpoint)
        shows_values = access.role_may(self.role, WRITE)
        return page(
            request,
            _rows(parent.deployments.all()),
            lambda row: present(row, shows_values=shows_values),
        )


class DeploymentDetail(ArmView):
    actions = {
        "GET": READ,
        "PUT": WRITE,
        "PATCH": WRITE,
        "DELETE": "onlineEndpoints/deployments/delete",
    }

    def get(self, request: Request, endpoint: str, deployment: str) -> Response:
        found = find_deployment(self.workspace, endpoint, deployment)
        shows_values = access.role_may(self.role, WRITE)
        return Response(present(found, shows_values=shows_values))

    def put(self, request: Request, endpoint: str, deployment: str) -> Response:
        """The whole wish. The same again changes nothing, whatever state it is in."""
        parent = find_endpoint(self.workspace, endpoint)
        current = _rows(parent.deployments.filter(name__iexact=deployment)).first()
        name = current.name if current else deployment
        wanted = parse(self.workspace, self.body(), DeploymentSpec(name=name), by=self.caller)
        if current is None:
            try:
                made = create_deployment(parent, wanted, by=self.caller)
            except Conflict:
                # The same request may have come twice at once; then the other one made it.
                current = _rows(parent.deployments.filter(name__iexact=deployment)).first()
                if current is None:
                    raise
            else:
                return self._written(made, status=201)
        return self._written(update_deployment(current, wanted, by=self.caller))

    def patch(self, request: Request, endpoint: str, deployment: str) -> Response:
        """What the body mentions, such as `sku.capacity`; tags and variables key by key."""
        current = find_deployment(self.workspace, endpoint, deployment)
        wanted = parse(self.workspace, self.body(), spec_of(current), by=self.caller, merges=True)
        return self._written(update_deployment(current, wanted, by=self.caller))

    def delete(self, request: Request, endpoint: str, deployment: str) -> Response:
        current = OnlineDeployment.objects.filter(
            endpoint__workspace=self.workspace,
            endpoint__name__iexact=endpoint,
            name__iexact=deployment,
        ).first()
        if current is None:
            return Response(status=204)
        delete_deployment(current, by=self.caller)
        ticket = Ticket("deployment", is_delete=True, pk=current.pk)
        return started(request, self.workspace, ticket, None, status=202)

    def _written(self, deployment: OnlineDeployment, *, status: int = 200) -> Response:
        fresh = _rows(OnlineDeployment.objects.filter(pk=deployment.pk)).get()
        told = present(fresh, shows_values=True)
        return started(self.request, self.workspace, write_of(fresh), told, status=status)


class GetLogs(ArmView):
    actions = {"POST": "onlineEndpoints/deployments/getLogs/action"}

    def post(self, request: Request, endpoint: str, deployment: str) -> Response:
        found = find_deployment(self.workspace, endpoint, deployment)
        body = Body(self.body())
        source = body.choice("containerType", CONTAINERS, logs.CONSOLE)
        tail = body.whole("tail", LINES)
        body.finish()
        if tail < 1:
            raise UserError(f"tail is {tail}. It must be at least 1.", target="tail")
        lines = logs.tail(found, source=source, lines=tail).lines
        return Response({"content": "\n".join(line.text for line in lines)})


class SkuList(ArmView):
    actions = {"GET": READ}

    def get(self, request: Request, endpoint: str, deployment: str) -> Response:
        """The one SKU there is, and between which counts its capacity may be chosen."""
        found = find_deployment(self.workspace, endpoint, deployment)
        most = quota.limit_of(self.workspace, "instances_per_deployment")
        sku = {
            "resourceType": type_of("onlineEndpoints/deployments"),
            "sku": {"name": "Default"},
            "capacity": {
                "minimum": 1,
                "maximum": most,
                "default": found.instance_count,
                "scaleType": "Manual",
            },
        }
        return Response({"value": [sku]})


def find_deployment(workspace: Workspace, endpoint: str, name: str) -> OnlineDeployment:
    """The deployment of that name, without regard to case."""
    parent = find_endpoint(workspace, endpoint)
    found = _rows(parent.deployments.filter(name__iexact=name)).first()
    if found is None:
        raise NotFound(
            f"Endpoint '{parent.name}' has no deployment '{name}'.", target="deployment"
        )
    return found


def parse(
    workspace: Workspace,
    values: Mapping[str, Any],
    base: DeploymentSpec,
    *,
    by: User,
    merges: bool = False,
) -> DeploymentSpec:
    """The wish that a body states; what it does not mention is as in `base`."""
    body = Body(values)
    sku = body.section("sku")
    properties = body.section("properties").without("properties", OWN_PROPERTIES)
    requests = properties.section("requestSettings")
    code = properties.section("codeConfiguration")
    read = Body.merged_texts if merges else Body.texts
    facts: dict[str, Any] = {
        "name": base.name,
        "tags": read(body, "tags", base.tags),
        "instance_count": sku.whole("capacity", base.instance_count),
        "type": properties.choice("endpointComputeType", TYPES, base.type),
        "description": properties.text("description", base.description),
        "properties": read(properties, "properties", base.properties),
        "model_mount_path": properties.text("modelMountPath", base.model_mount_path, longest=255),
        "scoring_script": code.text("scoringScript", base.scoring_script, longest=500),
        "environment_variables": read(
            properties, "environmentVariables", base.environment_variables
        ),
        "instance_type": properties.text("instanceType", base.instance_type, longest=60),
        "scale_type": properties.section("scaleSettings").choice(
            "scaleType", SCALE_TYPES, base.scale_type
        ),
        "request_timeout_ms": _milliseconds(requests, "requestTimeout", base.request_timeout_ms),
        "max_queue_wait_ms": _milliseconds(requests, "maxQueueWait", base.max_queue_wait_ms),
        "max_concurrent_requests_per_instance": requests.whole(
            "maxConcurrentRequestsPerInstance", base.max_concurrent_requests_per_instance
        ),
        "liveness_probe": _probe(properties, "livenessProbe", base.liveness_probe, merges),
        "readiness_probe": _probe(properties, "readinessProbe", base.readiness_probe, merges),
        "startup_probe": _probe(properties, "startupProbe", base.startup_probe, merges),
        "app_insights_enabled": properties.flag("appInsightsEnabled", base.app_insights_enabled),
        "egress_public_network_access": properties.choice(
            "egressPublicNetworkAccess", NETWORK_ACCESS, base.egress_public_network_access
        ),
        "private_network_connection": properties.flag(
            "privateNetworkConnection", base.private_network_connection
        ),
        "data_collector": parse_collector(properties, base.data_collector),
    }
    model = properties.text("model", longest=2000)
    code_reference = code.text("codeId", longest=2000)
    environment = properties.text("environmentId", longest=2000)
    facts["model"] = base.model
    if model:
        facts["model"] = body.run(
            lambda: references.find_model(workspace, model, target="properties.model"), None
        )
    facts["code"] = base.code
    if code_reference:
        target = "properties.codeConfiguration.codeId"
        facts["code"] = body.run(
            lambda: references.find_code(workspace, code_reference, target=target), None
        )
    facts["environment"] = base.environment
    if environment:
        target = "properties.environmentId"
        facts["environment"] = body.run(
            lambda: references.find_environment(workspace, environment, target=target, by=by), None
        )
    body.finish()
    return DeploymentSpec(**facts)


def present(deployment: OnlineDeployment, *, shows_values: bool) -> Json:
    """`shows_values`: whether environment variables are told in full, to those who could change them."""
    workspace = deployment.endpoint.workspace
    return {
        "id": f"{workspace.arm_id}/onlineEndpoints/{deployment.endpoint.name}/deployments/{deployment.name}",
        "name": deployment.name,
        "type": type_of("onlineEndpoints/deployments"),
        "location": deployment.endpoint.location,
        "kind": word_of(TYPES, deployment.type),
        "tags": deployment.tags,
        "sku": {"name": "Default", "capacity": deployment.instance_count},
        "properties": _present_properties(deployment, shows_values),
        "systemData": system_data(deployment),
    }


def _present_properties(deployment: OnlineDeployment, shows_values: bool) -> Json:
    workspace = deployment.endpoint.workspace
    told: Json = {
        "endpointComputeType": word_of(TYPES, deployment.type),
        "provisioningState": deployment.state,
        "description": deployment.description,
        "properties": dict(deployment.properties),
        "scaleSettings": {"scaleType": "Default"},
    }
    wanted = deployment.revision
    if wanted is None:  # only while it is being deleted
        return told
    variables = wanted.environment_variables
    told |= {
        "instanceType": wanted.instance_type.name,
        "environmentVariables": variables if shows_values else dict.fromkeys(variables, HIDDEN),
        "scaleSettings": {"scaleType": word_of(SCALE_TYPES, wanted.scale_type)},
        "requestSettings": {
            "requestTimeout": iso_duration(timedelta(milliseconds=wanted.request_timeout_ms)),
            "maxConcurrentRequestsPerInstance": wanted.max_concurrent_requests_per_instance,
            "maxQueueWait": iso_duration(timedelta(milliseconds=wanted.max_queue_wait_ms)),
        },
        "livenessProbe": _present_probe(wanted.liveness_probe),
        "readinessProbe": _present_probe(wanted.readiness_probe),
        "appInsightsEnabled": wanted.app_insights_enabled,
        "egressPublicNetworkAccess": word_of(NETWORK_ACCESS, wanted.egress_public_network_access),
        "privateNetworkConnection": wanted.private_network_connection,
    }
    if wanted.model_version is not None:
        told["model"] = references.model_id(workspace, wanted.model_version)
    if wanted.environment_version is not None:
        told["environmentId"] = references.environment_id(workspace, wanted.environment_version)
    if wanted.code_version is not None:
        told["codeConfiguration"] = {
            "codeId": references.code_id(workspace, wanted.code_version),
            "scoringScript": wanted.scoring_script,
        }
    if wanted.startup_probe:
        told["startupProbe"] = _present_probe(wanted.startup_probe)
    if wanted.model_mount_path:
        told["modelMountPath"] = wanted.model_mount_path
    if wanted.data_collector:
        told["dataCollector"] = present_collector(wanted.data_collector)
    return told


def _rows(rows: QuerySet[OnlineDeployment]) -> QuerySet[OnlineDeployment]:
    """With all that `present` reads, in one query."""
    return rows.select_related(
        "endpoint__workspace",
        "created_by",
        "revision__instance_type",
        "revision__model_version__model",
        "revision__code_version__code",
        "revision__environment_version__environment",
    )


def _milliseconds(body: Body, name: str, default: int) -> int:
    value = body.duration(name, timedelta(milliseconds=default))
    return round(value / timedelta(milliseconds=1))


def _probe(body: Body, name: str, base: Mapping[str, Any], merges: bool) -> dict[str, Any]:
    probe = dict(base) if merges else {}
    section = body.section(name)
    for word, ours, is_time in PROBE_FIELDS:
        if not section.has(word):
            continue
        if is_time:
            seconds = section.duration(word, timedelta()) / timedelta(seconds=1)
            probe[ours] = int(seconds) if seconds.is_integer() else seconds
        else:
            probe[ours] = section.whole(word, 1)
    return probe


def _present_probe(probe: Mapping[str, int]) -> Json:
    """What was said of it; defaults are left out, so that sending the answer back changes nothing."""
    return {
        word: iso_duration(timedelta(seconds=probe[ours])) if is_time else probe[ours]
        for word, ours, is_time in PROBE_FIELDS
        if ours in probe
    }
