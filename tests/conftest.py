"""For all tests: PostgreSQL and Redis before Django's settings are read, and a house for those who need one."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator

import django
import pytest
from pytest_django import Settings

from tests.house import House
from tests.servers import Servers

# Where it is set, as in many containers, each of the hundreds of processes of a run compiles all it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

servers = Servers()
servers.start()
django.setup()

IS_CI = os.environ.get("CI") == "true"


def pytest_unconfigure() -> None:
    servers.stop()


def _is_of_the_kernel(report: pytest.TestReport) -> bool:
    """What a kernel does not offer cannot be installed; such a skip names it: `kernel: …`."""
    return isinstance(report.longrepr, tuple) and "kernel: " in str(report.longrepr[2])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a missing part is a failure: a skipped test would hide it for ever."""
    report = yield
    if (
        IS_CI
        and report.skipped
        and not hasattr(report, "wasxfail")
        and not _is_of_the_kernel(report)
    ):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if IS_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def plain_static_files(settings: Settings) -> None:
    """Addresses of static files as they are in the source: nothing was collected."""
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": plain}
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]


@pytest.fixture(autouse=True)
def own_cache(settings: Settings) -> None:
    """Clearing the cache on Redis would clear that of every other worker of the run, too."""
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}


@pytest.fixture(autouse=True)
def quick_passwords(settings: Settings) -> None:
    """The real hasher takes 200 ms, which is its purpose; signing in is the same with any."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(scope="session")
def house() -> Iterator[House]:
    """A running installation, shared by the tests of one run: leave it as you found it."""
    with House() as running:
        yield running
