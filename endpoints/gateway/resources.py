"""Turns endpoints into Envoy resources. Pure: values in, JSON-able dictionaries out.

One scope and one RouteConfiguration per endpoint, one Cluster and one ClusterLoadAssignment per
deployment, so that a change touches only the resources of the endpoint that changed.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ASSIGNMENT = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
SCOPE = "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration"
ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
EXTENSION = "type.googleapis.com/envoy.extensions."

DEPLOYMENT_HEADER = "azureml-model-deployment"
MIRRORED_HEADER = "x-gw-mirrored"
# A model shares its host name, which cookies and these promises go by, with the studio and with other models.
FOR_THE_WHOLE_HOST = [
    *("alt-svc", "clear-site-data", "nel", "public-key-pins", "report-to", "reporting-endpoints"),
    *("service-worker-allowed", "set-cookie", "set-cookie2", "strict-transport-security"),
]
AML_TOKEN = "aml_token"
AAD_TOKEN = "aad_token"

# What a retry or a mirrored copy may hold in memory per request; a larger body is streamed and
# not retried.
RETRY_BUFFER_BYTES = 10 * 1024 * 1024
NO_TRAFFIC = (
    "No valid deployments to route to. Please check that the endpoint has at least one deployment"
    " with positive weight values or use a deployment specific header to route."
)
UNKNOWN_DEPLOYMENT = (
    f"The {DEPLOYMENT_HEADER} header names a deployment that this endpoint does not have. Name"
    " one of its deployments, or leave the header out to follow the traffic split."
)
# Loopback, link-local and the private ranges: who may call an endpoint that is not public.
PRIVATE_RANGES = (
    ("127.0.0.0", 8),
    ("10.0.0.0", 8),
    ("172.16.0.0", 12),
    ("192.168.0.0", 16),
    ("169.254.0.0", 16),
    ("::1", 128),
    ("fc00::", 7),
    ("fe80::", 10),
)

ResourceKey = tuple[str, str]
Resource = dict[str, Any]
Resources = Mapping[ResourceKey, Resource]


@dataclass(frozen=True)
class DeploymentRoute:
    """One deployment as the gateway sees it. `addresses` are those of healthy instances only.

    `weight` and `mirror_percent` are percentages; an address is `unix:/path` or `host:port`.
    """

    name: str
    weight: int
    mirror_percent: int
    addresses: tuple[str, ...]
    max_concurrent_requests_per_instance: int
    instance_count: int
    request_timeout_ms: int
    scoring_path: str = "/score"


@dataclass(frozen=True)
class EndpointRoute:
    """One endpoint as the gateway sees it. An unknown `auth_mode`, or no key, lets nobody in.

    `max_body_bytes` and `requests_per_second` 0 mean: no limit of its own. `public=False` admits
    callers from private networks only.
    """

    name: str
    auth_mode: str
    deployments: tuple[DeploymentRoute, ...]
    keys: tuple[str, ...] = ()
    max_body_bytes: int = 0
    requests_per_second: int = 0
    cors_origins: tuple[str, ...] = ()
    public: bool = True
    workspace: str = ""
    """Its id, which a directory token must name."""

    def __repr__(self) -> str:
        return f"EndpointRoute({self.name!r}, {self.auth_mode!r}, {len(self.keys)} keys)"


def endpoint_resources(
    endpoint: EndpointRoute, *, region: str = ""
) -> dict[ResourceKey, Resource]:
    """Everything Envoy needs to serve `endpoint`, keyed by type URL and resource name.

    With a `region`, the endpoint also answers at `<endpoint>.<region>.<domain>`.
    """
    resources: dict[ResourceKey, Resource] = {}
    for deployment in endpoint.deployments:
        name = cluster_name(endpoint.name, deployment.name)
        resources[CLUSTER, name] = cluster(name, deployment)
        resources[ASSIGNMENT, name] = assignment(name, deployment.addresses)
    for scope in scopes(endpoint.name, region=region):
        resources[SCOPE, scope["name"]] = scope
    resources[ROUTES, endpoint.name] = route_configuration(endpoint)
    return resources


def cluster_name(endpoint: str, deployment: str) -> str:
    """Splits back at `__`, since names hold no underscore. A dot would break statistics."""
    return f"{endpoint}__{deployment}"


def scopes(endpoint: str, *, region: str = "") -> list[Resource]:
    """The keys under which the endpoint is found: its name in lower case (which is in every URL
    we hand out), as its owner writes it, and by host name."""
    lower = endpoint.lower()
    found = [_scope(endpoint, endpoint, endpoint)]
    if lower != endpoint:
        found.append(_scope(f"{endpoint}~lower", endpoint, lower))
    if region:
        found.append(_scope(f"{endpoint}~host", endpoint, lower, region.lower()))
    return found


def _scope(name: str, routes: str, *fragments: str) -> Resource:
    return {
        "name": name,
        "route_configuration_name": routes,
        "key": {"fragments": [{"string_key": fragment} for fragment in fragments]},
    }


def route_configuration(endpoint: EndpointRoute) -> Resource:
    """The endpoint's routes: by deployment header first, then the split, then a 404 that tells."""
    host: Resource = {
        "name": endpoint.name,
        "domains": ["*"],
        "request_body_buffer_limit": RETRY_BUFFER_BYTES,
        "metadata": {"filter_metadata": {"gw": {"endpoint": endpoint.name}}},
        "request_headers_to_remove": [MIRRORED_HEADER],
        "response_headers_to_remove": FOR_THE_WHOLE_HOST,
        "response_headers_to_add": [
            # The instance's own value wins: it knows the caller's deprecated x-ms-request-id.
            header_to_set("x-ms-request-id", "%REQUEST_HEADER(X-REQUEST-ID)%", "ADD_IF_ABSENT"),
            header_to_set("x-ms-client-request-id", "%REQUEST_HEADER(X-MS-CLIENT-REQUEST-ID)%"),
        ],
        "routes": [*_header_routes(endpoint), *_split_routes(endpoint)],
        "typed_per_filter_config": _filters(endpoint),
    }
    # A route may arrive before its cluster: with validation on, the whole update would fail.
    return {"name": endpoint.name, "validate_clusters": False, "virtual_hosts": [host]}


