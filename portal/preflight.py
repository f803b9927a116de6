"""Looks before the leap: what would keep Portico from starting, each in one sentence with the way out."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import socket
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import psycopg
import redis
from django.conf import settings

from portal.faults import StartFault

PUBLIC = {"PORTICO_TLS_PORT", "PORTICO_GATEWAY_PORT"}
"""Ports that listen on PORTICO_BIND; the others are for this machine alone."""
SMALLEST_DISK_BYTES = 300 * 1024 * 1024
OLDEST_POSTGRES = 14
OLDEST_REDIS = (6, 2)
LONGEST_SOCKET_PATH = 100


def make_folders() -> None:
    """The home and what is in it, with the right modes; may run at every start. Raises `StartFault`."""
    home: Path = settings.PORTICO_HOME
    # As root, the users of PostgreSQL and of instances must get through to their own folders.
    passable = 0o711 if os.geteuid() == 0 else 0o700
    folders = {
        home: passable,
        settings.RUN_DIR: passable,
        settings.STAGED_ROOT: passable,
        settings.SECRETS_DIR: 0o700,
        settings.LOG_DIR: 0o700,
        settings.STORAGE_ROOT: 0o700,
        settings.SEGMENTS_ROOT: 0o700,
        settings.CERTIFICATES_DIR: passable,
        Path(settings.FILE_UPLOAD_TEMP_DIR): 0o700,
    }
    for folder, mode in folders.items():
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                raise StartFault(
                    f"{folder} belongs to another user. Start Portico as that user, or set PORTICO_HOME to a "
                    f"folder of your own."
                )
            if stat.S_IMODE(folder.stat().st_mode) != mode:
                folder.chmod(mode)
        except OSError as error:
            raise StartFault(
                f"{folder} cannot be made or used: {error.strerror}. Set PORTICO_HOME to a folder that "
                f"{_user_name()} may write to."
            ) from error


def has_run() -> bool:
    """Whether a supervisor was ever started on this home."""
    return lock_path().exists()


def lock_path() -> Path:
    return Path(settings.PORTICO_HOME) / "up.lock"


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Hold the home for one supervisor. Raises `StartFault` when another has it."""
    path = lock_path()
    try:
        file = path.open("a+")
        file.seek(0)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = file.read().strip()
        raise StartFault(
            f"Portico already runs on {settings.PORTICO_HOME}{f' (process {holder})' if holder else ''}. Stop it "
            f"first, or give the second one its own PORTICO_HOME and ports."
        ) from None
    except OSError as error:
        raise StartFault(
            f"{path} cannot be written: {error.strerror}. {_disk_hint(error)}"
        ) from error
    with file:
        try:
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        except OSError as error:
            raise StartFault(
                f"{path} cannot be written: {error.strerror}. {_disk_hint(error)}"
            ) from error
        yield


def check(*, gateway_pid: int | None = None) -> None:
    """All that can be known before the first process starts. Raises `StartFault`."""
    check_disk(settings.PORTICO_HOME)
    check_socket_paths()
    check_ports(ports(), settings.PORTICO_BIND, gateway_pid=gateway_pid)


def ports() -> dict[str, int]:
    """The variables that set a port, with their values."""
    return {
        "PORTICO_PORT": settings.PORTICO_PORT,
        "PORTICO_TLS_PORT": settings.PORTICO_TLS_PORT,
        "PORTICO_GATEWAY_PORT": settings.PORTICO_GATEWAY_PORT,
        "PORTICO_GATEWAY_HTTP_PORT": settings.PORTICO_GATEWAY_HTTP_PORT,
    }


def check_ports(
    wanted: Mapping[str, int], bind: str, *, gateway_pid: int | None = None
) -> list[int]:
    """Each port is named once, allowed, and free or held by our own gateway; gives those. Raises `StartFault`."""
    seen: dict[int, str] = {}
    held = []
    for variable, port in wanted.items():
        if port in seen:
            raise StartFault(
                f"{seen[port]} and {variable} are both {port}. Set one of them to another port."
            )
        seen[port] = variable
        address = bind if variable in PUBLIC else "127.0.0.1"
        try:
            _try_port(address, port)
        except OSError as error:
            holder = _holder_of(port) if error.errno == errno.EADDRINUSE else None
            if holder is None or holder.pid != gateway_pid:
                raise StartFault(_port_sentence(error, variable, port, address, holder)) from error
            held.append(port)
    return held


