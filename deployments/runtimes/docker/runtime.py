"""Instances as containers: isolated, limited, found again by their labels after any crash of anybody.

Everything there is to know about a container is on its engine. What we note beside it (`<root>/<name>.json`) says on
which engine that is, how an engine that is away for a moment can be bridged, and why a start was refused.
"""

from __future__ import annotations

import contextlib
import ipaddress
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from docker.errors import APIError, NotFound

from deployments.runtimes import (
    InstanceSpec,
    InstanceStatus,
    LogLine,
    Phase,
    RuntimeAway,
    Usage,
)
from deployments.runtimes.docker import bundle, consoles, networks, statuses, volumes
from deployments.runtimes.docker.addresses import EngineAddress
from deployments.runtimes.docker.containers import (
    DIGEST,
    INSTANCE,
    Plan,
    own_user_of,
    variables_of,
    volumes_of,
)
from deployments.runtimes.docker.engines import Engine, reason_of
from deployments.runtimes.docker.networks import INSTALLATION, OWNER
from deployments.runtimes.docker.notes import LOCK_SECONDS, NAME, Notes
from deployments.runtimes.docker.placement import Share
from deployments.runtimes.docker.pool import Pool, StartRefused
from deployments.runtimes.docker.usage import UsageMeter
from deployments.runtimes.isolation import Users

CONFLICT = 409
LONGEST_GRACE_SECONDS = 15
TIDY_SECONDS = 600


