"""The command line of somebody who is signed in nowhere, and looks at local deployments with it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from cli.client import run
from tests.house import ROOT

OWN_MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
SECONDS = 120
# Ctrl-C reaches it even where the tests run in the background of a shell.
COMMAND = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from cli.__main__ import main; main()"
)


@dataclass
class Local:
    """The command line of a user who is signed in nowhere, with a project of theirs."""

    home: Path
    project: Path
    endpoint: str
    capture: pytest.CaptureFixture[str]
    log: pytest.LogCaptureFixture

    def start(self, *words: str) -> subprocess.Popen[str]:
        """A command in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-c", COMMAND, "ml", *words],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def refused(self, *words: str) -> tuple[int, str]:
        """Exit code and what was said."""
        self.log.clear()
        code = run("ml", list(words))
        return code, self.capture.readouterr().err + self.log.text

    def ask(self, *words: str) -> Any:
        """What a command that succeeds answers. Here, not in a process: the SDK takes seconds to load."""
        code = run("ml", list(words))
        said = self.capture.readouterr()
        assert code == 0, said.err + self.log.text
        return json.loads(said.out) if said.out.strip() else None

    def deployment(self, verb: str, *words: str) -> Any:
        return self.ask("online-deployment", verb, "--local", *words)

    def create(self, name: str = "blue", *words: str) -> Any:
        file = str(self.project / "deployment.yml")
        return self.deployment("create", "-f", file, "-n", name, *words)

    def show(self, name: str = "blue") -> Any:
        return self.deployment("show", "-e", self.endpoint, "-n", name)

    def logs(self, *words: str) -> Any:
        place = ("-e", self.endpoint, "-n", "blue")
        return self.deployment("get-logs", *place, *words, "-o", "json")

    def invoke(self, *words: str) -> Any:
        request = str(self.project / "request.json")
        words = ("-n", self.endpoint, "-r", request, *words)
        return json.loads(self.ask("online-endpoint", "invoke", "--local", *words))

    def servers(self) -> list[psutil.Process]:
        """Those that answer for this home."""
        return [
            process
            for process in psutil.process_iter()
            if any(str(self.folder) in word for word in cmdline(process))
            and "inference_server" in cmdline(process)
        ]

    @property
    def folder(self) -> Path:
        return self.home / "local" / "endpoints" / self.endpoint


def cmdline(process: psutil.Process) -> list[str]:
    """Empty for what has ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def wait_for(condition: Callable[[], object], what: str) -> None:
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until, f"it did not {what}"
        time.sleep(0.05)
