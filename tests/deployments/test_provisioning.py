from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from pytest_django import Settings

from deployments import instances, provisioning, staging
from deployments.changes import (
    cancel,
    delete_deployment,
    restore_revision,
    retry,
    scale_deployment,
    spec_of,
    update_deployment,
)
from deployments.environments import Cancelled
from deployments.environments.uv_command import Cancel, Log
from deployments.models import (
    Instance,
    InstanceSpan,
    OnlineDeployment,
    Operation,
    Phase,
    Revision,
)
from deployments.phases import FOUND, expected_seconds
from deployments.runtimes import InstanceSpec
from deployments.runtimes.fake import FAILS, HANGS, FakeRuntime, Plan
from deployments.staging import fetch, folder_of, instance_name, model_dir
from endpoints.changes import delete_endpoint
from endpoints.models import OnlineEndpoint
from endpoints.traffic import set_traffic
from tests.deployments.conftest import Factory, advance_once, advance_until
from workspaces import storage
from workspaces.errors import Conflict

pytestmark = pytest.mark.django_db

DONE = ("Succeeded", "Failed")


def addresses(deployment: OnlineDeployment) -> list[str]:
    upstream = deployment.endpoint.upstreams.get(deployment_name=deployment.name)
    return list(upstream.addresses)


def finish_draining(deployment: OnlineDeployment) -> None:
    Instance.objects.filter(state="Draining").update(remove_after=timezone.now())
    advance_once(deployment)


def running(runtime: FakeRuntime) -> list[str]:
    return sorted(runtime.owned())


def test_a_deployment_goes_through_all_phases_and_answers(make: Factory) -> None:
    deployment = advance_until(make.deployment(), *DONE)
    assert deployment.state == "Succeeded", deployment.failure
    operation = deployment.operations.get()
    assert operation.state == "Succeeded"
    names = list(operation.phases.values_list("name", flat=True))
    assert names[:4] == ["Validate", "Fetch model", "Build environment", "Start"]
    assert names[-1] == "Register route"
    assert set(operation.phases.values_list("state", flat=True)) == {"Succeeded"}
    assert len(addresses(deployment)) == 1
    assert deployment.serving_revision == deployment.revision


def test_what_a_clean_stop_ended_is_counted_as_not_yet_answering(make: Factory) -> None:
    advance_until(make.deployment(), *DONE)
    assert provisioning.count_unserved() == 0
    provisioning.stop_all_instances()
    assert provisioning.count_unserved() == 1


def test_the_model_lies_where_azure_says(make: Factory) -> None:
    deployment = advance_until(make.deployment(), *DONE)
    assert deployment.revision is not None
    root = model_dir(deployment.revision)
    assert root.parts[-3:] == ("azureml-models", "churn", "1")
    assert (root / "model" / "m.pkl").read_bytes() == b"weights"


def test_the_storage_initializer_tells_what_was_fetched_for_which_revision(make: Factory) -> None:
    deployment = advance_until(make.deployment(), *DONE)
    scale_deployment(deployment, 2, by=None)
    deployment = advance_until(deployment, *DONE)
    second, first = Phase.objects.filter(name="Fetch model").order_by("-started_at")
    lines = first.log.splitlines()
    assert lines[0].startswith("Revision 1 of ")
    assert any(line.startswith("Code scoring:") and "score.py" in line for line in lines)
    assert "Model churn:1, Custom" in " ".join(lines)
    assert re.search(
        r"fetched: 1 file, 7 bytes, in \d+\.\d\d s; mounted read-only, "
        r"AZUREML_MODEL_DIR=azureml-models/churn/1",
        first.log,
    )
    assert "    m.pkl  7 bytes" in lines
    assert lines[-1].startswith("Storage initialized in ")
    assert "already in place: 1 file, 7 bytes" in second.log


def test_a_model_whose_files_are_gone_is_named_in_the_storage_initializers_log(
    make: Factory, settings: Settings
) -> None:
    deployment = make.deployment()
    revision = deployment.revision
    assert revision is not None and revision.model_version is not None
    [entry] = storage.entries(revision.model_version.content_hash)
    [blob] = Path(settings.STORAGE_ROOT).rglob(entry.sha256)
    blob.unlink()
    lines: list[str] = []
    with pytest.raises(FileNotFoundError):
        fetch(revision, lines.append)
    assert lines[-2].startswith("Model churn:1")
    assert "failed after" in lines[-1]


