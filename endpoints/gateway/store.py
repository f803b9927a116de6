"""What Envoy should have, by version, with a copy on disk to start from without a database."""

import hashlib
import logging
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib import import_module
from pathlib import Path

import orjson
from google.protobuf import any_pb2, json_format

from endpoints.gateway.files import replace_file
from endpoints.gateway.resources import Resource, ResourceKey, Resources

# Importing a message makes its type URL known to protobuf; nothing else is needed of these.
for module in (
    "envoy.config.cluster.v3.cluster_pb2",
    "envoy.config.endpoint.v3.endpoint_pb2",
    "envoy.config.route.v3.route_pb2",
    "envoy.config.route.v3.scoped_route_pb2",
    "envoy.extensions.filters.http.api_key_auth.v3.api_key_auth_pb2",
    "envoy.extensions.filters.http.buffer.v3.buffer_pb2",
    "envoy.extensions.filters.http.cors.v3.cors_pb2",
    "envoy.extensions.filters.http.jwt_authn.v3.config_pb2",
    "envoy.extensions.filters.http.local_ratelimit.v3.local_rate_limit_pb2",
    "envoy.extensions.filters.http.rbac.v3.rbac_pb2",
    "envoy.extensions.retry.host.previous_hosts.v3.previous_hosts_pb2",
    "envoy.extensions.upstreams.http.v3.http_protocol_options_pb2",
):
    import_module(module)

logger = logging.getLogger(__name__)

Listener = Callable[[frozenset[ResourceKey]], None]


class Versioned:
    """One resource. Equal content has an equal version, in this process and in the next."""

    def __init__(self, kind: str, resource: Resource) -> None:
        self.kind = kind
        self.json = orjson.dumps(resource, option=orjson.OPT_SORT_KEYS)
        self.version = hashlib.sha256(self.json).hexdigest()[:16]

    @cached_property
    def packed(self) -> any_pb2.Any:
        """The message for the wire. Costs about a millisecond, so only what is sent is packed.

        Raises `json_format.ParseError` for a resource that Envoy would not understand.
        """
        message = any_pb2.Any()
        json_format.ParseDict({"@type": self.kind, **orjson.loads(self.json)}, message)
        return message


class ResourceStore:
    """The resources of all endpoints. Belongs to one event loop: call it from there only."""

    def __init__(self, snapshot: Path | None = None) -> None:
        self._snapshot = snapshot
        self._endpoints: dict[str, dict[ResourceKey, Versioned]] = {}
        self._resources: dict[ResourceKey, Versioned] = {}
        self._owners: dict[ResourceKey, str] = {}
        self._lines: dict[str, bytes] = {}
        self._listeners: list[Listener] = []
        self.is_current = True
        """False while this is only a snapshot: an Envoy that runs may know more."""

    def __len__(self) -> int:
        return len(self._endpoints)

    def set_endpoint(self, name: str, resources: Resources) -> bool:
        """Replaces all resources of one endpoint; False if nothing is different."""
        return self._apply({name: resources}) > 0

    def remove_endpoint(self, name: str) -> bool:
        """Takes an endpoint out; False if it is not there."""
        return self._apply({name: {}}) > 0

    def replace_all(self, endpoints: Mapping[str, Resources]) -> int:
        """Makes `endpoints` all there is; gives the number of resources that are different."""
        gone: dict[str, Resources] = {name: {} for name in self._endpoints.keys() - endpoints}
        was_current, self.is_current = self.is_current, True
        changed = self._apply({**gone, **endpoints})
        if not was_current:
            self._tell(frozenset())
        return changed

    def get(self, key: ResourceKey) -> Versioned | None:
        return self._resources.get(key)

    def copy(self) -> dict[ResourceKey, Versioned]:
        """All resources of this moment."""
        return dict(self._resources)

    def endpoint_of(self, key: ResourceKey) -> str:
        """The endpoint a resource belongs to; empty if it is gone."""
        return self._owners.get(key, "")

    def watch(self, listener: Listener) -> Callable[[], None]:
        """Calls `listener` with the keys of every change; gives a function that ends this."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def load(self) -> int:
        """Takes over the snapshot, if there is a good one; gives the number of endpoints."""
        if self._snapshot is None or not self._snapshot.exists():
            return 0
        endpoints: dict[str, Resources] = {}
        try:
            for line in self._snapshot.read_bytes().splitlines():
                record = orjson.loads(line)
                endpoints[record["endpoint"]] = {
                    (kind, name): resource for kind, name, resource in record["resources"]
                }
        except (orjson.JSONDecodeError, KeyError, ValueError) as error:
            # The database has it all; a bad copy must not keep the portal from starting.
            logger.warning("Ignored the damaged gateway snapshot %s: %s", self._snapshot, error)
            return 0
        self.replace_all(endpoints)
        self.is_current = False
        return len(endpoints)

    def dump(self) -> bytes:
        """The snapshot: one line per endpoint."""
        return b"".join(self._line(endpoint) for endpoint in self._endpoints)

    def save(self, dump: bytes) -> None:
        """Writes the snapshot, mode 0600: there are keys in it. May be called from any thread."""
        if self._snapshot is not None:
            replace_file(self._snapshot, dump)

    def _line(self, endpoint: str) -> bytes:
        if endpoint not in self._lines:
            resources = [
                [kind, name, orjson.Fragment(resource.json)]
                for (kind, name), resource in self._endpoints[endpoint].items()
            ]
            record = {"endpoint": endpoint, "resources": resources}
            self._lines[endpoint] = orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
        return self._lines[endpoint]

    def _apply(self, endpoints: Mapping[str, Resources]) -> int:
        changed: set[ResourceKey] = set()
        for name, resources in endpoints.items():
            changed |= self._apply_one(name, resources)
        if changed:
            self._tell(frozenset(changed))
        return len(changed)

    def _tell(self, changed: frozenset[ResourceKey]) -> None:
        for listener in list(self._listeners):
            listener(changed)

    def _apply_one(self, endpoint: str, resources: Resources) -> set[ResourceKey]:
        before = self._endpoints.get(endpoint, {})
        after = {key: Versioned(key[0], resource) for key, resource in resources.items()}
        changed = {key for key in before if key not in after}
        for key, resource in after.items():
            known = before.get(key)
            if known is not None and known.version == resource.version:
                after[key] = known  # Keeps the packed message.
            else:
                changed.add(key)
        for key in before.keys() - after.keys():
            # The key may have moved to another endpoint in the same change.
            if self._owners.get(key) == endpoint:
                del self._resources[key], self._owners[key]
        for key, resource in after.items():
            self._resources[key] = resource
            self._owners[key] = endpoint
        if changed:
            self._lines.pop(endpoint, None)
        if after:
            self._endpoints[endpoint] = after
        else:
            self._endpoints.pop(endpoint, None)
        return changed
