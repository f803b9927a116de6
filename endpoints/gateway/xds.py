"""Tells Envoy about endpoints: a delta ADS server on a unix socket.

Two rules of order keep requests from failing. New clusters are in place before a route names
them, and routes are gone before their cluster goes. And a changed cluster is followed by its
assignment, although that did not change: Envoy warms the cluster again and waits for it, holding
its acknowledgement back, so nothing here may wait for the one before sending the other.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from google.protobuf import json_format

from endpoints.gateway.resources import ASSIGNMENT, CLUSTER, ROUTES, SCOPE, ResourceKey
from endpoints.gateway.store import ResourceStore

logger = logging.getLogger(__name__)

# discovery_pb2.DeltaDiscoveryRequest and ...Response: generated code, without types.
Request = Any
Response = Any
KINDS = (CLUSTER, ASSIGNMENT, SCOPE, ROUTES)
# Small enough to let other messages pass between two parts of a long first answer.
RESOURCES_PER_MESSAGE = 500
ACKNOWLEDGE_SECONDS = 5.0
SNAPSHOT_PAUSE_SECONDS = 1.0
SERVER_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Envoy's keep-alive pings are welcome; by default the third would end the connection.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5000),
    ("grpc.http2.max_ping_strikes", 0),
)


@dataclass(frozen=True)
class Rejection:
    """One resource that Envoy refused, or that could not be sent. The old one stays in force."""

    endpoint: str
    kind: str
    name: str
    message: str


OnRejection = Callable[[Rejection], None]


async def serve(
    store: ResourceStore, socket_path: Path, *, on_rejection: OnRejection | None = None
) -> None:
    """Serves `store` until cancelled."""
    async with serving(store, socket_path, on_rejection=on_rejection):
        await asyncio.get_running_loop().create_future()


@contextlib.asynccontextmanager
async def serving(
    store: ResourceStore, socket_path: Path, *, on_rejection: OnRejection | None = None
) -> AsyncIterator[None]:
    """Serves `store` inside the block, and keeps its snapshot up to date.

    A socket file that a dead server left is replaced. Envoy keeps what it has when we go.
    """
    server = grpc.aio.server(options=SERVER_OPTIONS)
    ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(
        _DiscoveryService(store, on_rejection or _log_rejection), server
    )
    socket_path.unlink(missing_ok=True)
    server.add_insecure_port(f"unix:{socket_path}")
    await server.start()
    socket_path.chmod(0o600)
    keeper = asyncio.create_task(_keep_snapshot(store))
    try:
        yield
    finally:
        keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeper
        await server.stop(grace=None)
        store.save(store.dump())


def _log_rejection(rejection: Rejection) -> None:
    logger.error(
        "Envoy refused %s of endpoint %s: %s",
        rejection.name,
        rejection.endpoint,
        rejection.message,
    )


async def _keep_snapshot(store: ResourceStore) -> None:
    changed = asyncio.Event()
    unwatch = store.watch(lambda keys: changed.set())
    try:
        while True:
            await changed.wait()
            # Many changes in a row become one write.
            await asyncio.sleep(SNAPSHOT_PAUSE_SECONDS)
            changed.clear()
            # In a thread: with 1,000 endpoints these are 7 MB, and changes must not wait for them.
            writing = asyncio.ensure_future(asyncio.to_thread(store.save, store.dump()))
            try:
                await asyncio.shield(writing)
            except asyncio.CancelledError:
                # Or this old state could replace the last one, which is written next.
                await writing
                raise
    finally:
        unwatch()


class _DiscoveryService(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):  # type: ignore[misc]
    def __init__(self, store: ResourceStore, on_rejection: OnRejection) -> None:
        self._store = store
        self._on_rejection = on_rejection

    async def DeltaAggregatedResources(
        self,
        request_iterator: AsyncIterator[Request],
        context: grpc.aio.ServicerContext[Request, Response],
    ) -> None:
        stream = _Stream(self._store, context.write, self._on_rejection)
        unwatch = self._store.watch(stream.store_changed)
        tasks = [
            asyncio.create_task(stream.read(request_iterator)),
            asyncio.create_task(stream.push()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            unwatch()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@dataclass
class _Subscription:
    """What the stream wants of one type: everything, or some names."""

    wildcard: bool
    names: set[str] = field(default_factory=set)


@dataclass
class _Pending:
    """A message that Envoy has not yet acknowledged."""

    kind: str
    names: tuple[str, ...]
    answered: asyncio.Future[None]


class _Stream:
    """One connection of an Envoy. `read` answers what it asks, `push` sends what changes."""

    def __init__(
        self,
        store: ResourceStore,
        write: Callable[[Response], Awaitable[None]],
        on_rejection: OnRejection,
    ) -> None:
        self._store = store
        self._write = write
        self._on_rejection = on_rejection
        # What Envoy is being told at the moment. It moves on with each push, as a whole: routes of
        # the store's present could name clusters that Envoy has not been sent yet.
        self._view = store.copy()
        self._subscriptions: dict[str, _Subscription] = {}
        self._sent: dict[ResourceKey, str] = {}
        self._warming: set[str] = set()
        self._changed: set[ResourceKey] = set()
        # Set for an Envoy that knows more than our snapshot: it keeps all it has until we are current.
        self._waits = False
        self._wake = asyncio.Event()
        self._pending: dict[str, _Pending] = {}
        self._messages = 0
        self._writing = asyncio.Lock()

    def store_changed(self, keys: frozenset[ResourceKey]) -> None:
        self._changed |= keys
        self._wake.set()

    async def read(self, requests: AsyncIterator[Request]) -> None:
        """Takes subscriptions and acknowledgements until Envoy hangs up."""
        async for request in requests:
            if request.response_nonce:
                await self._acknowledged(request)
            if request.type_url in KINDS:
                await self._subscribe(request)

    async def push(self) -> None:
        """Sends what changes in the store, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            changed, self._changed = self._changed, set()
            if self._waits:
                if not self._store.is_current:
                    continue
                self._waits = False
                changed |= set(self._sent) | set(self._store.copy())
            await self._push(changed)

    async def _push(self, keys: set[ResourceKey]) -> None:
        changed: dict[str, set[str]] = {kind: set() for kind in KINDS}
        removed: dict[str, set[str]] = {kind: set() for kind in KINDS}
        for kind, name in keys:
            resource = self._store.get((kind, name))
            if resource is None:
                self._view.pop((kind, name), None)
                removed[kind].add(name)
            else:
                self._view[kind, name] = resource
                changed[kind].add(name)
        await self._wait(
            [
                *await self._send(CLUSTER, changed[CLUSTER]),
                *await self._send(ASSIGNMENT, changed[ASSIGNMENT]),
            ]
        )
        await self._wait(
            [
                *await self._send(ROUTES, changed[ROUTES]),
                *await self._send(SCOPE, changed[SCOPE] | removed[SCOPE]),
            ]
        )
        await self._send(CLUSTER, removed[CLUSTER])

    async def _wait(self, messages: list[_Pending]) -> None:
        if messages:
            # Late is not lost: an overloaded Envoy gets the next message all the same.
            _, late = await asyncio.wait(
                [message.answered for message in messages], timeout=ACKNOWLEDGE_SECONDS
            )
            if late:
                logger.warning(
                    "Envoy is slow to acknowledge %s",
                    [
                        (m.kind.rpartition(".")[2], m.names)
                        for m in messages
                        if not m.answered.done()
                    ],
                )

    async def _subscribe(self, request: Request) -> None:
        kind = request.type_url
        subscription = self._subscriptions.get(kind)
        asked = set(request.resource_names_subscribe)
        if subscription is None:
            wildcard = not asked or "*" in asked
            self._subscriptions[kind] = _Subscription(wildcard, asked - {"*"})
            await self._first_answer(request)
            return
        for name in request.resource_names_unsubscribe:
            subscription.names.discard(name)
            self._sent.pop((kind, name), None)
        subscription.names |= asked
        if self._waits:
            return
        # Who asks for a resource again needs it again, even if it has been sent before.
        await self._send(kind, asked, again=asked)

    async def _first_answer(self, request: Request) -> None:
        """Sends what Envoy lacks. After a lost connection that is only what changed meanwhile."""
        kind = request.type_url
        subscription = self._subscriptions[kind]
        known = dict(request.initial_resource_versions)
        if kind == ASSIGNMENT:
            known = {n: version for n, version in known.items() if n not in self._warming}
            self._warming.clear()
        self._sent.update({(kind, name): version for name, version in known.items()})
        if known and not self._store.is_current:
            self._waits = True
        if self._waits:
            return
        wanted = subscription.names | set(known)
        if subscription.wildcard:
            wanted |= {name for found, name in self._view if found == kind}
        sent = await self._send(kind, wanted, again=subscription.names - set(known))
        if subscription.wildcard and not sent:
            # Envoy starts only once it has had an answer, even one that says: nothing.
            await self._send_message(kind, [], [])

    async def _send(
        self, kind: str, names: Iterable[str], *, again: Iterable[str] = ()
    ) -> list[_Pending]:
        """Sends those of `names` that Envoy wants and does not have, or that are in `again`."""
        subscription = self._subscriptions.get(kind)
        if subscription is None:
            return []
        for name in again:
            self._sent.pop((kind, name), None)
        wanted = [n for n in sorted(names) if subscription.wildcard or n in subscription.names]
        upserts, removals = [], []
        for name in wanted:
            resource = self._view.get((kind, name))
            if resource is None:
                removals.append(name)
            elif self._sent.get((kind, name)) != resource.version:
                upserts.append(name)
        messages = []
        for start in range(0, len(upserts), RESOURCES_PER_MESSAGE):
            part = upserts[start : start + RESOURCES_PER_MESSAGE]
            messages.append(await self._send_message(kind, part, []))
            if kind == CLUSTER:
                # It warms again and needs its assignment again, changed or not.
                self._warming.update(part)
                messages += await self._send(ASSIGNMENT, part, again=part)
        if removals:
            messages.append(await self._send_message(kind, [], removals))
        return messages

    async def _send_message(self, kind: str, upserts: list[str], removals: list[str]) -> _Pending:
        async with self._writing:
            self._messages += 1
            nonce = str(self._messages)
            response = discovery_pb2.DeltaDiscoveryResponse(
                type_url=kind, nonce=nonce, removed_resources=removals
            )
            for name in upserts:
                self._add(response, kind, name)
            for name in removals:
                self._sent.pop((kind, name), None)
            answered = asyncio.get_running_loop().create_future()
            message = _Pending(kind, tuple(upserts), answered)
            self._pending[nonce] = message
            await self._write(response)
            return message

    def _add(self, response: Response, kind: str, name: str) -> None:
        resource = self._view.get((kind, name))
        if resource is None:
            # Gone since the message was planned. Left out, Envoy would go on waiting for it.
            response.removed_resources.append(name)
            return
        try:
            packed = resource.packed
        except json_format.ParseError as error:
            self._reject(kind, name, str(error))
            return
        response.resources.add(name=name, version=resource.version, resource=packed)
        self._sent[kind, name] = resource.version

    async def _acknowledged(self, request: Request) -> None:
        message = self._pending.pop(request.response_nonce, None)
        if message is None:
            return
        message.answered.set_result(None)
        if not request.HasField("error_detail"):
            return
        if len(message.names) == 1:
            self._reject(message.kind, message.names[0], request.error_detail.message)
            return
        # One bad resource can make Envoy refuse the whole message: find it, and save the others.
        for name in message.names:
            await self._send(message.kind, [name], again=[name])

    def _reject(self, kind: str, name: str, message: str) -> None:
        endpoint = self._store.endpoint_of((kind, name))
        self._on_rejection(Rejection(endpoint, kind, name, message))
