"""Server verbs: what is said before a command begins its work."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_django import Settings

from cli import server


@pytest.fixture
def home(settings: Settings, tmp_path: Path) -> Path:
    """On the default settings: other machines are let in, and this one is called localhost."""
    settings.PORTICO_HOME = tmp_path
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path / "uploads")
    settings.PORTICO_BIND, settings.PORTICO_HOST = "0.0.0.0", "localhost"
    return tmp_path


@pytest.fixture
def used_home(home: Path) -> Path:
    (home / "up.lock").touch()
    (home / "uploads").mkdir()
    return home


@pytest.mark.parametrize("verb", sorted(server.ON_INSTALLATION))
def test_a_verb_on_an_empty_home_says_how_to_name_the_right_one(
    home: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    assert server.run(verb, []) == 1
    assert capsys.readouterr().err == (
        f"portico {verb}: No Portico has run on {home}. Start it with 'make run', or set PORTICO_HOME to "
        "the folder of the one that does.\n"
    )


@pytest.mark.parametrize("is_embedded", [True, False])
def test_a_verb_on_the_database_needs_a_home_only_when_the_database_is_in_it(
    home: Path, settings: Settings, capsys: pytest.CaptureFixture[str], is_embedded: bool
) -> None:
    settings.EMBEDDED_POSTGRES = is_embedded
    code = server.run("shell", ["--command", "print('here')", "--no-imports"])
    assert (code, capsys.readouterr().out) == ((1, "") if is_embedded else (0, "here\n"))


@pytest.mark.usefixtures("used_home")
@pytest.mark.django_db
def test_warnings_are_left_to_the_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    assert server.run("sample", ["--workspace", "nowhere"]) == 1
    assert capsys.readouterr().err == "portico sample: There is no workspace 'nowhere'.\n"


@pytest.mark.usefixtures("used_home")
def test_an_error_in_the_settings_is_one_sentence(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.LOG_LEVEL = "LOUD"
    assert server.run("sample", []) == 1
    assert capsys.readouterr().err == (
        "portico sample: PORTICO_LOG_LEVEL is 'LOUD'. Set it to DEBUG, INFO, WARNING or ERROR.\n"
    )
