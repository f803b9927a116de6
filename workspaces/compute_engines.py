"""The Docker engines of attached computes: what may be said of one, who may say it, and how it is kept."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from workspaces import access
from workspaces.checker import Checker
from workspaces.errors import Forbidden, UserError
from workspaces.models import Compute, ComputeEngine, User

NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
PLACE = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9._:-]*")
"""Of a host or a user: neither can be taken for an option of ssh."""
CERTIFICATE_FILES = ("ca.pem", "cert.pem", "key.pem")
MOST_ENGINES = 50
MOST_CORES = 10_000
LEAST_MEMORY_BYTES, MOST_MEMORY_BYTES = 64 * 1024**2, 2**50


@dataclass(frozen=True)
class EngineSpec:
    """One engine as it is wanted."""

    name: str
    url: str = ""
    cert_path: str = ""
    """Folder with `ca.pem`, `cert.pem`, `key.pem`, for a tcp address behind TLS."""
    tls_verify: bool = True
    most_cores: float | None = None
    most_memory_bytes: int | None = None
    """What instances may take there together; None for all that the host has."""
    is_schedulable: bool = True
    """Whether new instances may go there."""

    @property
    def address(self) -> tuple[str, str, bool]:
        """What decides which engine it is."""
        return self.url, self.cert_path, self.tls_verify


def engine_specs(compute: Compute) -> tuple[EngineSpec, ...]:
    """Those that it has, by name."""
    names = [item.name for item in fields(EngineSpec)]
    return tuple(
        EngineSpec(**{name: getattr(row, name) for name in names}) for row in compute.engines.all()
    )


def put_engines(compute: Compute, wanted: Iterable[EngineSpec]) -> None:
    """Make these the engines of the compute; those that stay keep their rows. Call in a transaction."""
    rows = {row.name.lower(): row for row in compute.engines.all()}
    for spec in wanted:
        facts = {item.name: getattr(spec, item.name) for item in fields(EngineSpec)}
        row = rows.pop(spec.name.lower(), None)
        if row is None:
            ComputeEngine.objects.create(compute=compute, **facts)
        else:
            ComputeEngine.objects.filter(pk=row.pk).update(**facts)
    ComputeEngine.objects.filter(pk__in=[row.pk for row in rows.values()]).delete()


def with_engine(current: Iterable[EngineSpec], wanted: EngineSpec) -> tuple[EngineSpec, ...]:
    """The same engines with this one, in the place of the one of its name."""
    others = [spec for spec in current if spec.name.lower() != wanted.name.lower()]
    return tuple(sorted([*others, wanted], key=lambda spec: spec.name))


def without_engine(current: Iterable[EngineSpec], name: str) -> tuple[EngineSpec, ...]:
    return tuple(spec for spec in current if spec.name.lower() != name.lower())


def told(engines: Iterable[EngineSpec]) -> list[dict[str, Any]]:
    """For the activity, which every member reads: without addresses."""
    names = ("name", "most_cores", "most_memory_bytes", "is_schedulable")
    return [{name: getattr(spec, name) for name in names} for spec in engines]


def require_operator(by: User | None, compute_name: str) -> None:
    """`Forbidden` unless `by` administers the installation: an engine's address is root on its host."""
    if by is not None and not access.reaches_all(by):
        raise Forbidden(
            f"Only an administrator of this installation decides where compute '{compute_name}' runs deployments: "
            "whoever sets the address of an engine is root on its host. Ask one to change its runtime or engines.",
            target="engines",
        )


def check_engines(
    engines: tuple[EngineSpec, ...], known: tuple[EngineSpec, ...], checker: Checker
) -> None:
    """Note all that is wrong; an address that is `known` already is not looked at again."""
    names = [spec.name.lower() for spec in engines]
    for name in sorted({name for name in names if names.count(name) > 1}):
        checker.that(
            False, "engines", f"engines has '{name}' twice. Give each engine a name of its own."
        )
    checker.that(
        len(engines) <= MOST_ENGINES,
        "engines",
        f"engines has {len(engines)} entries. A compute has at most {MOST_ENGINES}.",
    )
    addresses = {spec.name.lower(): spec.address for spec in known}
    for spec in engines:
        where = f"engines.{spec.name[:63]}"
        checker.that(
            NAME.fullmatch(spec.name) is not None,
            where,
            f"The engine name {spec.name[:80]!r} is not allowed. Use at most 63 letters, digits, '.', '_' and '-', "
            "with a letter or digit at both ends.",
        )
        _check_limits(spec, where, checker)
        if addresses.get(spec.name.lower()) != spec.address:
            checker.run(check_address, spec.url, target=f"{where}.url")
            checker.run(_check_certificates, spec, f"{where}.certPath")


