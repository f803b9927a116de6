"""How the Docker engines of this installation do, for people who look."""

from __future__ import annotations

import importlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.cache import cache

from deployments.engines import engines

if TYPE_CHECKING:
    from deployments.runtimes.docker.survey import EngineSurvey

CACHED_SECONDS = 10


def survey_engines(*, is_fresh: bool = False) -> list[EngineSurvey]:
    """All of them, asked side by side, within some seconds however silent they are; unless `is_fresh`, at most ten
    seconds ago.
    """
    # By name, so that processes which look at no engine do not load docker's SDK.
    ask = importlib.import_module("deployments.runtimes.docker.survey").survey
    known: list[EngineSurvey] | None = None if is_fresh else cache.get("engines")
    if known is None:
        places = engines()
        with ThreadPoolExecutor(len(places)) as threads:
            known = list(threads.map(partial(ask, installation=settings.INSTALLATION), places))
        cache.set("engines", known, CACHED_SECONDS)
    return known
