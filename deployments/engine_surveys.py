"""How the Docker engines of this installation do, for people who look."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.cache import cache

from deployments.computes import find_engine
from deployments.engines import engines
from deployments.installation import address_of
from deployments.runtimes.docker.addresses import EngineAddress
from deployments.runtimes.docker.placement import Share
from deployments.runtimes.endings import cores_in_words, in_words
from workspaces.compute_engines import EngineSpec, engine_specs
from workspaces.models import Compute

if TYPE_CHECKING:
    from deployments.runtimes.docker.survey import EngineSurvey

CACHED_SECONDS = 10


def survey_engines(*, is_fresh: bool = False) -> list[EngineSurvey]:
    """All of them, asked side by side, within some seconds however silent they are; unless `is_fresh`, at most ten
    seconds ago.
    """
    known: list[EngineSurvey] | None = None if is_fresh else cache.get("engines")
    if known is None:
        known = _ask(engines())
        cache.set("engines", known, CACHED_SECONDS)
    return known


@dataclass(frozen=True)
class SurveyedEngine:
    """One engine of an attached compute: what was said of it, and what it says."""

    spec: EngineSpec
    survey: EngineSurvey

    @property
    def cores(self) -> float:
        """What our instances may have of it together; more than the host has where an operator says so."""
        return Share(most_cores=self.spec.most_cores).cores(float(self.survey.cores))

    @property
    def memory_bytes(self) -> int:
        share = Share(most_memory_bytes=self.spec.most_memory_bytes)
        return share.memory_bytes(self.survey.memory_bytes)

    @property
    def over_commitment(self) -> str:
        """The warning where the limits are more than the host has; empty where they are not."""
        if self.survey.away:
            return ""
        more = []
        if self.cores > self.survey.cores:
            has = cores_in_words(self.survey.cores)
            more.append(f"maxCores is {self.cores:g}, and the host has {has}")
        if self.memory_bytes > self.survey.memory_bytes:
            has = in_words(self.survey.memory_bytes)
            more.append(f"maxMemoryBytes is {in_words(self.memory_bytes)}, and the host has {has}")
        if not more:
            return ""
        return f"Over-committed: {'; '.join(more)}. Instances may slow each other down, or be killed for memory."


def survey_compute(compute: Compute, *, is_fresh: bool = False) -> list[SurveyedEngine]:
    """All engines of the compute by name, asked side by side; unless `is_fresh`, at most ten seconds ago."""
    wanted = engine_specs(compute)
    # Addresses are part of the key: one that was changed is asked at once.
    digest = hashlib.sha256(repr([(spec.name, spec.address) for spec in wanted]).encode())
    key = f"engines-{compute.pk}-{digest.hexdigest()[:16]}"
    known: dict[str, EngineSurvey] | None = None if is_fresh else cache.get(key)
    if known is None:
        found = _ask([address_of(spec) for spec in wanted])
        known = {survey.name: survey for survey in found}
        cache.set(key, known, CACHED_SECONDS)
    return [SurveyedEngine(spec, known[spec.name]) for spec in wanted if spec.name in known]


def check_engine(compute: Compute, name: str) -> SurveyedEngine:
    """Ask one engine now, within some seconds; `NotFound` for one that the compute does not have."""
    spec = find_engine(compute, name)
    (survey,) = _ask([address_of(spec)])
    return SurveyedEngine(spec, survey)


def _ask(places: Sequence[EngineAddress]) -> list[EngineSurvey]:
    if not places:
        return []
    # By name, so that processes which look at no engine do not load docker's SDK.
    ask = importlib.import_module("deployments.runtimes.docker.survey").survey
    with ThreadPoolExecutor(len(places)) as threads:
        return list(threads.map(partial(ask, installation=settings.INSTALLATION), places))