class DockerRuntime:
    """Runs instances as containers of one engine, or of several as one pool."""

    def __init__(
        self,
        root: Path,
        installation: str,
        server_bundle: Path,
        engines: Sequence[EngineAddress],
        *,
        is_pool: bool = False,
        subnets: str = "10.201.0.0/16",
        uid_base: int = 20000,
        custom_root_is_writable: bool = False,
        compute: str = "",
        shares: Mapping[str, Share] | None = None,
        locks: Path | None = None,
    ) -> None:
        """`is_pool`: the engines' free capacity decides; else everything goes to the first.

        `compute` and `shares` are as in `Pool`; `locks` is shared by all runtimes that may have an engine in common.
        """
        if not NAME.fullmatch(installation):
            raise ValueError(
                f"'{installation}' is no installation name: use letters, digits, '.', '_' and '-'."
            )
        self.root = root.absolute()
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.installation = installation
        # Those of a compute are known to administrators alone.
        tells = not compute
        self.engines = {each.name: Engine(each, tells_address=tells) for each in engines}
        self._pool = Pool(self.engines, installation, is_pool, compute, shares or {})
        self._notes = Notes(self.root, installation, locks or self.root / ".locks")
        self.users = Users(uid_base)
        self._bundle = server_bundle
        self._server = tuple(bundle.command(server_bundle))
        self._subnets = ipaddress.IPv4Network(subnets)
        self._custom_root_is_writable = custom_root_is_writable
        self._meter = UsageMeter()
        self._tidy_at = 0.0

    def describe(self) -> str:
        """Two sentences for people: where instances run, and how they are kept apart."""
        where = ", ".join(
            f"{engine.name} ({engine.address.url})" for engine in self.engines.values()
        )
        return (
            f"Each instance is a container on {where}, without rights, with a read-only file system and "
            f"limits of its own, in its deployment's network. {self.users.describe()}"
        )

    def grant(self, path: Path, owner: int) -> None:
        """Let the owner's instances, and no other's, read `path` and all below it; may be repeated."""
        self.users.grant(path, owner)

    def ensure(self, spec: InstanceSpec) -> InstanceStatus:
        """Start the instance, or find it running; see the contract."""
        with self._notes.lock(spec.name):
            current = self.inspect(spec.name)
            is_there = current.phase in (Phase.STARTING, Phase.HEALTHY)
            if is_there and current.digest == spec.digest:
                return current
            try:
                try:
                    self._start(spec)
                except APIError as error:
                    if error.status_code != CONFLICT:
                        raise
                    # An engine goes on with what it was asked for by a worker that was killed.
                    self._start(spec)
            except StartRefused as refusal:
                failure = {"code": refusal.code, "reason": refusal.reason}
                self._notes.write(spec.name, digest=spec.digest, failure=failure)
            except APIError as error:
                failure = {
                    "code": "InternalServerError",
                    "reason": f"It could not be started: {reason_of(error)}",
                }
                self._notes.write(spec.name, digest=spec.digest, failure=failure)
            except RuntimeAway as error:
                return statuses.refused("InternalServerError", str(error), spec.digest)
        return self.inspect(spec.name)

    def inspect(self, name: str) -> InstanceStatus:
        """What runs under this name. An engine that is away is told from an instance that is not there."""
        record = self._notes.find(name)
        try:
            found = self._find(name)
        except RuntimeAway as error:
            return statuses.unseen(record, str(error))
        if found is None:
            return statuses.missing(record)
        engine, facts = found
        status = statuses.seen(engine, facts)
        if status.address and status.address != (record or {}).get("address"):
            self._notes.write(
                name,
                engine=engine.name,
                digest=status.digest,
                address=status.address,
                probe=statuses.probe_of(facts),
            )
        return status

    def logs(self, name: str, *, since: datetime) -> Iterator[LogLine]:
        """Console lines from `since` on, oldest first; none when there is no such instance or its engine is away."""
        with contextlib.suppress(RuntimeAway):
            found = self._find(name)
            if found is not None:
                yield from consoles.lines_since(found[0], found[1]["Id"], since)

    def follow(self, name: str, *, since: datetime) -> Iterator[LogLine]:
        """Lines from `since` on and then each new one until the instance ends; `RuntimeAway` when its engine goes."""
        found = self._find(name)
        if found is not None:
            yield from consoles.follow(found[0], found[1]["Id"], since)

    def usage(self, name: str) -> Usage | None:
        """Memory now and processor time since the last call (or the start); None when it does not run."""
        with contextlib.suppress(RuntimeAway, NotFound):
            found = self._find(name)
            if found is None or not found[1]["State"]["Running"]:
                return None
            return self._meter.measure(*found)
        return None

    def remove(self, name: str, *, grace_seconds: float = 0) -> None:
        """Stop and forget it; at most fifteen seconds of grace, since every call must come back.

        While its engine is away it is only forgotten: the sweep finds it by its label afterwards.
        """
        with self._notes.lock(name, forget=True):
            with contextlib.suppress(RuntimeAway):
                found = self._find(name)
                if found is not None:
                    self._end(*found, grace_seconds=min(grace_seconds, LONGEST_GRACE_SECONDS))
            self._notes.forget(name)
        self._tidy()

    def owned(self) -> Iterator[str]:
        """Names by label and by note: a crash at any moment leaves at least one of them."""
        names = self._notes.names()
        for engine in self.engines.values():
            with contextlib.suppress(RuntimeAway):
                for container in engine.containers({INSTALLATION: self.installation}):
                    if INSTANCE in container["Labels"]:
                        names.add(container["Labels"][INSTANCE])
        return iter(sorted(name for name in names if NAME.fullmatch(name)))

    def running(self) -> set[str]:
        """Names of the instances that run now; of an engine that is away, those that it was given."""
        names: set[str] = set()
        for engine in self.engines.values():
            try:
                containers = engine.containers({INSTALLATION: self.installation})
            except RuntimeAway:
                names |= self._notes.on(engine.name)
                continue
            names.update(
                container["Labels"][INSTANCE]
                for container in containers
                if container["State"] == "running" and INSTANCE in container["Labels"]
            )
        return names

    # Starting

    def _start(self, spec: InstanceSpec) -> None:
        """Start the container that is there and fits, else make one; `StartRefused`, `RuntimeAway` or `APIError`."""
        found = self._find(spec.name)
        if found is not None:
            engine, facts = found
            is_the_same = facts["Config"]["Labels"][DIGEST] == spec.digest
            if is_the_same and facts["State"]["Status"] == "exited" and self._again(spec, *found):
                return
            self._end(engine, facts, grace_seconds=0)
        if not spec.image:
            raise StartRefused(
                "ImageMissing",
                "It has no container image yet. Update the deployment: that builds one.",
            )
        self._check_files(spec)
        engine = self._pool.place(spec, own=self._notes.names())
        image = self._pool.image(engine, spec)
        self._notes.write(spec.name, engine=engine.name, digest=spec.digest)
        # One after the other in a deployment: what it needs must not go before the container that holds it is there.
        with self._notes.lock_network(spec.owner):
            network = self._network(engine, spec)
            container = self._create(engine, self._plan(spec, image, network))
        with engine.asking() as api:
            try:
                api.start(container)
            except APIError as error:
                if "ambiguous" not in reason_of(error):
                    return  # the refusal stays on the container, for whoever inspects it
                self._network(engine, spec)
                with contextlib.suppress(APIError):
                    api.start(container)

    def _network(self, engine: Engine, spec: InstanceSpec) -> str:
        try:
            return networks.ensure(
                engine,
                self.installation,
                spec.owner,
                is_cut_off=spec.is_cut_off,
                pool=self._subnets,
            )
        except networks.NoSubnetLeft as error:
            raise StartRefused("OutOfCapacity", str(error)) from error

    def _check_files(self, spec: InstanceSpec) -> None:
        script = spec.code_dir / spec.scoring_script if spec.code_dir else None
        for path in (script, spec.model_dir):
            if path is not None and not path.exists():
                raise StartRefused(
                    "InternalServerError", f"It could not be started: {path} does not exist."
                )

    def _again(self, spec: InstanceSpec, engine: Engine, facts: dict[str, Any]) -> bool:
        """Start a container that has ended once more, with its console; False when it is better made anew."""
        try:
            self._network(engine, spec)
            with engine.asking() as api:
                api.start(facts["Id"])
        except APIError:
            return False
        return True

    def _plan(self, spec: InstanceSpec, image: dict[str, Any], network: str) -> Plan:
        uid, gid = self.users.ids(spec.owner)
        own = own_user_of(image) if spec.is_custom else ""
        return Plan(
            spec=spec,
            user=own or f"{uid}:{gid}",
            group=str(gid),
            server=self._server,
            bundle=self._bundle,
            network=network,
            image_variables=variables_of(image),
            image_volumes=volumes_of(image),
            is_root_writable=spec.is_custom and self._custom_root_is_writable,
        )

    def _create(self, engine: Engine, plan: Plan) -> str:
        """The id of its container, which does not run yet."""
        spec = plan.spec
        if spec.is_cut_off and not engine.is_local:
            raise StartRefused(
                "BadArgument",
                f"egress_public_network_access: disabled needs an engine on this machine; {engine.name} is "
                "another one, whose containers the gateway reaches through a published port.",
            )
        mounts = volumes.mounts(engine, self.installation, plan, ids=self.users.ids(spec.owner))
        body = plan.body(
            self.installation,
            version=engine.api_version(),
            most_cores=float(engine.info()["NCPU"]),
            mounts=[*mounts, *plan.scratch()],
            published=self._published(engine, plan),
        )
        with engine.asking() as api:
            return str(api.create_container(name=self._notes.container(spec.name), **body)["Id"])

    def _published(self, engine: Engine, plan: Plan) -> dict[str, Any]:
        if engine.is_local:
            return {}
        return {f"{port}/tcp": (engine.address.host, None) for port in plan.ports()}

    # Ending

    def _end(self, engine: Engine, facts: dict[str, Any], *, grace_seconds: float) -> None:
        """End and remove a container, and what only it needed."""
        owner = int(facts["Config"]["Labels"][OWNER])
        with engine.asking() as api:
            if grace_seconds > 0 and facts["State"]["Running"]:
                with contextlib.suppress(APIError):
                    api.stop(facts["Id"], timeout=math.ceil(grace_seconds))
            try:
                api.remove_container(facts["Id"], force=True, v=True)
            except NotFound:
                pass
            except APIError as error:
                # Somebody else is already at it.
                if error.status_code != 409:
                    raise
        self._meter.forget(facts["Id"])
        self._clear(engine, owner, seconds=LOCK_SECONDS)

    def _clear(self, engine: Engine, owner: int, *, seconds: float) -> None:
        """Take away what only this deployment needed, unless somebody is just starting it."""
        with (
            contextlib.suppress(TimeoutError),
            self._notes.lock_network(owner, seconds=seconds, forget=True),
        ):
            networks.remove_unused(engine, self.installation, owner=owner)
            if not engine.is_local:
                volumes.remove_unused(engine, self.installation, owner)

    def _tidy(self) -> None:
        """Now and then: what those left behind who died half-way through a start."""
        if time.monotonic() < self._tidy_at:
            return
        self._tidy_at = time.monotonic() + TIDY_SECONDS
        for engine in self.engines.values():
            with contextlib.suppress(RuntimeAway):
                if not engine.is_local:
                    volumes.remove_fillers(engine, self.installation)
                for owner in networks.owners(engine, self.installation):
                    self._clear(engine, owner, seconds=0)

    # Looking

    def _find(self, name: str) -> tuple[Engine, dict[str, Any]] | None:
        """The container and its engine; None when it is certainly nowhere, `RuntimeAway` when that is not known."""
        noted = (self._notes.find(name) or {}).get("engine")
        likely = [self.engines[noted]] if noted in self.engines else list(self.engines.values())
        away: RuntimeAway | None = None
        for engine in likely:
            try:
                facts = engine.container(self._notes.container(name))
            except RuntimeAway as error:
                away = error
                continue
            if facts is not None and self._is_ours(facts, name):
                return engine, facts
        # What no engine of several was given is on none that is away: the note comes before the container.
        if away is not None and (noted in self.engines or len(self.engines) == 1):
            raise away
        return None

    def _is_ours(self, facts: dict[str, Any], name: str) -> bool:
        labels = facts["Config"]["Labels"] or {}
        return labels.get(INSTALLATION) == self.installation and labels.get(INSTANCE) == name