def test_several_instances_all_answer_before_it_has_succeeded(make: Factory) -> None:
    deployment = advance_until(make.deployment(instance_count=3), *DONE)
    assert len(addresses(deployment)) == 3


def test_a_script_that_fails_fails_the_deployment_at_once_with_its_reason(
    make: Factory, runtime: FakeRuntime
) -> None:
    runtime.plan("", FAILS)
    deployment = advance_until(make.deployment(), *DONE)
    assert deployment.state == "Failed"
    assert deployment.failure["code"] == "UserScriptInitFailed"
    assert deployment.failure["evidence"] == ["ValueError: no such model"]
    assert deployment.failure["fixes"]
    finish_draining(deployment)
    assert running(runtime) == []
    assert deployment.instances.count() == 0


def test_an_update_rolls_and_the_old_instance_serves_until_the_new_is_ready(
    make: Factory, runtime: FakeRuntime
) -> None:
    deployment = advance_until(make.deployment(), *DONE)
    old = addresses(deployment)
    spec = spec_of(deployment)
    runtime.plan("", Plan(inspections_before=2))
    update_deployment(deployment, replace(spec, request_timeout_ms=9000), by=None)
    seen_old = 0
    while OnlineDeployment.objects.get(pk=deployment.pk).state == "Updating":
        advance_once(deployment)
        now = addresses(deployment)
        assert now, "nobody answers"
        seen_old += now == old
    assert seen_old > 1
    fresh = OnlineDeployment.objects.get(pk=deployment.pk)
    assert (fresh.state, addresses(fresh) == old) == ("Succeeded", False)
    assert fresh.endpoint.upstreams.get().request_timeout_ms == 9000
    finish_draining(fresh)
    assert len(running(runtime)) == 1


def test_a_failed_update_leaves_the_old_revision_serving(
    make: Factory, runtime: FakeRuntime
) -> None:
    deployment = advance_until(make.deployment(), *DONE)
    before, serving = addresses(deployment), deployment.serving_revision
    runtime.plan("", FAILS)
    update_deployment(
        deployment, make.spec(script=b"def init(): 1/0\ndef run(x): pass\n"), by=None
    )
    deployment = advance_until(deployment, *DONE)
    assert (deployment.state, deployment.serving_revision) == ("Failed", serving)
    assert addresses(deployment) == before
    finish_draining(deployment)
    assert addresses(deployment) == before
    assert len(running(runtime)) == 1


def test_a_failed_deployment_can_be_tried_again(make: Factory, runtime: FakeRuntime) -> None:
    runtime.plan("", FAILS)
    deployment = advance_until(make.deployment(), *DONE)
    runtime.plan("", Plan())
    retry(deployment, by=make.alice)
    assert advance_until(deployment, *DONE).state == "Succeeded"
    assert OnlineDeployment.objects.get(pk=deployment.pk).failure == {}


def test_scaling_up_and_down_restarts_nobody(make: Factory, runtime: FakeRuntime) -> None:
    deployment = advance_until(make.deployment(), *DONE)
    first = running(runtime)[0]
    scale_deployment(deployment, 3, by=None)
    deployment = advance_until(deployment, *DONE)
    assert len(addresses(deployment)) == 3
    scale_deployment(deployment, 1, by=None)
    deployment = advance_until(deployment, *DONE)
    finish_draining(deployment)
    assert running(runtime) == [first]
    assert runtime.starts(first) == 1
    assert deployment.revisions.count() == 1


def test_count_and_code_in_one_update_scale_first(make: Factory, runtime: FakeRuntime) -> None:
    deployment = advance_until(make.deployment(), *DONE)
    spec = replace(spec_of(deployment), instance_count=2, request_timeout_ms=7000)
    update_deployment(deployment, spec, by=None)
    advance_once(deployment)
    revisions = set(Instance.objects.values_list("revision__number", flat=True))
    assert 1 in revisions
    deployment = advance_until(deployment, *DONE)
    assert runtime.starts(instance_name(deployment.revisions.get(number=1), 1)) == 1
    assert len(addresses(deployment)) == 2


def test_the_same_wish_again_provisions_nothing(make: Factory) -> None:
    deployment = advance_until(make.deployment(), *DONE)
    update_deployment(deployment, spec_of(deployment), by=None)
    assert deployment.operations.count() == 1


