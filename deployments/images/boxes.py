"""A build container: it idles under the builder's own loader while commands run in it, and becomes an image."""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from docker import APIClient
from docker.errors import APIError, NotFound
from docker.types import Mount

from deployments.environments.failures import BuildFailed, memory_ran_out
from deployments.environments.process import MAX_LINE_CHARACTERS, MAX_LINES, Finished
from deployments.environments.uv_command import Cancel, Log, redacted
from deployments.images.bounds import PERIOD_MICROSECONDS, SHARES, bounds_of
from deployments.images.engine import follow
from deployments.images.failures import engine_failed
from deployments.images.programs import INSIDE, started, toolbox
from deployments.images.settings import ImageSettings

# Enough for uv and for builds of packages as root of the container; nothing that reaches out of it.
CAPABILITIES = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"]
OOM_SCORE = 500
KILLED = 137
SPARE_SECONDS = 60


@dataclass
class Box:
    """A running build container."""

    client: APIClient
    container: str
    start: list[str]
    log: Log
    cancel: Cancel
    deadline: float
    """On the monotonic clock."""
    memory_bytes: int
    _config: dict[str, Any] = field(default_factory=dict)

    def run(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        log: Log | None = None,
    ) -> Finished:
        """Run a command as root of the container; raises `Cancelled` and `DeadlinePassed`.

        Its variables are its own: they are neither in the container's description nor in the image.
        """
        tell = log or self.log
        made = self.client.exec_create(
            self.container, list(command), environment=dict(environment or {}), user="0:0"
        )
        lines: list[str] = []
        pending = b""

        def take(raw: bytes) -> None:
            line = redacted(raw.decode("utf-8", "replace").rstrip()[:MAX_LINE_CHARACTERS])
            if line:
                tell(line)
                lines.append(line)
                del lines[:-MAX_LINES]

        chunks = follow(
            lambda: self.client.exec_start(made["Id"], stream=True),
            cancel=self.cancel,
            deadline=self.deadline,
        )
        for chunk in chunks:
            *whole, pending = (pending + chunk).split(b"\n")
            for raw in whole:
                take(raw)
        take(pending)
        code = self.client.exec_inspect(made["Id"])["ExitCode"]
        if code != 0 and self._ran_out_of_memory():
            raise BuildFailed(memory_ran_out("The build", self.memory_bytes))
        if code is None or (code == KILLED and not self._is_running()):
            raise BuildFailed(engine_failed("The build container was ended from outside."))
        return Finished(int(code), tuple(lines))

    def tool(self, program: str, *arguments: str, **options: Any) -> Finished:
        """Run one of the builder's own programs: `uv`, `sh`."""
        return self.run(started(self.start, program, *arguments), **options)

    def put(self, folder: str, tar: bytes) -> None:
        """Unpack a tar inside."""
        self.client.put_archive(self.container, folder, tar)

    def read(self, path: str) -> bytes:
        """The content of one file inside."""
        chunks, _ = self.client.get_archive(self.container, path)
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
            entry = tar.extractfile(tar.getmembers()[0])
            return entry.read() if entry is not None else b""

    def commit(self, repository: str, tag: str, labels: Mapping[str, str]) -> str:
        """Stop it and make an image of it, with the command of the image below; the new id."""
        self.client.kill(self.container)
        self.client.wait(self.container)
        changes = [f"LABEL {json.dumps(name)}={json.dumps(text)}" for name, text in labels.items()]
        # An empty list would leave what idled here.
        changes.append(f"CMD {json.dumps(self._config.get('Cmd') or ['/bin/sh'])}")
        if self._config.get("Entrypoint"):
            changes.append(f"ENTRYPOINT {json.dumps(self._config['Entrypoint'])}")
        made = self.client.commit(self.container, repository=repository, tag=tag, changes=changes)
        return str(made["Id"])

    def _ran_out_of_memory(self) -> bool:
        """Whether the kernel has killed something in it: what the container itself tells only once it has ended."""
        wanted = {"container": self.container, "event": "oom"}
        # The second is for an event that is on its way.
        with closing(
            self.client.events(since=0, until=int(time.time()) + 1, filters=wanted, decode=True)
        ) as events:
            return any(True for _ in events)

    def _is_running(self) -> bool:
        try:
            return bool(self.client.inspect_container(self.container)["State"]["Running"])
        except NotFound:
            return False


@contextmanager
def box(
    client: APIClient,
    settings: ImageSettings,
    image: str,
    *,
    key: str,
    log: Log,
    cancel: Cancel,
    deadline: float,
    network: bool,
    cache_volume: str = "",
    folders: Sequence[str] = (),
) -> Iterator[Box]:
    """A container from the image with this id, gone with its volumes afterwards.

    One with the same name that a dead builder left is removed first: the caller holds the guard of `key`.
    `folders` of this machine are there under their own names, read-only, where the engine can see them.
    """
    tar, start = _tools()
    bounds = bounds_of(client, settings)
    seconds = max(1, int(deadline - time.monotonic())) + SPARE_SECONDS
    name = box_name(settings, key)
    remove_container(client, name)
    # As mounts, unlike volumes, they are no part of what an image made from it says of itself.
    mounts = [Mount(INSIDE, None, type="volume"), Mount("/tmp", None, type="volume")]
    if cache_volume:
        mounts.append(Mount(f"{INSIDE}/shared", cache_volume, type="volume"))
    if settings.is_local:
        mounts += [Mount(each, each, type="bind", read_only=True) for each in folders]
    below = client.inspect_image(image)["Config"] or {}
    idle = started(start, "sleep", str(seconds))
    has_entrypoint = bool(below.get("Entrypoint"))
    made = client.create_container(
        image,
        command=idle[1:] if has_entrypoint else idle,
        entrypoint=idle[:1] if has_entrypoint else None,
        name=name,
        host_config=client.create_host_config(
            mounts=mounts,
            network_mode="bridge" if network else "none",
            cap_drop=["ALL"],
            cap_add=CAPABILITIES,
            security_opt=["no-new-privileges"],
            pids_limit=bounds.processes,
            mem_limit=bounds.memory_bytes,
            memswap_limit=bounds.memory_bytes,
            cpu_shares=SHARES,
            cpu_period=PERIOD_MICROSECONDS,
            cpu_quota=int(bounds.cores * PERIOD_MICROSECONDS),
            oom_score_adj=OOM_SCORE,
        ),
    )
    try:
        client.put_archive(made["Id"], INSIDE, tar)
        client.start(made["Id"])
        yield Box(client, made["Id"], start, log, cancel, deadline, bounds.memory_bytes, below)
    finally:
        remove_container(client, made["Id"])


def box_name(settings: ImageSettings, key: str) -> str:
    return f"portico-build-{settings.installation}-{key}"


def remove_container(client: APIClient, name: str) -> None:
    """Whatever it does just now, with its volumes; missing is success."""
    with suppress(NotFound):
        try:
            client.remove_container(name, force=True, v=True)
        except APIError as error:
            if "already in progress" not in str(error):
                raise


@cache
def _tools() -> tuple[bytes, list[str]]:
    return toolbox()
