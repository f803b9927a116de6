"""From rows to the gateway: what changed is announced on commit, and read back as routes.

Whoever runs deployments tells here, downwards, where they answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.db import connection, transaction
from django.db.models import F

from endpoints.gateway.resources import DeploymentRoute, EndpointRoute
from endpoints.models import EndpointState, OnlineEndpoint, Upstream
from workspaces import vault

CHANNEL = "portico_gateway"


@dataclass(frozen=True)
class UpstreamFacts:
    """What the gateway needs to know of a deployment besides its addresses."""

    instance_count: int
    max_concurrent_requests_per_instance: int
    request_timeout_ms: int
    scoring_path: str = "/score"


def touch(endpoint: OnlineEndpoint) -> None:
    """Announce, when this transaction commits, that the endpoint's routes changed."""
    OnlineEndpoint.objects.filter(pk=endpoint.pk).update(
        published_version=F("published_version") + 1
    )
    _announce(endpoint.pk)


def forget(endpoint: OnlineEndpoint) -> None:
    """Announce that the endpoint is gone."""
    _announce(endpoint.pk)


def add_upstream(endpoint: OnlineEndpoint, deployment_name: str, facts: UpstreamFacts) -> None:
    """Make the deployment known (or change its facts); it can be named in traffic from now on."""
    Upstream.objects.update_or_create(
        endpoint=endpoint, deployment_name=deployment_name, defaults=vars(facts)
    )
    touch(endpoint)


def set_addresses(endpoint: OnlineEndpoint, deployment_name: str, addresses: list[str]) -> bool:
    """Say where the deployment answers now; True when that changed anything."""
    changed = (
        Upstream.objects.filter(endpoint=endpoint, deployment_name=deployment_name)
        .exclude(addresses=sorted(addresses))
        .update(addresses=sorted(addresses))
    )
    if changed:
        touch(endpoint)
    return bool(changed)


@transaction.atomic
def remove_upstream(endpoint: OnlineEndpoint, deployment_name: str) -> None:
    """Take the deployment out of the routes, and of the split if it is still named there."""
    Upstream.objects.filter(endpoint=endpoint, deployment_name=deployment_name).delete()
    fresh = OnlineEndpoint.objects.select_for_update().filter(pk=endpoint.pk).first()
    if fresh is None:
        return
    for split in (fresh.traffic, fresh.mirror_traffic):
        split.pop(deployment_name, None)
    fresh.save(update_fields=["traffic", "mirror_traffic"])
    touch(fresh)


def versions() -> dict[int, int]:
    """Endpoint id → published version, of all endpoints the gateway should serve."""
    rows = OnlineEndpoint.objects.exclude(state=EndpointState.DELETING)
    return dict(rows.values_list("pk", "published_version"))


def routes(ids: list[int] | None = None) -> Iterator[tuple[int, EndpointRoute]]:
    """The routes of these endpoints (all when None), by id; endpoints that are being deleted are left out."""
    rows = OnlineEndpoint.objects.exclude(state=EndpointState.DELETING).prefetch_related(
        "upstreams"
    )
    if ids is not None:
        rows = rows.filter(pk__in=ids)
    for endpoint in rows.iterator(chunk_size=500):
        yield endpoint.pk, route_of(endpoint)


def route_of(endpoint: OnlineEndpoint) -> EndpointRoute:
    """What the gateway must know of one endpoint."""
    uses_keys = endpoint.auth_mode == OnlineEndpoint.AuthMode.KEY
    sealed = (endpoint.primary_key_sealed, endpoint.secondary_key_sealed) if uses_keys else ()
    return EndpointRoute(
        name=endpoint.name,
        workspace=str(endpoint.workspace_id),
        auth_mode=endpoint.auth_mode,
        public=endpoint.public_network_access == OnlineEndpoint.PublicNetworkAccess.ENABLED,
        keys=tuple(vault.unseal(text) for text in sealed),
        deployments=tuple(
            DeploymentRoute(
                name=upstream.deployment_name,
                weight=endpoint.traffic.get(upstream.deployment_name, 0),
                mirror_percent=endpoint.mirror_traffic.get(upstream.deployment_name, 0),
                addresses=tuple(upstream.addresses),
                max_concurrent_requests_per_instance=upstream.max_concurrent_requests_per_instance,
                instance_count=upstream.instance_count,
                request_timeout_ms=upstream.request_timeout_ms,
                scoring_path=upstream.scoring_path,
            )
            for upstream in sorted(endpoint.upstreams.all(), key=lambda row: row.deployment_name)
        ),
    )


def _announce(endpoint_id: int) -> None:
    # PostgreSQL delivers a notification when the transaction commits, and only then.
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, str(endpoint_id)])
