"""Envoy's start-up files, as values: what it listens on, whom it asks for the rest, its limits.

The bootstrap needs a restart to change; listeners (`listeners.py`) and certificates are files of
their own, which Envoy picks up when they are replaced.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from endpoints.gateway.resources import EXTENSION

SECRET_NAME = "server"
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


@dataclass(frozen=True)
class GatewaySettings:
    """All that Envoy's files depend on. Paths of sockets must stay below 100 characters.

    `jwks` is the public half of the token signing keys, as JSON. With a `domain`, endpoints also
    answer at `<endpoint>.<region>.<domain>`.
    """

    run_dir: Path
    gateway_port: int
    gateway_http_port: int
    studio_http_port: int
    studio_tls_port: int
    web_socket: Path
    xds_socket: Path
    admin_socket: Path
    access_log: Path
    certificate_path: Path
    key_path: Path
    jwks: str
    max_body_bytes: int = 100 * 1024 * 1024
    token_issuer: str = "portico"
    region: str = ""
    domain: str = ""
    bind_address: str = "0.0.0.0"
    trusted_proxies: int = 0
    max_connections: int = 20_000
    max_heap_bytes: int = 2 * 1024**3

    @property
    def bootstrap_path(self) -> Path:
        return self.run_dir / "bootstrap.json"

    @property
    def listeners_path(self) -> Path:
        return self.run_dir / "lds" / "listeners.json"

    @property
    def secrets_path(self) -> Path:
        return self.run_dir / "sds" / "server.json"


def bootstrap(settings: GatewaySettings) -> dict[str, Any]:
    """The file Envoy is started with. A difference in it is the only reason for a restart."""
    ads = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    return {
        "node": {"id": "portico-gateway", "cluster": "portico"},
        "admin": {
            "address": {"pipe": {"path": str(settings.admin_socket), "mode": 0o600}},
            "ignore_global_conn_limit": True,
        },
        "dynamic_resources": {
            "lds_config": watched_file(settings.listeners_path),
            "cds_config": ads,
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": _ads_service()}],
            },
        },
        "static_resources": {"clusters": [_xds_cluster(settings.xds_socket), _web(settings)]},
        "cluster_manager": {"enable_deferred_cluster_creation": True},
        "deferred_stat_options": {"enable_deferred_creation_stats": True},
        # Statistics of every cluster would be the largest cost by far with thousands of endpoints;
        # the numbers per deployment come from the access log.
        "stats_config": {
            "stats_matcher": {
                "inclusion_list": {
                    "patterns": [
                        {"prefix": prefix}
                        for prefix in (
                            "http.gw.downstream",
                            "http.studio.downstream",
                            "server.",
                            "listener_manager.",
                            "cluster_manager.",
                            "control_plane.",
                            "filesystem.",
                            "overload.",
                        )
                    ]
                }
            }
        },
        "overload_manager": _overload_manager(settings),
    }


def _ads_service() -> dict[str, Any]:
    # A new control plane is found again within two seconds, not within Envoy's default of thirty.
    back_off = {"base_interval": "0.1s", "max_interval": "2s"}
    return {"cluster_name": "xds", "retry_policy": {"retry_back_off": back_off}}


def _xds_cluster(socket: Path) -> dict[str, Any]:
    http2 = {"connection_keepalive": {"interval": "30s", "timeout": "5s"}}
    return _socket_cluster("xds", socket, {"http2_protocol_options": http2})


def _web(settings: GatewaySettings) -> dict[str, Any]:
    cluster = _socket_cluster("web", settings.web_socket, {"http_protocol_options": {}})
    limits = {"max_connections": 4096, "max_pending_requests": 4096, "max_requests": 8192}
    return {**cluster, "circuit_breakers": {"thresholds": [{**limits, "max_retries": 1024}]}}


def _socket_cluster(name: str, socket: Path, protocol: dict[str, Any]) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(socket)}}}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {
            HTTP_OPTIONS: {
                "@type": f"type.googleapis.com/{HTTP_OPTIONS}",
                "explicit_http_config": protocol,
            }
        },
    }


def _overload_manager(settings: GatewaySettings) -> dict[str, Any]:
    monitors = "envoy.resource_monitors"
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            {
                "name": f"{monitors}.global_downstream_max_connections",
                "typed_config": {
                    "@type": f"{EXTENSION}resource_monitors.downstream_connections.v3"
                    ".DownstreamConnectionsConfig",
                    "max_active_downstream_connections": settings.max_connections,
                },
            },
            {
                "name": f"{monitors}.fixed_heap",
                "typed_config": {
                    "@type": f"{EXTENSION}resource_monitors.fixed_heap.v3.FixedHeapConfig",
                    "max_heap_size_bytes": settings.max_heap_bytes,
                },
            },
        ],
        "actions": [
            _at_heap("shrink_heap", 0.90),
            _at_heap("stop_accepting_requests", 0.95),
        ],
    }


def _at_heap(action: str, fraction: float) -> dict[str, Any]:
    return {
        "name": f"envoy.overload_actions.{action}",
        "triggers": [
            {"name": "envoy.resource_monitors.fixed_heap", "threshold": {"value": fraction}}
        ],
    }


def secrets(settings: GatewaySettings) -> dict[str, Any]:
    """The certificate, by path. Envoy reads both files again when one of them is replaced."""
    return {
        "resources": [
            {
                "@type": f"{EXTENSION}transport_sockets.tls.v3.Secret",
                "name": SECRET_NAME,
                "tls_certificate": {
                    "certificate_chain": {"filename": str(settings.certificate_path)},
                    "private_key": {"filename": str(settings.key_path)},
                    "watched_directory": {"path": str(settings.certificate_path.parent)},
                },
            }
        ]
    }


def watched_file(path: Path) -> dict[str, Any]:
    """A file that takes effect when another is renamed over it."""
    source = {"path": str(path), "watched_directory": {"path": str(path.parent)}}
    return {"path_config_source": source, "resource_api_version": "V3"}