def _header_routes(endpoint: EndpointRoute) -> Iterable[Resource]:
    for deployment in endpoint.deployments:
        named = {
            "name": DEPLOYMENT_HEADER,
            "string_match": {"exact": deployment.name, "ignore_case": True},
        }
        yield from _deployment_routes(endpoint, deployment, "header", headers=[named])
    yield {
        "name": f"{endpoint.name}/-/unknown",
        "match": {"prefix": "/", "headers": [{"name": DEPLOYMENT_HEADER, "present_match": True}]},
        "direct_response": {"status": 404, "body": {"inline_string": UNKNOWN_DEPLOYMENT}},
    }


def _split_routes(endpoint: EndpointRoute) -> Iterable[Resource]:
    """One route per deployment with traffic, so that each keeps its own timeout and path.

    Envoy draws one random number per request and compares it with every route's fraction, so the
    fractions are cumulative: 90/10 is "below 90", then "below 100".
    """
    mirrors = [mirror(endpoint, deployment) for deployment in mirrored(endpoint)]
    live = [deployment for deployment in endpoint.deployments if deployment.weight > 0]
    reached = 0
    for deployment in live:
        reached += deployment.weight
        # HUNDRED here and MILLION for the mirror: both use the same random number, and with one
        # denominator only the first deployment's requests would be mirrored.
        share = {"default_value": {"numerator": reached, "denominator": "HUNDRED"}}
        match = {} if deployment is live[-1] else {"runtime_fraction": share}
        for route in _deployment_routes(endpoint, deployment, "split", **match):
            if mirrors:
                route["route"]["request_mirror_policies"] = mirrors
            yield route
    if not live:
        yield {
            "name": f"{endpoint.name}/-/none",
            "match": {"prefix": "/"},
            "direct_response": {"status": 404, "body": {"inline_string": NO_TRAFFIC}},
        }


