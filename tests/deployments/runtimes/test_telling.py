"""Which console lines stand on a failure card."""

from __future__ import annotations

from deployments.runtimes.telling import telling

BANNER = [
    "Azure ML Inferencing HTTP server v1.5.1 (contract), served by Portico",
    "Server Routes",
    "---------------",
    "Liveness Probe: GET   0.0.0.0:5001/",
    "Score:          POST  0.0.0.0:5001/score",
]


def test_the_evidence_begins_after_the_servers_banner() -> None:
    said = [
        "first start",
        *BANNER,
        "",
        "azmlinfsrv.print - about to load",
        "Worker ended: no run()",
    ]
    assert telling(said) == ("azmlinfsrv.print - about to load", "Worker ended: no run()")


def test_a_server_that_said_nothing_else_shows_its_banner() -> None:
    assert telling(BANNER) == tuple(BANNER)


def test_the_last_traceback_is_what_matters() -> None:
    said = [
        "Traceback (most recent call last):",
        "OldError: retried",
        *BANNER,
        "2026-11-21 18:16:43 E azmlinfsrv - Traceback (most recent call last):",
        "ValueError: new",
    ]
    assert telling(said) == tuple(said[-2:])


def test_a_long_traceback_keeps_its_beginning_and_its_end() -> None:
    frames = [f'  File "score.py", line {number}' for number in range(40)]
    found = telling(["Traceback (most recent call last):", *frames, "RecursionError: deep"])
    assert len(found) == 12
    assert found[:2] == ("Traceback (most recent call last):", "…")
    assert found[-1] == "RecursionError: deep"


PROBES = [
    '10.201.0.1 - - [21/Nov/2026 19:40:01] "GET /health HTTP/1.1" 200 -',
    'INFO:     10.201.0.1:40412 - "GET /ready HTTP/1.1" 200 OK',
    "2026-11-21 19:40:02,123 I [7] azmlinfsrv - GET / 200 0.104ms 7",
]


def test_probes_that_were_answered_are_no_evidence() -> None:
    assert telling(["loading", *PROBES, "out of file handles"]) == (
        "loading",
        "out of file handles",
    )


def test_a_traceback_that_the_server_outlived_is_no_evidence() -> None:
    old = ["Traceback (most recent call last):", "ValueError: one bad request"]
    assert telling([*old, *PROBES, "bye"]) == ("bye",)
    assert telling([*old, *PROBES]) == ()
    assert telling([*PROBES, *old]) == tuple(old)