def test_an_earlier_revision_can_be_restored(make: Factory) -> None:
    deployment = advance_until(make.deployment(), *DONE)
    update_deployment(deployment, replace(spec_of(deployment), request_timeout_ms=8000), by=None)
    deployment = advance_until(deployment, *DONE)
    restore_revision(deployment, 1, by=None)
    deployment = advance_until(deployment, *DONE)
    assert spec_of(deployment).request_timeout_ms == 5000


def test_a_second_operation_while_one_runs_is_a_conflict(make: Factory) -> None:
    deployment = make.deployment()
    with pytest.raises(Conflict, match="is Creating"):
        update_deployment(deployment, replace(spec_of(deployment), request_timeout_ms=1), by=None)


def test_cancelling_ends_the_operation_and_keeps_what_served(
    make: Factory, runtime: FakeRuntime
) -> None:
    deployment = advance_until(make.deployment(), *DONE)
    runtime.plan("", HANGS)
    update_deployment(deployment, replace(spec_of(deployment), request_timeout_ms=1), by=None)
    advance_once(deployment)
    cancel(deployment, by=None)
    deployment = advance_until(deployment, *DONE)
    assert deployment.failure["code"] == "OperationCanceled"
    assert deployment.operations.first().state == Operation.State.CANCELED  # type: ignore[union-attr]
    assert len(addresses(deployment)) == 1


def test_deleting_what_has_traffic_is_refused_and_changes_nothing(make: Factory) -> None:
    deployment = advance_until(make.deployment(), *DONE)
    set_traffic(deployment.endpoint, {"blue": 100}, by=None)
    with pytest.raises(Conflict, match="Set its traffic to 0 % first"):
        delete_deployment(deployment, by=None)
    assert OnlineDeployment.objects.get().state == "Succeeded"


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_deleting_works_at_any_moment_of_a_creation(
    make: Factory, runtime: FakeRuntime, steps: int
) -> None:
    deployment = make.deployment()
    for _ in range(steps):
        advance_once(deployment)
    delete_deployment(deployment, by=None)
    delete_deployment(deployment, by=None)
    for _ in range(10):
        Instance.objects.update(remove_after=timezone.now())
        if not OnlineDeployment.objects.exists():
            break
        advance_once(deployment)
    assert not OnlineDeployment.objects.exists()
    assert running(runtime) == []
    assert not deployment.endpoint.upstreams.exists()
    assert not folder_of(OnlineDeployment(pk=deployment.pk)).exists()


def test_deleting_an_endpoint_takes_its_deployments_along(
    make: Factory, runtime: FakeRuntime
) -> None:
    endpoint = make.endpoint()
    for name in ("blue", "green"):
        advance_until(make.deployment(endpoint, name=name), *DONE)
    set_traffic(endpoint, {"blue": 100}, by=None)
    delete_endpoint(endpoint, by=None)
    for _ in range(10):
        Instance.objects.update(remove_after=timezone.now())
        OnlineDeployment.objects.filter(due_at__isnull=False).update(due_at=timezone.now())
        for pk in provisioning.sweep():
            advance_once(OnlineDeployment(pk=pk))
    assert not OnlineEndpoint.objects.exists()
    assert running(runtime) == []


def test_the_sweep_alone_is_enough(make: Factory) -> None:
    deployment = make.deployment()
    for _ in range(20):
        for pk in provisioning.sweep():
            advance_once(OnlineDeployment(pk=pk))
        OnlineDeployment.objects.filter(due_at__isnull=False).update(due_at=timezone.now())
    assert OnlineDeployment.objects.get(pk=deployment.pk).state == "Succeeded"


def test_the_sweep_leaves_healthy_rows_alone(make: Factory) -> None:
    advance_until(make.deployment(), *DONE)
    assert provisioning.sweep() == []


def test_an_instance_that_dies_is_started_again(make: Factory, runtime: FakeRuntime) -> None:
    deployment = advance_until(make.deployment(), *DONE)
    name = running(runtime)[0]
    runtime.crash(name)
    assert provisioning.sweep() == [deployment.pk]
    advance_once(deployment)
    advance_once(deployment)
    assert runtime.starts(name) == 2
    assert len(addresses(deployment)) == 1
    assert OnlineDeployment.objects.get(pk=deployment.pk).state == "Succeeded"