def mirrored(endpoint: EndpointRoute) -> list[DeploymentRoute]:
    """Deployments that get copies. One with live traffic never does: it would be asked twice."""
    return [d for d in endpoint.deployments if d.mirror_percent > 0 and d.weight <= 0]


def mirror(endpoint: EndpointRoute, deployment: DeploymentRoute) -> Resource:
    """A share of requests is copied; the copy's answer is thrown away and costs no caller time.

    The copy keeps the path of the original: a mirror with another scoring path gets it wrong.
    """
    return {
        "cluster": cluster_name(endpoint.name, deployment.name),
        "runtime_fraction": {
            "default_value": {
                "numerator": deployment.mirror_percent * 10_000,
                "denominator": "MILLION",
            }
        },
        "disable_shadow_host_suffix_append": True,
        "request_headers_mutations": [
            {"append": header_to_set(MIRRORED_HEADER, "true")},
        ],
    }


def _deployment_routes(
    endpoint: EndpointRoute, deployment: DeploymentRoute, kind: str, **match: Any
) -> Iterable[Resource]:
    """One route to the deployment; a second, earlier one if it scores elsewhere than at /score."""
    name = re.escape(endpoint.name.lower())
    if deployment.scoring_path != "/score":
        yield _route(
            endpoint,
            deployment,
            name=f"{endpoint.name}/{deployment.name}/{kind}/score",
            match={"safe_regex": {"regex": f"(?i)(/{name})?/score"}, **match},
            rewrite=(f"(?i)^(/{name})?/score$", deployment.scoring_path),
        )
    # The scope has chosen the endpoint, by path or by host name, so any path belongs to it; only
    # its own name in front is taken off.
    yield _route(
        endpoint,
        deployment,
        name=f"{endpoint.name}/{deployment.name}/{kind}",
        match={"prefix": "/", **match},
        rewrite=(f"(?i)^/{name}(/|$)", "/"),
    )


def _route(
    endpoint: EndpointRoute,
    deployment: DeploymentRoute,
    *,
    name: str,
    match: Resource,
    rewrite: tuple[str, str],
) -> Resource:
    pattern, substitution = rewrite
    return {
        "name": name,
        "match": match,
        # Named in the answer (listeners.py), though only to callers who got past the key check.
        "metadata": {"filter_metadata": {"gw": {"deployment": deployment.name}}},
        "route": {
            "cluster": cluster_name(endpoint.name, deployment.name),
            "regex_rewrite": {"pattern": {"regex": pattern}, "substitution": substitution},
            "timeout": _seconds(deployment.request_timeout_ms),
            # Off, or the connection manager's five minutes cut a model that thinks in silence.
            "idle_timeout": "0s",
            "retry_policy": {
                # Never after the request may have reached a model: scoring is not idempotent.
                "retry_on": "connect-failure,refused-stream,reset-before-request",
                "num_retries": 2,
                "retry_host_predicate": [
                    {
                        "name": "envoy.retry_host_predicates.previous_hosts",
                        "typed_config": {
                            "@type": f"{EXTENSION}retry.host.previous_hosts.v3"
                            ".PreviousHostsPredicate"
                        },
                    }
                ],
                # With two instances, one of them dead, each draw finds the dead one again in half of the cases.
                "host_selection_retry_max_attempts": 12,
            },
        },
    }