def check_address(url: str, *, target: str = "url") -> None:
    """`UserError` unless this is `unix:///path`, `tcp://host:port` or `ssh://[user@]host[:port]`."""
    if not _is_address(url):
        raise UserError(
            f"{target} is '{url[:200]}'. An engine's address is unix:///path/to/docker.sock, tcp://host:port or "
            "ssh://user@host, without a password.",
            target=target,
        )


def _is_address(url: str) -> bool:
    if len(url) > 255 or not url.isprintable() or " " in url:
        return False
    try:
        place = urlsplit(url)
        has_port = place.port is not None
    except ValueError:
        return False
    if place.query or place.fragment or place.password is not None:
        return False
    if place.scheme == "unix":
        return not place.netloc and place.path.startswith("/") and len(place.path) > 1
    if place.path.strip("/") or not PLACE.fullmatch(place.hostname or ""):
        return False
    if place.scheme == "tcp":
        return has_port and place.username is None
    return place.scheme == "ssh" and _has_plain_user(place)


def _has_plain_user(place: SplitResult) -> bool:
    return place.username is None or PLACE.fullmatch(place.username) is not None


def _check_certificates(spec: EngineSpec, target: str) -> None:
    if not spec.cert_path:
        return
    if not spec.url.startswith("tcp:"):
        raise UserError(
            f"{target} is '{spec.cert_path[:200]}', but certificates are for tcp:// addresses only. Leave it out.",
            target=target,
        )
    folder = Path(spec.cert_path)
    if not folder.is_absolute() or not folder.is_dir():
        raise UserError(
            f"{target} is '{spec.cert_path[:200]}'. It must be the absolute path of a folder on the portal's machine.",
            target=target,
        )
    missing = [name for name in CERTIFICATE_FILES if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"{target} is '{spec.cert_path[:200]}', and {', '.join(missing)} is not in it. The folder holds "
            f"{', '.join(CERTIFICATE_FILES)}, as `docker` wants them.",
            target=target,
        )


def _check_limits(spec: EngineSpec, where: str, checker: Checker) -> None:
    checker.flag(spec.tls_verify, f"{where}.tlsVerify")
    checker.flag(spec.is_schedulable, f"{where}.isSchedulable")
    cores, memory = spec.most_cores, spec.most_memory_bytes
    checker.that(
        cores is None or 0 < cores <= MOST_CORES,
        f"{where}.maxCores",
        f"maxCores of engine '{spec.name[:63]}' is {cores}. It must be more than 0 and at most {MOST_CORES}, or absent "
        "for all that the host has.",
    )
    checker.that(
        memory is None or LEAST_MEMORY_BYTES <= memory <= MOST_MEMORY_BYTES,
        f"{where}.maxMemoryBytes",
        f"maxMemoryBytes of engine '{spec.name[:63]}' is {memory}. It must be at least {LEAST_MEMORY_BYTES} (64 MiB), "
        "or absent for all that the host has.",
    )


def kept_addresses(
    wanted: Iterable[EngineSpec], known: Iterable[EngineSpec]
) -> tuple[EngineSpec, ...]:
    """Who may not see addresses hands engines back without: those have the ones that are known."""
    rows = {spec.name.lower(): spec for spec in known}
    found = []
    for spec in wanted:
        before = rows.get(spec.name.lower())
        if before is not None and not spec.url:
            url, cert_path, tls_verify = before.address
            spec = replace(spec, url=url, cert_path=cert_path, tls_verify=tls_verify)
        found.append(spec)
    return tuple(found)
