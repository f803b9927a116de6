"""The four listeners of Envoy, as values: studio and scoring, each with and without TLS."""

from collections.abc import Iterable
from typing import Any

from endpoints.gateway.bootstrap import SECRET_NAME, GatewaySettings, watched_file
from endpoints.gateway.replies import (
    CALLER_IDS_LUA,
    ERROR_STATUS_HEADER,
    MODEL_ERROR_LUA,
    ROUTE_DEPLOYMENT,
    scoring_replies,
    studio_replies,
)
from endpoints.gateway.resources import (
    AAD_TOKEN,
    AML_TOKEN,
    DEPLOYMENT_HEADER,
    EXTENSION,
    header_to_set,
)

LOOPBACK = "127.0.0.1"
AAD_AUDIENCES = ("https://ml.azure.com", "https://ml.azure.com/")
# A browser tab with an open log or an upload that rests may be silent this long.
STUDIO_IDLE = "3600s"
# An empty list would mean Envoy's default, which trusts loopback and private networks.
NOBODY = {"address_prefix": "255.255.255.255", "prefix_len": 32}
Value = dict[str, Any]


def listeners(settings: GatewaySettings) -> Value:
    """The file of all listeners. Envoy swaps a changed one in without closing connections."""
    by_path = _path_key()
    scoring_chains = [_chain(settings, _scoring(settings, by_path), tls=True)]
    if settings.domain:
        names = [f"*.{settings.region}.{settings.domain}".lower()]
        by_host = _scoring(settings, _host_key())
        scoring_chains.insert(0, _chain(settings, by_host, tls=True, server_names=names))
    plain_scoring = [_chain(settings, _scoring(settings, by_path), tls=False)]
    studio = _studio(settings)
    made = [
        _listener(
            "studio-http",
            LOOPBACK,
            settings.studio_http_port,
            [_chain(settings, studio, tls=False)],
        ),
        _listener(
            "studio-https",
            settings.bind_address,
            settings.studio_tls_port,
            [_chain(settings, studio, tls=True)],
        ),
        _listener("scoring-https", settings.bind_address, settings.gateway_port, scoring_chains),
        _listener("scoring-http", LOOPBACK, settings.gateway_http_port, plain_scoring),
    ]
    kind = "type.googleapis.com/envoy.config.listener.v3.Listener"
    return {"resources": [{"@type": kind, **listener} for listener in made]}


def _listener(name: str, address: str, port: int, chains: list[Value]) -> Value:
    inspects_sni = any("transport_socket" in chain for chain in chains)
    inspector = {
        "name": "envoy.filters.listener.tls_inspector",
        "typed_config": {"@type": f"{EXTENSION}filters.listener.tls_inspector.v3.TlsInspector"},
    }
    return {
        "name": name,
        "address": {"socket_address": {"address": address, "port_value": port}},
        "per_connection_buffer_limit_bytes": 65536,
        "listener_filters": [inspector] if inspects_sni else [],
        "filter_chains": [{"name": f"{name}-{n}", **chain} for n, chain in enumerate(chains)],
    }


def _chain(
    settings: GatewaySettings, manager: Value, *, tls: bool, server_names: Iterable[str] = ()
) -> Value:
    chain: Value = {
        "filters": [
            {
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {
                    "@type": f"{EXTENSION}filters.network.http_connection_manager.v3"
                    ".HttpConnectionManager",
                    **manager,
                },
            }
        ]
    }
    if server_names:
        chain["filter_chain_match"] = {"server_names": list(server_names)}
    if tls:
        chain["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"{EXTENSION}transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": {
                    "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                    "alpn_protocols": ["h2", "http/1.1"],
                    "tls_certificate_sds_secret_configs": [
                        {"name": SECRET_NAME, "sds_config": watched_file(settings.secrets_path)}
                    ],
                },
            },
        }
    return chain


def _manager(settings: GatewaySettings, stat_prefix: str) -> Value:
    """What both kinds of listener share: callers are strangers, and their headers no orders."""
    return {
        "stat_prefix": stat_prefix,
        "server_header_transformation": "OVERWRITE",
        "server_name": "portico",
        # Envoy obeys some x-envoy-* headers; from outside they are removed, and all are outside.
        "use_remote_address": True,
        "xff_num_trusted_hops": settings.trusted_proxies,
        "internal_address_config": {"cidr_ranges": [NOBODY]},
        "generate_request_id": True,
        "always_set_request_id_in_response": True,
        "request_id_extension": {
            "typed_config": {
                "@type": f"{EXTENSION}request_id.uuid.v3.UuidRequestIdConfig",
                # Packing changes one digit of the id, and then no log finds the other.
                "pack_trace_reason": False,
            }
        },
        "normalize_path": True,
        "request_headers_timeout": "10s",
        "delayed_close_timeout": "1s",
        "http2_protocol_options": {
            "max_concurrent_streams": 100,
            "initial_stream_window_size": 65536,
            "initial_connection_window_size": 1048576,
        },
    }


