"""What is made of a user's Dockerfile before it is built."""

from __future__ import annotations

import pytest

from deployments.images.dockerfiles import with_secrets
from workspaces.errors import UserError

TEXT = """FROM base
RUN --mount=type=cache,target=/root/.cache/pip \\
    --mount=type=bind,source=a,target=/b \\
    pip install x
RUN --mount=target=/c,type=cache,id=mine,sharing=locked ["true"]
"""


def rewritten(text: str) -> str:
    return with_secrets(text, keep_syntax=True, cache_scope="house-7")


def test_cache_mounts_belong_to_the_workspace_and_lines_keep_their_numbers() -> None:
    lines = rewritten(TEXT).splitlines()
    assert len(lines) == len(TEXT.splitlines())
    assert "type=cache,target=/root/.cache/pip,id=house-7-/root/.cache/pip " in lines[1]
    assert lines[2] == "    --mount=type=bind,source=a,target=/b \\"
    assert lines[3] == "    . /run/portico/env; pip install x"
    assert "id=house-7-mine,sharing=locked [" in lines[4]


@pytest.mark.parametrize(
    "run", ["RUN --network=host true", "RUN --mount=type=tmpfs,target=/t \\\n --network=host true"]
)
def test_a_step_on_the_machines_own_network_is_refused(run: str) -> None:
    with pytest.raises(UserError, match="line 2: RUN --network=host"):
        rewritten(f"FROM base\n{run}")
