"""Follows consoles in a process of its own, for tests that kill it: `python -m … <segments> <instances>`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from monitoring import consoles
from monitoring.follow import LogFollower

consoles.CHUNK_BYTES = 4096


def main(root: Path, instances: Path) -> None:
    follower = LogFollower(root, instances, ring=lambda deployment_id, cursor: None)
    while True:
        if not follower.step():
            time.sleep(0.002)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
