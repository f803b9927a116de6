"""The side of an editor: attaches to debugpy by the debug adapter protocol, stops at a line, goes on."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SECONDS = 30.0


class DebuggerClient:
    """One attached debugger."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._sequence = 0
        self._seen: list[dict[str, Any]] = []

    def attach(self, breakpoints: dict[str, int], mappings: dict[str, str] | None = None) -> None:
        """Stop at one line of each file; `mappings` are folders here → there. Returns when the debuggee goes on."""
        self.ask("initialize", adapterID="tests", pathFormat="path")
        pairs = [
            {"localRoot": here, "remoteRoot": there} for here, there in (mappings or {}).items()
        ]
        attaching = self.send("attach", justMyCode=True, pathMappings=pairs)
        self.wait_for_event("initialized")
        for path, line in breakpoints.items():
            answer = self.ask(
                "setBreakpoints", source={"path": path}, breakpoints=[{"line": line}]
            )
            assert answer["breakpoints"][0]["verified"], answer
        self.ask("configurationDone")
        self.answer_to(attaching)

    def wait_for_stop(self) -> tuple[str, int, dict[str, str]]:
        """File and line where it stopped, and the local variables there; it stays there until `go_on`."""
        thread = self.wait_for_event("stopped")["threadId"]
        frame = self.ask("stackTrace", threadId=thread)["stackFrames"][0]
        scope = self.ask("scopes", frameId=frame["id"])["scopes"][0]
        found = self.ask("variables", variablesReference=scope["variablesReference"])
        variables = {one["name"]: one["value"] for one in found["variables"]}
        return frame["source"]["path"], frame["line"], variables

    def go_on(self) -> None:
        self.ask("continue", threadId=0)

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        return self.answer_to(self.send(command, **arguments))

    def send(self, command: str, **arguments: Any) -> int:
        """The number by which its answer is known."""
        self._sequence += 1
        request = {"seq": self._sequence, "type": "request", "command": command}
        body = json.dumps({**request, "arguments": arguments}).encode()
        self._file.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._file.flush()
        return self._sequence

    def answer_to(self, number: int) -> dict[str, Any]:
        answer = self._next(type="response", request_seq=number)
        assert answer["success"], answer
        body: dict[str, Any] = answer.get("body") or {}
        return body

    def wait_for_event(self, name: str) -> dict[str, Any]:
        body: dict[str, Any] = self._next(type="event", event=name).get("body") or {}
        return body

    def _next(self, **wanted: Any) -> dict[str, Any]:
        """The first message like this that nobody has asked for before."""
        while True:
            for message in self._seen:
                if wanted.items() <= message.items():
                    self._seen.remove(message)
                    return message
            self._seen.append(self._read())

    def _read(self) -> dict[str, Any]:
        length = 0
        while line := self._file.readline().strip():
            name, _, value = line.partition(b":")
            if name == b"Content-Length":
                length = int(value)
        assert length, "the debuggee hung up"
        found: dict[str, Any] = json.loads(self._file.read(length))
        return found


@contextmanager
def debugger(host: str, port: int) -> Iterator[DebuggerClient]:
    """Connected to what listens there, as soon as it does."""
    until = time.monotonic() + SECONDS
    while True:
        try:
            connection = socket.create_connection((host, port), timeout=SECONDS)
            break
        except OSError:
            assert time.monotonic() < until, f"no debugger can attach at {host}:{port}"
            time.sleep(0.05)
    # The file holds the connection open, too.
    with connection, connection.makefile("rwb") as file:
        yield DebuggerClient(file)
