"""One server per scoring script and test module; each is stopped at the end."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.inference_server import scripts
from tests.inference_server.serving import Served, launch, wait_until_healthy


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every check here starts a real server and speaks to it: not for the fast circle."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.real)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Served]]:
    """`server("PLAIN", "--flag", ...)`: a server on that script, shared by the module's tests."""
    running: dict[Any, Served] = {}

    def get(name: str, *flags: str, **more: Any) -> Served:
        key = (name, flags, repr(more))
        if key not in running or running[key].process.poll() is not None:
            folder = tmp_path_factory.mktemp(name.lower())
            running[key] = launch(folder, getattr(scripts, name), *flags, **more)
            wait_until_healthy(running[key])
        return running[key]

    yield get
    for served in running.values():
        served.process.terminate()
    for served in running.values():
        served.stop()


@pytest.fixture
def start(tmp_path: Any) -> Iterator[Callable[..., Served]]:
    """`start(script_text, "--flag", ...)`: a server of this test's own, not waited for."""
    running: list[Served] = []

    def begin(script: str | None, *flags: str, **more: Any) -> Served:
        served = launch(tmp_path / str(len(running)), script, *flags, **more)
        running.append(served)
        return served

    yield begin
    for served in running:
        served.stop()
