"""What the operator reads once the portal answers."""

from __future__ import annotations

import pytest

from portal.management.commands.prepare import starting_text
from portal.supervisor import ready_text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (1, "1 deployment starts now; its endpoint answers 503 until it is up."),
        (2, "2 deployments start now; their endpoints answer 503 until they are up."),
    ],
)
def test_the_ready_text_says_what_does_not_answer_yet(count: int, text: str) -> None:
    assert starting_text(count) == text
    lines = ready_text("http://localhost/x", text).splitlines()
    assert lines[-3:] == [text, "", "Ctrl-C stops it."]


def test_without_anything_to_start_the_ready_text_says_nothing_of_it() -> None:
    assert "503" not in ready_text("http://localhost/x")