def _limits(underscores: str, idle: str) -> Value:
    return {
        "idle_timeout": idle,
        "max_headers_count": 100,
        "headers_with_underscores_action": underscores,
    }


def _studio(settings: GatewaySettings) -> Value:
    """Everything goes to `web`: pages, REST, uploads of any size, WebSockets."""
    health = {"cluster": "web", "timeout": "5s"}
    host = {
        "name": "web",
        "domains": ["*"],
        "request_body_buffer_limit": 1048576,
        "routes": [
            # No retry: who asks for the health wants to know it now.
            {"name": "healthz", "match": {"path": "/healthz"}, "route": health},
            # What only reads may be asked again, even if the `web` that took it has gone since.
            {
                "name": "reads",
                "match": {"prefix": "/", "headers": [_method("GET")]},
                "route": _web_route("connect-failure,refused-stream,reset"),
            },
            {
                "name": "web",
                "match": {"prefix": "/"},
                "route": _web_route("connect-failure,refused-stream,reset-before-request"),
            },
        ],
    }
    return {
        **_manager(settings, "studio"),
        # Uploads note x-ms-meta-upload_status; Django itself keeps such names out of the others' way.
        "common_http_protocol_options": _limits("ALLOW", STUDIO_IDLE),
        # An upload over a slow line takes as long as it takes; the idle timeout bounds silence.
        "request_timeout": "0s",
        "stream_idle_timeout": STUDIO_IDLE,
        # Blob names and resource ids may carry escaped slashes.
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "local_reply_config": studio_replies(),
        "route_config": {"name": "studio", "virtual_hosts": [host]},
        "http_filters": [_router()],
    }


def _web_route(retry_on: str) -> Value:
    """To `web`, bridging the seconds in which `portico restart` replaces it."""
    return {
        "cluster": "web",
        "timeout": "0s",
        "idle_timeout": STUDIO_IDLE,
        "retry_policy": {
            "retry_on": retry_on,
            "num_retries": 4,
            "retry_back_off": {"base_interval": "0.2s", "max_interval": "1s"},
        },
    }


def _method(name: str) -> Value:
    return {"name": ":method", "string_match": {"exact": name}}


def _scoring(settings: GatewaySettings, key: Value) -> Value:
    """Finds the endpoint by `key`; each endpoint opens for itself what is closed here."""
    return {
        **_manager(settings, "gw"),
        "common_http_protocol_options": _limits("REJECT_REQUEST", "300s"),
        "request_timeout": "300s",
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "early_header_mutation_extensions": [_keep_caller_id()],
        "local_reply_config": scoring_replies(settings.max_body_bytes),
        "access_log": [_access_log(settings)],
        "scoped_routes": {
            "name": "endpoints",
            "scope_key_builder": key,
            "rds_config_source": {"ads": {}, "resource_api_version": "V3"},
            "scoped_rds": {"scoped_rds_config_source": {"ads": {}, "resource_api_version": "V3"}},
        },
        "http_filters": _scoring_filters(settings),
    }


def _path_key() -> Value:
    """`/<endpoint>/score`: the first segment of the path, after normalisation."""
    return {"fragments": [_element(":path", "/", 1)]}


def _host_key() -> Value:
    """`<endpoint>.<region>.<domain>`. The region in the key keeps these scopes apart from those
    by path: both connection managers are sent all scopes."""
    return {"fragments": [_element(":authority", ".", 0), _element(":authority", ".", 1)]}


def _element(header: str, separator: str, index: int) -> Value:
    extractor = {"name": header, "element_separator": separator, "index": index}
    return {"header_value_extractor": extractor}


def _keep_caller_id() -> Value:
    """Puts the caller's x-request-id aside before Envoy replaces it; Lua judges it later."""
    ours = "x-gw-caller-request-id"
    append = header_to_set(ours, "%REQUEST_HEADER(X-REQUEST-ID)%")
    return {
        "name": "envoy.http.early_header_mutation.header_mutation",
        "typed_config": {
            "@type": f"{EXTENSION}http.early_header_mutation.header_mutation.v3.HeaderMutation",
            "mutations": [{"remove": ours}, {"append": append}],
        },
    }


def _scoring_filters(settings: GatewaySettings) -> list[Value]:
    """In order. An endpoint without settings of its own lets nobody in."""
    limit = settings.max_body_bytes
    caller_ids = {"inline_string": CALLER_IDS_LUA}
    return [
        _filter("cors", "cors.v3.Cors"),
        _filter("lua", "lua.v3.Lua", default_source_code=caller_ids, clear_route_cache=False),
        _filter(
            "api_key_auth",
            "api_key_auth.v3.ApiKeyAuth",
            key_sources=[{"header": "authorization"}],
        ),
        _filter("jwt_authn", "jwt_authn.v3.JwtAuthentication", **_tokens(settings)),
        _filter("rbac", "rbac.v3.RBAC"),
        _filter("body_size_limit", "body_size_limit.v3.BodySizeLimit", max_request_bytes=limit),
        # Holds the whole body in memory, so only endpoints with a limit of their own turn it on.
        {**_filter("buffer", "buffer.v3.Buffer", max_request_bytes=limit), "disabled": True},
        _filter("local_ratelimit", "local_ratelimit.v3.LocalRateLimit", stat_prefix="gw"),
        _router(_upstream_filters()),
    ]