def test_an_instance_that_dies_again_and_again_waits_longer_each_time(
    make: Factory, runtime: FakeRuntime
) -> None:
    deployment = advance_until(make.deployment(), *DONE)
    name = running(runtime)[0]
    pauses = []
    for _ in range(4):
        runtime.crash(name)
        advance_once(deployment)
        row = Instance.objects.get()
        pauses.append((row.start_after - timezone.now()).total_seconds())
        Instance.objects.update(start_after=timezone.now())
        advance_once(deployment)
    assert pauses == sorted(pauses)
    assert pauses[-1] > 3
    assert addresses(deployment)


def test_what_runs_without_a_row_is_removed(make: Factory, runtime: FakeRuntime) -> None:
    deployment = advance_until(make.deployment(), *DONE)
    kept = running(runtime)
    runtime.ensure(
        InstanceSpec(
            name="nobody.knows.me.1.0",
            owner=1,
            code_dir=None,
            scoring_script="",
            model_dir=None,
            python=None,
        )
    )
    assert instances.remove_orphans() == ["nobody.knows.me.1.0"]
    assert running(runtime) == kept
    assert addresses(deployment)


def test_after_a_clean_stop_the_next_start_runs_everything_again(
    make: Factory, runtime: FakeRuntime
) -> None:
    deployment = advance_until(make.deployment(instance_count=2), *DONE)
    provisioning.stop_all_instances()
    assert running(runtime) == []
    assert addresses(deployment) == []
    assert provisioning.sweep() == [deployment.pk]
    advance_once(deployment)
    assert len(addresses(deployment)) == 2


def test_every_second_of_an_instance_is_in_exactly_one_span(make: Factory) -> None:
    deployment = advance_until(make.deployment(), *DONE)
    provisioning.stop_all_instances()
    advance_once(deployment)
    advance_once(deployment)
    spans = InstanceSpan.objects.order_by("started_at")
    assert [span.ended_at is None for span in spans] == [False, True]
    assert spans[1].price_per_hour == spans[0].price_per_hour > 0


def test_a_worker_that_lost_its_lease_does_not_end_the_operation(make: Factory) -> None:
    deployment = make.deployment()
    slow = OnlineDeployment.claim(deployment.pk, seconds=30)
    assert slow is not None
    OnlineDeployment.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    advance_until(deployment, *DONE)
    assert not slow.settle("Failed", failure={"code": "late"})
    assert OnlineDeployment.objects.get().state == "Succeeded"


def test_a_late_look_of_a_worker_takes_no_instance_out_of_the_routes(
    make: Factory, runtime: FakeRuntime
) -> None:
    deployment = advance_until(make.deployment(), *DONE)
    before = addresses(deployment)
    runtime.hang(running(runtime)[0])
    assert provisioning.sweep() == []
    advance_once(deployment)
    assert addresses(deployment) == before


def test_how_long_a_build_takes_is_told_by_builds_of_its_kind(make: Factory) -> None:
    operation = make.deployment().operations.get()
    for seconds, kind in ((90, "docker Dockerfile"), (4, "docker packages"), (0, FOUND)):
        began = timezone.now() - timedelta(minutes=5)
        other = Operation.objects.create(deployment=operation.deployment, kind=operation.kind)
        Phase.objects.create(
            operation=other,
            name=Phase.Name.BUILD_ENVIRONMENT,
            state=Phase.State.SUCCEEDED,
            started_at=began,
            ended_at=began + timedelta(seconds=seconds),
            build_kind=kind,
        )
    build = Phase.Name.BUILD_ENVIRONMENT
    assert expected_seconds(operation, build, build_kind="docker Dockerfile") == 90
    assert expected_seconds(operation, build, build_kind="docker packages") == 4
    assert expected_seconds(operation, build, build_kind="docker image") is None


def test_a_build_whose_deployment_is_deleted_is_stopped(
    make: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = make.deployment()
    asked: list[bool] = []

    def build(revision: Revision, log: Log, cancel: Cancel) -> None:
        asked.append(cancel())
        delete_deployment(revision.deployment, by=None)
        asked.append(cancel())
        raise Cancelled

    monkeypatch.setattr(staging, "build", build)
    while not asked:
        advance_once(deployment)
    assert asked == [False, True]
    deployment.refresh_from_db()
    assert deployment.state == "Deleting"
