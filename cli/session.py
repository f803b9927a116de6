"""One command's connection: the SDK's client, pointed at the portal of a profile, with progress on stderr."""

from __future__ import annotations

import io
import logging
import os
import re
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any, TextIO

from azure.ai.ml import MLClient
from azure.core.credentials import AccessToken
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import SansIOHTTPPolicy

from cli import profiles, settings
from cli.faults import UsageFault
from cli.profiles import Profile
from cli.progress import Progress

CLOUD = "Portico"
AUDIENCE = "https://ml.azure.com"
TOKEN_SECONDS = 3600
QUIET_FLAG = "--only-show-errors"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class TokenOfProfile:
    """What azure-identity's classes are to Azure: one token, whatever it is asked for."""

    def __init__(self, token: str) -> None:
        self._token = token

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        return AccessToken(self._token, int(time.time()) + TOKEN_SECONDS)


class Listener(SansIOHTTPPolicy):  # type: ignore[misc]
    """Shows the progress what every poll of an operation says."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_response(self, request: PipelineRequest, response: PipelineResponse) -> None:
        answer = response.http_response
        path = request.http_request.url.partition("?")[0]
        if request.http_request.method == "GET" and "/operations/" in path:
            try:
                self._progress.hear(answer.json())
            except ValueError:
                # Not an operation of ours after all.
                return


class WithoutColours(io.TextIOBase):
    """A file or pipe in place of a terminal: colours are left out, and lines that hold nothing else."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._left_out = False

    def write(self, text: str) -> int:
        plain = COLOUR.sub("", text)
        # `print` gives text and line end apart.
        self._left_out = not plain.strip() and (plain != text or self._left_out)
        if not self._left_out:
            self._stream.write(plain)
        return len(text)

    def flush(self) -> None:
        self._stream.flush()


@dataclass(frozen=True)
class Session:
    """What handlers of `ml` commands get."""

    ml: MLClient
    progress: Progress
    profile: Profile
    output: TextIO
    """The command's standard output; what the SDK prints there by itself is thrown away."""

    def finish(self, poller: Any, doing: str, *, no_wait: bool = False) -> Any:
        """The outcome of a long operation; None at once with `no_wait`."""
        if no_wait:
            return None
        with self.progress.of(doing):
            return poller.result()


@contextmanager
def open_session(
    resource_group: str, workspace: str, subscription: str, profile: str
) -> Iterator[Session]:
    """The client of one workspace; flags go before configured defaults, those before the profile's."""
    found = profiles.current(profile)
    group = resource_group or settings.default("group") or found.resource_group
    name = workspace or settings.default("workspace") or found.workspace
    trust(found)
    is_quiet = QUIET_FLAG in sys.argv
    progress = Progress(is_quiet=is_quiet)
    base = f"{found.url}/"
    client = MLClient(
        TokenOfProfile(found.token),
        subscription or found.subscription,
        group or None,
        name or None,
        enable_telemetry=False,
        show_progress=sys.stderr.isatty() and not is_quiet,
        cloud=CLOUD,
        cloud_metadata={
            "azure_portal": base,
            "resource_manager": base,
            "active_directory": base,
            "aml_resource_id": AUDIENCE,
            "storage_endpoint": "core.windows.net",
            "registry_discovery_endpoint": base,
        },
        per_call_policies=[Listener(progress)],
    )
    if is_quiet:
        _quieten()
    output = sys.stdout
    with ExitStack() as stack:
        # It prints dots while it waits, amid the JSON.
        stack.enter_context(redirect_stdout(io.StringIO()))
        if not sys.stderr.isatty():
            stack.enter_context(redirect_stderr(WithoutColours(sys.stderr)))
        yield Session(client, progress, found, output)


def require_workspace(session: Session) -> None:
    """`UsageFault` that says how to name one."""
    missing = [
        flag
        for flag, value in (
            ("--resource-group/-g", session.ml.resource_group_name),
            ("--workspace-name/-w", session.ml.workspace_name),
        )
        if not value
    ]
    if missing:
        raise UsageFault(
            f"the following arguments are required: {', '.join(missing)}. 'portico ml workspace list' shows the "
            "workspaces; 'portico configure --defaults group=… workspace=…' remembers one."
        )


def trust(profile: Profile) -> None:
    """Have the SDK trust what was pinned at sign-in and nobody else."""
    if profile.ca_path is None:
        # requests brings its own list; companies add their authority to the system's.
        system = ssl.get_default_verify_paths().cafile
        if system:
            os.environ.setdefault("REQUESTS_CA_BUNDLE", system)
        return
    if not profile.ca_path.exists():
        raise UsageFault(
            f"The pinned authority {profile.ca_path} is gone. Sign in again with 'portico login'."
        )
    os.environ["REQUESTS_CA_BUNDLE"] = str(profile.ca_path)
    # It would go before the other.
    os.environ.pop("CURL_CA_BUNDLE", None)


def _quieten() -> None:
    """The SDK's modules have handlers of their own, which know nothing of our flags."""
    for name, found in logging.root.manager.loggerDict.items():
        if name.startswith("azure.") and isinstance(found, logging.Logger):
            found.setLevel(logging.ERROR)