def _filters(endpoint: EndpointRoute) -> Resource:
    """What this endpoint opens or tightens; the listener's defaults let nobody in."""
    filters: Resource = {}
    if endpoint.auth_mode == "key" and any(endpoint.keys):
        filters["envoy.filters.http.api_key_auth"] = key_filter(endpoint.keys)
    elif endpoint.auth_mode in (AML_TOKEN, AAD_TOKEN):
        filters["envoy.filters.http.api_key_auth"] = {
            "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig",
            "disabled": True,
        }
        filters["envoy.filters.http.jwt_authn"] = {
            "@type": f"{EXTENSION}filters.http.jwt_authn.v3.PerRouteConfig",
            "requirement_name": endpoint.auth_mode,
        }
    principals = list(_principals(endpoint))
    if principals:
        filters["envoy.filters.http.rbac"] = {
            "@type": f"{EXTENSION}filters.http.rbac.v3.RBACPerRoute",
            "rbac": {
                "rules": {
                    "action": "ALLOW",
                    "policies": {
                        "caller": {
                            "permissions": [{"any": True}],
                            "principals": [{"and_ids": {"ids": principals}}],
                        }
                    },
                }
            },
        }
    if endpoint.max_body_bytes:
        filters["envoy.filters.http.buffer"] = {
            "@type": f"{EXTENSION}filters.http.buffer.v3.BufferPerRoute",
            "buffer": {"max_request_bytes": endpoint.max_body_bytes},
        }
    if endpoint.requests_per_second:
        filters["envoy.filters.http.local_ratelimit"] = _rate_limit(endpoint.requests_per_second)
    if endpoint.cors_origins:
        filters["envoy.filters.http.cors"] = _cors(endpoint.cors_origins)
    return filters


def key_filter(keys: Iterable[str]) -> Resource:
    """Admits the holder of any of `keys`. The one place to change if Envoy drops this filter."""
    # Envoy rejects the whole resource when one key is there twice.
    distinct = dict.fromkeys(key for key in keys if key)
    return {
        "@type": f"{EXTENSION}filters.http.api_key_auth.v3.ApiKeyAuthPerRoute",
        "credentials": [
            {"key": key, "client": f"key{number}"} for number, key in enumerate(distinct, 1)
        ],
        "key_sources": [{"header": "authorization"}],
        "forwarding": {"hide_credentials": True},
    }


def _principals(endpoint: EndpointRoute) -> Iterable[Resource]:
    if endpoint.auth_mode == AML_TOKEN:
        # The signature is checked before; this keeps a token of one endpoint out of the others.
        yield {
            "sourced_metadata": {
                "metadata_matcher": {
                    "filter": "envoy.filters.http.jwt_authn",
                    "path": [{"key": AML_TOKEN}, {"key": "endpoint"}],
                    "value": {"string_match": {"exact": endpoint.name, "ignore_case": True}},
                }
            }
        }
    if endpoint.auth_mode == AAD_TOKEN:
        # The token names the workspaces where its holder may score; `*` is an administrator's.
        yield {"or_ids": {"ids": [_may_score(name) for name in (endpoint.workspace, "*") if name]}}
    if not endpoint.public:
        ranges = [
            {"remote_ip": {"address_prefix": address, "prefix_len": length}}
            for address, length in PRIVATE_RANGES
        ]
        yield {"or_ids": {"ids": ranges}}


def _may_score(workspace: str) -> Resource:
    return {
        "sourced_metadata": {
            "metadata_matcher": {
                "filter": "envoy.filters.http.jwt_authn",
                "path": [{"key": AAD_TOKEN}, {"key": "score"}],
                "value": {"list_match": {"one_of": {"string_match": {"exact": workspace}}}},
            }
        }
    }


def _rate_limit(requests_per_second: int) -> Resource:
    return {
        "@type": f"{EXTENSION}filters.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "endpoint",
        "token_bucket": {
            "max_tokens": requests_per_second,
            "tokens_per_fill": requests_per_second,
            "fill_interval": "1s",
        },
        "filter_enabled": {"default_value": {"numerator": 100}},
        "filter_enforced": {"default_value": {"numerator": 100}},
    }


