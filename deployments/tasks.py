"""The worker's doors: thin, safe to run twice, safe to be killed."""

from __future__ import annotations

import logging

from celery import shared_task
from django.db import connection

from deployments import debugging, environment_builds, provisioning, samples, tidying
from deployments.models import DebugSession, EnvironmentBuild, OnlineDeployment, SampleLoad

logger = logging.getLogger(__name__)

# Short, so that a step whose worker was killed is taken up again within seconds; a thread prolongs it.
LEASE_SECONDS = 8
AGAIN_AFTER_A_FAULT_SECONDS = 5
SWEEP_LOCK = 7_426_001


@shared_task(acks_late=True, ignore_result=True)
def advance(deployment_id: int) -> None:
    """Take one provisioning step, and the next one for as long as nothing has to be waited for."""
    deployment = OnlineDeployment.claim(deployment_id, seconds=LEASE_SECONDS)
    if deployment is None:
        return
    again: float | None = AGAIN_AFTER_A_FAULT_SECONDS
    with deployment.lease_kept(seconds=LEASE_SECONDS) as lost:
        try:
            outcome = provisioning.step(deployment, lost)
        except Exception:
            # Ours to mend, and maybe over soon (a full disk, a database restart): the wish stays due.
            logger.exception("advancing deployment %s failed", deployment_id)
            deployment.settle(again_in_seconds=again)
        else:
            again = outcome.again_in_seconds
            if deployment.pk is None or not deployment.settle(
                outcome.to, again_in_seconds=again, **outcome.changes
            ):
                again = 0.0 if deployment.pk is not None else None
    if again is not None:
        advance.apply_async((deployment_id,), countdown=again)


@shared_task(acks_late=True, ignore_result=True)
def advance_sample(load_id: int) -> None:
    """Take one step towards the sample endpoint."""
    load = SampleLoad.claim(load_id, seconds=LEASE_SECONDS)
    if load is None:
        return
    with load.lease_kept(seconds=LEASE_SECONDS):
        try:
            to, again, message = samples.advance(load)
        except Exception:
            logger.exception("loading the sample %s failed", load_id)
            load.settle(again_in_seconds=AGAIN_AFTER_A_FAULT_SECONDS)
            return
        load.settle(to, again_in_seconds=again, message=message)


@shared_task(acks_late=True, ignore_result=True)
def build_environment(build_id: int) -> None:
    """Build a registered environment, from the beginning if another worker was killed over it."""
    build = EnvironmentBuild.claim(build_id, seconds=LEASE_SECONDS)
    if build is None:
        return
    if build.state == EnvironmentBuild.State.QUEUED:
        build.settle(EnvironmentBuild.State.RUNNING, again_in_seconds=0.0)
        build_environment.delay(build_id)
        return
    with build.lease_kept(seconds=LEASE_SECONDS) as lost:
        try:
            outcome = environment_builds.run_build(build, lost)
        except Exception:
            logger.exception("building an environment failed: %s", build_id)
            build.settle(again_in_seconds=AGAIN_AFTER_A_FAULT_SECONDS)
            return
        if outcome is None:
            return
        build.settle(outcome.to, **outcome.changes)


@shared_task(acks_late=True, ignore_result=True)
def advance_debug_session(session_id: int) -> None:
    """Take one look at a debug session."""
    session = DebugSession.claim(session_id, seconds=LEASE_SECONDS)
    if session is None:
        return
    with session.lease_kept(seconds=LEASE_SECONDS):
        try:
            to, again = debugging.step(session)
        except Exception:
            logger.exception("advancing debug session %s failed", session_id)
            session.settle(again_in_seconds=AGAIN_AFTER_A_FAULT_SECONDS)
            return
        if again is not None:
            session.settle(to, again_in_seconds=again)


@shared_task(ignore_result=True)
def sweep() -> None:
    """Hand out what is due. Enough by itself when every ring of the doorbell is lost."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [SWEEP_LOCK])
        if not cursor.fetchone()[0]:
            return  # another sweep is running
    try:
        for deployment_id in provisioning.sweep():
            advance.delay(deployment_id)
        for load_id in SampleLoad.objects.due().values_list("pk", flat=True):
            advance_sample.delay(load_id)
        for session_id in DebugSession.objects.due().values_list("pk", flat=True):
            advance_debug_session.delay(session_id)
        for build_id in EnvironmentBuild.objects.due().values_list("pk", flat=True):
            build_environment.delay(build_id)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [SWEEP_LOCK])


@shared_task(ignore_result=True)
def tidy() -> None:
    """Take away what nothing needs any more."""
    tidying.tidy()


@shared_task(ignore_result=True)
def prune_package_cache() -> None:
    tidying.prune_package_cache()