def _upstream_filters() -> list[Value]:
    """Touch answers of instances only, not the gateway's own."""
    lua = {"inline_string": MODEL_ERROR_LUA}
    named = {
        DEPLOYMENT_HEADER: ROUTE_DEPLOYMENT,
        "ms-azureml-model-time": "%COMMON_DURATION(US_TX_BEG:US_RX_BEG:ms)%",
    }
    mutations = [{"append": header_to_set(name, value)} for name, value in named.items()]
    return [
        _filter(
            "header_mutation",
            "header_mutation.v3.HeaderMutation",
            mutations={"response_mutations": mutations},
        ),
        _filter("lua", "lua.v3.Lua", default_source_code=lua),
        _filter("upstream_codec", "upstream_codec.v3.UpstreamCodec"),
    ]


def _tokens(settings: GatewaySettings) -> Value:
    """Who signs tokens. The public keys are here, not fetched: `web` may be down."""
    provider: Value = {
        "issuer": settings.token_issuer,
        "local_jwks": {"inline_string": settings.jwks},
        "require_expiration": True,
        "clock_skew_seconds": 5,
        "jwt_cache_config": {"jwt_cache_size": 500},
    }
    return {
        "providers": {
            AML_TOKEN: {**provider, "payload_in_metadata": AML_TOKEN},
            AAD_TOKEN: {
                **provider,
                "audiences": list(AAD_AUDIENCES),
                "payload_in_metadata": AAD_TOKEN,
            },
        },
        # Which of them an endpoint asks for stands at the endpoint; a provider for each would
        # replace the listener with every new endpoint.
        "requirement_map": {
            AML_TOKEN: {"provider_name": AML_TOKEN},
            AAD_TOKEN: {"provider_name": AAD_TOKEN},
        },
    }


def _filter(name: str, kind: str, **options: Any) -> Value:
    return {
        "name": f"envoy.filters.http.{name}",
        "typed_config": {"@type": f"{EXTENSION}filters.http.{kind}", **options},
    }


def _router(upstream_filters: list[Value] | None = None) -> Value:
    options: Value = {"suppress_envoy_headers": True}
    if upstream_filters:
        options["upstream_http_filters"] = upstream_filters
    return _filter("router", "router.v3.Router", **options)


def _access_log(settings: GatewaySettings) -> Value:
    """One JSON row per request, followed by the portal. Keys and bodies are not in it."""
    ends = {"log_type_filter": {"types": ["DownstreamEnd"]}}
    # Drops the rows of connections that never sent a request.
    requests = {"header_filter": {"header": {"name": ":method", "present_match": True}}}
    fields = {
        "ts": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
        "method": "%REQUEST_HEADER(:METHOD)%",
        "path": "%PATH(NQ:ORIG_OR_PATH)%",
        "protocol": "%PROTOCOL%",
        "endpoint": "%METADATA(VIRTUAL_HOST:gw:endpoint)%",
        "route": "%ROUTE_NAME%",
        "cluster": "%UPSTREAM_CLUSTER_RAW%",
        "host": "%UPSTREAM_HOST%",
        "code": "%RESPONSE_CODE%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "flags": "%RESPONSE_FLAGS%",
        "model_code": f"%RESPONSE_HEADER({ERROR_STATUS_HEADER})%",
        "req_bytes": "%BYTES_RECEIVED%",
        "resp_bytes": "%BYTES_SENT%",
        "ua": "%REQUEST_HEADER(USER-AGENT)%",
        "request_id": "%REQUEST_HEADER(X-REQUEST-ID)%",
        "client_request_id": "%REQUEST_HEADER(X-MS-CLIENT-REQUEST-ID)%",
        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "total_us": "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%",
        "req_us": "%COMMON_DURATION(DS_RX_BEG:DS_RX_END:us)%",
        "queue_us": "%COMMON_DURATION(DS_RX_BEG:US_TX_BEG:us)%",
        "upstream_us": "%COMMON_DURATION(US_TX_BEG:US_RX_BEG:us)%",
        "resp_us": "%COMMON_DURATION(US_RX_BEG:DS_TX_END:us)%",
    }
    return {
        "name": "envoy.access_loggers.file",
        "filter": {"and_filter": {"filters": [ends, requests]}},
        "typed_config": {
            "@type": f"{EXTENSION}access_loggers.file.v3.FileAccessLog",
            "path": str(settings.access_log),
            "log_format": {"json_format": fields},
        },
    }