def _cors(origins: Iterable[str]) -> Resource:
    anyone: Resource = {"safe_regex": {"regex": ".*"}}
    matchers = [anyone if origin == "*" else {"exact": origin} for origin in origins]
    return {
        "@type": f"{EXTENSION}filters.http.cors.v3.CorsPolicy",
        "allow_origin_string_match": matchers,
        "allow_methods": "GET, POST, OPTIONS",
        "allow_headers": f"authorization, content-type, {DEPLOYMENT_HEADER}, x-request-id,"
        " x-ms-client-request-id",
        "expose_headers": f"{DEPLOYMENT_HEADER}, x-request-id, x-ms-request-id,"
        " x-ms-client-request-id, ms-azureml-model-error-statuscode,"
        " ms-azureml-model-error-reason, ms-azureml-model-time",
        "max_age": "3600",
    }


def cluster(name: str, deployment: DeploymentRoute) -> Resource:
    """How to reach the deployment. Holds nothing that changes when an instance comes or goes:
    a changed cluster is rebuilt, and its count of running requests starts again."""
    per_instance = max(1, deployment.max_concurrent_requests_per_instance)
    at_once = 2 * per_instance * max(1, deployment.instance_count)
    thresholds = {
        "max_connections": max(1024, at_once),
        "max_requests": at_once,
        # Counts requests that wait for a connection too: less would refuse a cold burst.
        "max_pending_requests": at_once,
        "retry_budget": {"budget_percent": {"value": 25}, "min_retry_concurrency": 50},
    }
    protocol = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": {"ads": {}, "resource_api_version": "V3"}},
        "connect_timeout": "0.5s",
        "per_connection_buffer_limit_bytes": 65536,
        "lb_policy": "LEAST_REQUEST",
        # Above 0, traffic would go to instances known to be dead.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "ignore_health_on_host_removal": True,
        "circuit_breakers": {"thresholds": [thresholds]},
        # Ejects on failed connects only: a model's own errors must not take its instance out.
        "outlier_detection": {
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 3,
            "enforcing_consecutive_local_origin_failure": 100,
            "enforcing_consecutive_5xx": 0,
            "enforcing_consecutive_gateway_failure": 0,
            "enforcing_success_rate": 0,
            "enforcing_local_origin_success_rate": 0,
            "interval": "1s",
            "base_ejection_time": "5s",
            "max_ejection_percent": 50,
        },
        "typed_extension_protocol_options": {
            protocol: {
                "@type": f"type.googleapis.com/{protocol}",
                # Below the keep-alive of the instance's server, so that we close first.
                "common_http_protocol_options": {"idle_timeout": "30s"},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
    }


def assignment(name: str, addresses: Iterable[str]) -> Resource:
    """The instances that may get requests now. None at all is answered with 503."""
    endpoints = [{"endpoint": {"address": socket_address(a)}} for a in sorted(addresses)]
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}


def socket_address(address: str) -> Resource:
    """Envoy's form of `unix:/path`, `10.0.0.7:5001` or `[::1]:5001`."""
    if address.startswith("unix:"):
        return {"pipe": {"path": address.removeprefix("unix:")}}
    host, _, port = address.rpartition(":")
    try:
        number, ip = int(port), ipaddress.ip_address(host.strip("[]"))
    except ValueError as error:
        raise ValueError(
            f"Instance address {address!r} is neither 'unix:/path' nor 'IP:port'. Register the"
            " instance with one of the two; Envoy resolves no names for instances."
        ) from error
    return {"socket_address": {"address": str(ip), "port_value": number}}


def header_to_set(key: str, value: str, action: str = "OVERWRITE_IF_EXISTS_OR_ADD") -> Resource:
    """A header in Envoy's form; by default the value replaces any that is there."""
    return {"header": {"key": key, "value": value}, "append_action": action}


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:.3f}s"
