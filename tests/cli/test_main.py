"""The console script before any verb is loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cli import __main__ as portico
from tests.house import ROOT


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert portico.run(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"  {verb} " in said for verb in portico.VERBS)


def test_without_a_verb_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert portico.run([]) == 0
    assert "Usage: portico <verb>" in capsys.readouterr().out


def test_an_unknown_verb_is_answered_with_the_nearest_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert portico.run(["docter"]) == 2
    assert capsys.readouterr().err == (
        "portico: 'docter' is not a verb. Did you mean 'doctor'? "
        "'portico --help' lists them all.\n"
    )


@pytest.mark.parametrize("words", ["--help", "--version", "nonsense"])
def test_django_is_not_loaded_before_a_verb_needs_it(words: str) -> None:
    script = (
        "import sys; from cli.__main__ import run; run(sys.argv[1:]); "
        "sys.exit('django' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, words], cwd=ROOT, capture_output=True)
    assert done.returncode == 0


def test_without_its_packages_the_client_says_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(portico, "CLIENT_PARTS", ("knack", "azure.ai.nonsense"))
    assert portico.run(["ml", "model", "list"]) == 2
    assert "pip install 'portico-ml[cli]'" in capsys.readouterr().err


def test_every_verb_has_a_module() -> None:
    assert all(
        (ROOT / f"{verb.module.replace('.', '/')}.py").exists() for verb in portico.VERBS.values()
    )
