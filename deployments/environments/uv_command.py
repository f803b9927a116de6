"""uv as this portal runs it: its own store, the operator's indexes, nobody's secrets."""

from __future__ import annotations

import copy
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from uv import find_uv_bin

from deployments.environments.interpreters import Policy, inherited
from deployments.environments.process import Cancelled, Finished, run
from workspaces.trees import is_reachable_by_others

Log = Callable[[str], None]
Cancel = Callable[[], bool]

_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+@")
_FORCED_OUT = re.compile(r"^warning: .*(VIRTUAL_ENV|uv\.toml)")


@dataclass(frozen=True)
class EnvironmentSettings:
    """Where packages come from and how hard to try. uv reads no pip.conf, so everything is said
    here.
    """

    index_url: str = ""  # empty: the public index
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    index_strategy: str = ""  # empty: "first-index", unless the environment itself names an index
    ca_bundle: str = ""
    offline: bool = False
    source_builds: bool = True
    python_policy: Policy = "nearest"
    python_downloads: bool = False
    download_mirror: str = ""
    download_seconds: float = 120.0
    build_seconds: float = 1800.0
    compile_seconds: float = 60.0
    min_free_bytes: int = 500_000_000
    # Install as this user when we are root; builds from source run as one below it (`foreign.py`).
    build_user_id: int | None = None
    # Whether other users run what is built; else interpreters may lie in a closed home of root's.
    for_others: bool = True


class Uv:
    """Runs uv for one build: one deadline, one log, one lock descriptor kept open in every
    command.
    """

    def __init__(
        self,
        root: Path,
        settings: EnvironmentSettings,
        *,
        deadline: float,
        log: Log,
        cancel: Cancel,
        keep_open: Sequence[int] = (),
        started: Callable[[int], None] = lambda pid: None,
    ) -> None:
        self.root = root
        self.settings = settings
        self.deadline = deadline
        self.cancel = cancel
        self._log = log
        self._keep_open = keep_open
        self._started = started
        self.user_id = settings.build_user_id if os.geteuid() == 0 else None
        self.place = root
        """Where uv has its cache and its home."""

    def of_user(self, user_id: int, place: Path) -> Uv:
        """The same for another user, with a cache and a home in `place`."""
        other = copy.copy(self)
        other.user_id, other.place = user_id, place
        return other

    def __call__(self, *arguments: str | Path, options: Sequence[str] = ()) -> Finished:
        """Run one uv command; `options` are the index lines of the user's own requirements."""
        return self.run(
            [self._binary(), *arguments],
            environment=self._environment(options),
            user_id=self.user_id,
        )

    def run(
        self,
        arguments: Sequence[str | Path],
        *,
        environment: Mapping[str, str] | None = None,
        deadline: float | None = None,
        user_id: int | None,
        log: Log | None = None,
    ) -> Finished:
        """Run any command of this build under its cancel; raises `Cancelled`, and `DeadlinePassed`
        at the deadline.
        """
        if self.cancel():
            raise Cancelled
        return run(
            arguments,
            environment=inherited() if environment is None else environment,
            deadline=self.deadline if deadline is None else deadline,
            log=log or self.log,
            cancel=self.cancel,
            user_id=user_id,
            folder=self.root,
            keep_open=self._keep_open,
            started=self._started,
        )

    def log(self, line: str) -> None:
        """One line for the build log, without credentials in addresses."""
        if not _FORCED_OUT.match(line):
            self._log(redacted(line))

    def _environment(self, options: Sequence[str]) -> dict[str, str]:
        """Indexes travel as variables, for arguments are seen by every user of the machine."""
        return (
            inherited()
            | {
                "HOME": str(self.place / "home"),
                "UV_CACHE_DIR": str(self.place / "cache"),
                "UV_LINK_MODE": "hardlink",
            }
            | uv_variables(self.settings, options)
        )

    def _binary(self) -> Path:
        """uv itself, copied next to its store where the building user could not run it."""
        binary = Path(find_uv_bin())
        if self.user_id is None or is_reachable_by_others(binary):
            return binary
        noted = binary.stat()
        ours = self.root / "bin" / f"uv-{noted.st_size}-{noted.st_mtime_ns}"
        if not ours.exists():
            ours.parent.mkdir(mode=0o755, exist_ok=True)
            draft = ours.with_name(f".{ours.name}.{os.getpid()}")
            shutil.copyfile(binary, draft)
            draft.chmod(0o755)
            os.replace(draft, ours)
        return ours


def uv_variables(settings: EnvironmentSettings, options: Sequence[str] = ()) -> dict[str, str]:
    """What tells uv where packages come from; `options` are the index lines of the user's own requirements."""
    variables = {
        "UV_NO_CONFIG": "1",
        "UV_NO_PROGRESS": "1",
        "UV_NO_COLOR": "1",
        "NO_COLOR": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_INDEX_STRATEGY": settings.index_strategy or _strategy(settings, options),
    }
    if settings.index_url:
        variables["UV_DEFAULT_INDEX"] = settings.index_url
    if settings.extra_index_urls:
        variables["UV_INDEX"] = " ".join(settings.extra_index_urls)
    if settings.find_links:
        variables["UV_FIND_LINKS"] = ",".join(settings.find_links)
    if settings.ca_bundle:
        variables["SSL_CERT_FILE"] = settings.ca_bundle
        variables["REQUESTS_CA_BUNDLE"] = settings.ca_bundle
    if settings.offline:
        variables["UV_OFFLINE"] = "1"
    return variables


def _strategy(settings: EnvironmentSettings, options: Sequence[str]) -> str:
    """As pip for an environment that names a second index of its own.

    Never so where the operator has a private index: a stranger's higher version of a private
    name would win.
    """
    names_its_own = any(option.startswith("--extra-index-url") for option in options)
    if names_its_own and not settings.extra_index_urls:
        return "unsafe-best-match"
    return "first-index"


def redacted(text: str) -> str:
    """`text` with user names and passwords in addresses hidden."""
    return _CREDENTIALS.sub("****@", text)
