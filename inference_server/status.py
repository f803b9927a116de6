"""The deployment's state, for the portal: a small JSON file, replaced whole at each change, or lines of the console."""

import json
import os
import sys
from dataclasses import asdict, dataclass, field, replace
from typing import Any

CONSOLE = "-"
"""In place of a path: where no file outlives us, as in a container, the console does."""
CONSOLE_MARK = "\x1eportico-status "
"""What such a line begins with; whoever reads the console knows it by that, and shows it to nobody."""
CONSOLE_LINE_LENGTH = 400


@dataclass(frozen=True)
class Status:
    """`code`, `message` and `evidence` tell the latest failure of a worker, if there was one."""

    state: str = "starting"
    code: str = ""
    message: str = ""
    evidence: list[str] = field(default_factory=list)
    worker_count: int = 0
    ready_workers: int = 0
    restarts: int = 0
    pid: int = 0


class StatusFile:
    """Keeps the current status, and the file (if one is wanted) in step with it."""

    def __init__(self, path: str | None, worker_count: int) -> None:
        self.status = Status(worker_count=worker_count, pid=os.getpid())
        self._path = path
        self._write()

    def change(self, **changes: Any) -> None:
        changed = replace(self.status, **changes)
        if changed != self.status:
            self.status = changed
            self._write()

    def _write(self) -> None:
        if self._path is None:
            return
        if self._path == CONSOLE:
            self._print()
            return
        # A reader sees the old text or the new one, never a part.
        temporary = f"{self._path}.{os.getpid()}"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(asdict(self.status), file)
        os.replace(temporary, self._path)

    def _print(self) -> None:
        facts = asdict(self.status)
        # Short enough that nobody on the way cuts the line.
        facts["message"] = facts["message"][: 2 * CONSOLE_LINE_LENGTH]
        facts["evidence"] = [line[:CONSOLE_LINE_LENGTH] for line in facts["evidence"]]
        sys.stdout.write(f"{CONSOLE_MARK}{json.dumps(facts)}\n")
        sys.stdout.flush()
