"""A log is a stranger's text: on a terminal it has colours, and gives no orders."""

from __future__ import annotations

import io
import sys

import pytest

from cli.terminal import harmless, shown


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        ("two\r\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b[31;1mred\x1b[0m", "\x1b[31;1mred\x1b[0m\x1b[0m"),
        ("\x1b[41mred for ever\nnot here", "\x1b[41mred for ever\x1b[0m\nnot here"),
        ("a\x1b[2Jb\x1b[1;1Hc\x1b[6nd", "abcd"),
        ("\x1b]0;title\x07kept", "kept"),
        ("\x1b]52;c;aGk=\x1b\\kept", "kept"),
        ("kept\x1b]0;without an end", "kept"),
        ("\x1bP1$r0m\x1b\\kept \x1bckept", "kept kept"),
        ("one\rtwo\x08\x9b31m", "one\ufffdtwo\ufffd\ufffd31m"),
    ],
)
def test_orders_to_the_terminal_go_and_colours_stay(said: str, seen: str) -> None:
    assert harmless(said) == seen


def test_a_file_gets_what_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", terminal)
    assert shown("a\x1b[2Jb") == "ab"
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert shown("a\x1b[2Jb") == "a\x1b[2Jb"
