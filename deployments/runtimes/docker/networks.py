"""One private network per deployment, from a pool of addresses of our own: Docker's own ends after about thirty."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from docker.errors import APIError
from docker.types import IPAMConfig, IPAMPool

from deployments.runtimes.docker import walls
from deployments.runtimes.docker.engines import Engine, reason_of

Subnet = ipaddress.IPv4Network
INSTALLATION, OWNER = "portico.installation", "portico.owner"
PREFIX_LENGTH = 26
ROUTES = Path("/proc/net/route")
MOST_COLLISIONS = 20


class NoSubnetLeft(Exception):
    """Every subnet of the pool is in use."""


def name_of(installation: str, owner: int, *, is_cut_off: bool) -> str:
    return f"portico-{installation}-{owner}{'-cut' if is_cut_off else ''}"


def ensure(
    engine: Engine, installation: str, owner: int, *, is_cut_off: bool, pool: Subnet
) -> str:
    """The network's id, made if it was missing; `NoSubnetLeft` when there is no room for it.

    Of two with one name, one is removed: an engine goes on making a network whose asker was killed, and tells nobody.
    It is walled off from a cloud's metadata, and one that is cut off from this machine, each time:
    firewalls forget.
    """
    network = _ensure(engine, installation, owner, is_cut_off=is_cut_off, pool=pool)
    if engine.is_local:
        with engine.asking() as api:
            subnets = [str(subnet) for subnet in _subnets_of([api.inspect_network(network)])]
        for subnet in subnets:
            walls.close_metadata(subnet)
            if is_cut_off:
                walls.build(subnet)
    return network


def _ensure(
    engine: Engine, installation: str, owner: int, *, is_cut_off: bool, pool: Subnet
) -> str:
    name = name_of(installation, owner, is_cut_off=is_cut_off)
    with engine.asking() as api:
        known = api.networks()
        found = _the_one(api, known, name)
        if found:
            return found
        taken = [*_subnets_of(known), *(_routes() if engine.address.shares_our_networks else [])]
        free = _free(pool, taken)
        for _ in range(MOST_COLLISIONS):
            subnet = next(free, None)
            if subnet is None:
                break
            try:
                _create(api, name, subnet, installation, owner, is_cut_off=is_cut_off)
            except APIError as error:
                # Somebody else was faster: with this very network, or with one of these addresses.
                if error.status_code != 409 and "overlap" not in reason_of(error):
                    raise
            found = _the_one(api, api.networks(), name)
            if found:
                return found
    raise NoSubnetLeft(
        f"No subnet of {pool} is free on the engine {engine.name}. Give more addresses with "
        "PORTICO_DOCKER_SUBNETS, or remove networks that nobody needs: `docker network prune`."
    )


def remove_unused(engine: Engine, installation: str, *, owner: int | None = None) -> None:
    """Take away our networks on which nothing of ours is left; with `owner`, only that deployment's."""
    labels = {INSTALLATION: installation}
    if owner is not None:
        labels[OWNER] = str(owner)
    with engine.asking() as api:
        ours = api.networks(filters={"label": [f"{key}={value}" for key, value in labels.items()]})
        if not ours:
            return
        used: set[str] = set()
        for container in engine.containers(labels):
            used.add(container["HostConfig"]["NetworkMode"])
            for name, place in container["NetworkSettings"]["Networks"].items():
                used |= {name, place["NetworkID"]}
        for network in ours:
            if not {network["Name"], network["Id"]} & used:
                with contextlib.suppress(APIError):
                    api.remove_network(network["Id"])
                    if engine.is_local:
                        for subnet in _subnets_of([network]):
                            walls.take_down(str(subnet))


def owners(engine: Engine, installation: str) -> set[int]:
    """Deployments that have a network on this engine."""
    with engine.asking() as api:
        ours = api.networks(filters={"label": f"{INSTALLATION}={installation}"})
    return {int(network["Labels"][OWNER]) for network in ours}


def _create(
    api: Any, name: str, subnet: Subnet, installation: str, owner: int, *, is_cut_off: bool
) -> None:
    api.create_network(
        name,
        driver="bridge",
        internal=is_cut_off,
        check_duplicate=True,
        ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=str(subnet))]),
        labels={INSTALLATION: installation, OWNER: str(owner)},
    )


def _the_one(api: Any, known: Iterable[dict[str, Any]], name: str) -> str:
    """The id of the network of this name; of several, all that are in no use are removed but the first."""
    named = sorted((found["Created"], found["Id"]) for found in known if found["Name"] == name)
    kept = [identity for _, identity in named]
    for identity in reversed(kept[1:]):
        with contextlib.suppress(APIError):
            api.remove_network(identity)
            kept.remove(identity)
    if len(kept) > 1:
        with contextlib.suppress(APIError):
            api.remove_network(kept[0])
            del kept[0]
    return kept[0] if kept else ""


def _free(pool: Subnet, taken: list[Subnet]) -> Iterator[Subnet]:
    length = max(pool.prefixlen, PREFIX_LENGTH)
    for subnet in pool.subnets(new_prefix=length):
        if not any(subnet.overlaps(other) for other in taken):
            yield subnet


def _subnets_of(networks: Iterable[dict[str, Any]]) -> Iterator[Subnet]:
    for network in networks:
        for config in (network.get("IPAM") or {}).get("Config") or []:
            with contextlib.suppress(ValueError):
                yield ipaddress.IPv4Network(config.get("Subnet", ""))


def _routes() -> Iterator[Subnet]:
    """Where this machine already sends packets to, but for the way out into the world."""
    with contextlib.suppress(OSError):
        for line in ROUTES.read_text().splitlines()[1:]:
            _, destination, _, _, _, _, _, mask, *_ = line.split()
            number = int.from_bytes(bytes.fromhex(destination), "little")
            bits = int.from_bytes(bytes.fromhex(mask), "little").bit_count()
            if bits:
                yield ipaddress.IPv4Network((number, bits), strict=False)