def _try_port(address: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as trial:
        # As Envoy binds, but for sharing: two Envoys of one user could share a port unnoticed.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind((address, port))
        trial.listen(1)


def _holder_of(port: int) -> psutil.Process | None:
    """The process that listens there, when we may know."""
    with contextlib.suppress(psutil.Error, OSError):
        for found in psutil.net_connections("tcp"):
            address = found.laddr
            if (
                found.status == psutil.CONN_LISTEN
                and address
                and address.port == port
                and found.pid
            ):
                return psutil.Process(found.pid)
    return None


def _port_sentence(
    error: OSError, variable: str, port: int, address: str, holder: psutil.Process | None
) -> str:
    if error.errno == errno.EADDRINUSE:
        by = ""
        with contextlib.suppress(psutil.Error):
            by = f" by process {holder.pid} ({holder.name()})" if holder else ""
        return f"Port {port} is in use{by}. Stop that program, or set {variable} to a free port."
    if error.errno == errno.EACCES:
        return (
            f"Port {port} needs rights that {_user_name()} does not have. "
            f"Set {variable} to a port from 1024 on."
        )
    return (
        f"Port {port} cannot be opened on {address}: {error.strerror}. "
        f"Check PORTICO_BIND and {variable}."
    )


def check_disk(folder: Path, *, smallest_bytes: int = SMALLEST_DISK_BYTES) -> None:
    """Enough room to start. Raises `StartFault`."""
    free = shutil.disk_usage(folder).free
    if free < smallest_bytes:
        raise StartFault(
            f"The disk of {folder} has {free // 2**20} MB left, and Portico needs {smallest_bytes // 2**20} MB "
            f"to start. Free some space, or set PORTICO_HOME to a folder on another disk."
        )


def check_socket_paths() -> None:
    longest = settings.RUN_DIR / "pg" / ".s.PGSQL.5432.lock"
    if len(str(longest)) > LONGEST_SOCKET_PATH:
        raise StartFault(
            f"{longest} is too long for a socket. Set PORTICO_HOME to a folder with a shorter name."
        )


def check_data_servers() -> None:
    """PostgreSQL and Redis answer, let us in, and are new enough. Raises `StartFault`."""
    check_postgres()
    check_redis(settings.REDIS_URL)


def check_postgres() -> None:
    database = settings.DATABASES["default"]
    options = {key: value for key, value in database["OPTIONS"].items() if key != "pool"}
    try:
        with psycopg.connect(
            dbname=database["NAME"],
            user=database["USER"],
            password=database["PASSWORD"],
            host=database["HOST"],
            port=database["PORT"],
            **options,
        ) as connection:
            found = connection.info.server_version // 10000
            allowed = connection.execute(
                "SELECT has_schema_privilege(current_schema(), 'CREATE'), pg_is_in_recovery()"
            ).fetchone()
    except psycopg.Error as error:
        raise StartFault(
            f"The database does not let Portico in: {_first_line(error)} Check DATABASE_URL."
        ) from error
    if found < OLDEST_POSTGRES:
        raise StartFault(
            f"DATABASE_URL leads to PostgreSQL {found}; Portico needs {OLDEST_POSTGRES} or later."
        )
    assert allowed is not None
    if not allowed[0] or allowed[1]:
        raise StartFault(
            f"The user of DATABASE_URL may not make tables in '{database['NAME']}'"
            f"{' (a standby server)' if allowed[1] else ''}. Make that user the owner of the database."
        )


def check_redis(url: str) -> None:
    try:
        with redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5) as connection:
            found = str(connection.info("server").get("redis_version", "0"))
    except (redis.RedisError, OSError, ValueError) as error:
        raise StartFault(
            f"Redis does not let Portico in: {_first_line(error)} Check REDIS_URL."
        ) from error
    if tuple(int(part) for part in found.split(".")[:2]) < OLDEST_REDIS:
        raise StartFault(f"REDIS_URL leads to Redis {found}; Portico needs 6.2 or later.")


def _first_line(error: Exception) -> str:
    """The error's first line as a sentence; it names the server, never a password."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if line.endswith(".") else f"{line}."


def _disk_hint(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "Free some space, or set PORTICO_HOME to a folder on another disk."
    return f"Set PORTICO_HOME to a folder that {_user_name()} may write to."


def _user_name() -> str:
    with contextlib.suppress(KeyError, psutil.Error):
        return f"'{psutil.Process().username()}'"
    return f"user {os.geteuid()}"
