"""Batch deployments: every field with its limits, the combinations, and what deleting leaves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from pytest_django import Settings

from deployments.batch import (
    create_batch_deployment,
    delete_batch_deployment,
    spec_of,
    update_batch_deployment,
    with_facts,
)
from deployments.batch_specs import BatchDeploymentSpec
from deployments.models import BatchDeployment
from endpoints.models import BatchEndpoint
from tests.api.conftest import store_assets
from tests.factories import (
    make_batch_deployment,
    make_batch_endpoint,
    make_component,
    make_compute,
    make_environment,
    make_model,
    make_online_endpoint,
)
from workspaces import catalog
from workspaces.computes import delete_compute, find_compute
from workspaces.errors import Conflict, UserError, ValidationFailed
from workspaces.models import Activity, Quota

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_store(settings: Settings, tmp_path: Path) -> None:
    settings.STORAGE_ROOT = tmp_path / "store"


@pytest.fixture
def endpoint(db: None) -> BatchEndpoint:
    return make_batch_endpoint(name="churn")


@pytest.fixture
def spec(endpoint: BatchEndpoint) -> BatchDeploymentSpec:
    """A wish with which nothing is wrong."""
    make_compute(endpoint.workspace, "cpu")
    assets = store_assets(endpoint.workspace)
    return BatchDeploymentSpec(
        name="blue",
        model=assets.model,
        code=assets.code,
        scoring_script="score.py",
        environment=assets.environment,
        compute="cpu",
    )


def stored(deployment: BatchDeployment) -> BatchDeploymentSpec:
    return spec_of(with_facts(BatchDeployment.objects.filter(pk=deployment.pk)).get())


def test_what_is_wished_is_stored_with_azures_defaults(
    endpoint: BatchEndpoint, spec: BatchDeploymentSpec
) -> None:
    made = create_batch_deployment(
        endpoint, replace(spec, environment_variables={"A": "secret"}), by=None
    )
    assert stored(made) == replace(spec, environment_variables={"A": "secret"})
    row = BatchDeployment.objects.get()
    assert (row.mini_batch_size, row.error_threshold, row.max_retries) == (10, -1, 3)
    assert (row.timeout_seconds, row.output_file_name) == (30, "predictions.csv")
    assert "secret" not in row.environment_variables_sealed
    assert (row.endpoint.default_deployment, row.is_default) == ("", False)
    activity = Activity.objects.get(verb="create", subject_type="BatchDeployment")
    assert activity.endpoint_name == "churn"


def test_a_new_deployment_may_become_the_default_at_once(
    endpoint: BatchEndpoint, spec: BatchDeploymentSpec
) -> None:
    made = create_batch_deployment(endpoint, spec, by=None, is_default=True)
    assert made.is_default
    assert BatchEndpoint.objects.get().default_deployment == "blue"


@pytest.mark.parametrize(
    ("changes", "target"),
    [
        ({"name": "no spaces"}, "name"),
        ({"type": "spark"}, "type"),
        ({"model": None}, "model"),
        ({"code": None}, "code_configuration.code"),
        ({"scoring_script": ""}, "code_configuration.scoring_script"),
        ({"code": None, "scoring_script": ""}, "code_configuration"),
        ({"scoring_script": "other.py"}, "code_configuration.scoring_script"),
        ({"environment": None}, "environment"),
        ({"compute": ""}, "compute"),
        ({"compute": "gpu"}, "compute"),
        ({"instance_count": 0}, "resources.instance_count"),
        ({"instance_count": 5}, "resources.instance_count"),
        ({"max_concurrency_per_instance": 0}, "settings.max_concurrency_per_instance"),
        ({"mini_batch_size": 0}, "settings.mini_batch_size"),
        ({"error_threshold": -2}, "settings.error_threshold"),
        ({"error_threshold": 2**31}, "settings.error_threshold"),
        ({"max_retries": -1}, "settings.retry_settings.max_retries"),
        ({"timeout_seconds": 0}, "settings.retry_settings.timeout"),
        ({"logging_level": "loud"}, "settings.logging_level"),
        ({"output_action": "explode"}, "settings.output_action"),
        ({"output_file_name": ""}, "settings.output_file_name"),
        ({"output_file_name": "a/b.csv"}, "settings.output_file_name"),
        ({"output_file_name": ".."}, "settings.output_file_name"),
        (
            {"output_action": "summary_only", "output_file_name": "mine.csv"},
            "settings.output_file_name",
        ),
        ({"environment_variables": {"1A": "x"}}, "environment_variables.1A"),
        ({"tags": {"a": 1}}, "tags"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_made(
    endpoint: BatchEndpoint, spec: BatchDeploymentSpec, changes: dict[str, Any], target: str
) -> None:
    with pytest.raises(UserError) as refused:
        create_batch_deployment(endpoint, replace(spec, **changes), by=None)
    assert refused.value.target == target
    assert not BatchDeployment.objects.exists()


def test_all_that_is_wrong_is_told_at_once(
    endpoint: BatchEndpoint, spec: BatchDeploymentSpec
) -> None:
    wish = replace(spec, model=None, mini_batch_size=0, compute="gpu")
    with pytest.raises(ValidationFailed) as refused:
        create_batch_deployment(endpoint, wish, by=None)
    assert len(refused.value.errors) == 3
    assert "It has cpu." in refused.value.message


def test_an_mlflow_model_needs_neither_script_nor_environment(
    endpoint: BatchEndpoint, spec: BatchDeploymentSpec
) -> None:
    model = make_model(endpoint.workspace, "flows", type="mlflow_model")
    wish = replace(spec, model=model, code=None, scoring_script="", environment=None)
    assert create_batch_deployment(endpoint, wish, by=None).code_version is None


def test_a_summary_needs_no_file_name_and_the_default_is_dropped(
    endpoint: BatchEndpoint, spec: BatchDeploymentSpec
) -> None:
    wish = replace(spec, output_action="summary_only")
    assert create_batch_deployment(endpoint, wish, by=None).output_file_name == ""


def test_a_container_of_ones_own_runs_no_jobs(
    endpoint: BatchEndpoint, spec: BatchDeploymentSpec
) -> None:
    serving = make_environment(endpoint.workspace, "serving", inference_config={"port": 80})
    with pytest.raises(UserError, match="custom container"):
        create_batch_deployment(endpoint, replace(spec, environment=serving), by=None)


def test_a_pipeline_needs_a_component_of_one_and_brings_its_own_assets(
    endpoint: BatchEndpoint, spec: BatchDeploymentSpec
) -> None:
    workspace = endpoint.workspace
    pipeline = make_component(workspace, "flow", type="pipeline")
    settings = {"default_compute": "cpu", "continue_on_step_failure": False, "force_rerun": True}
    wish = BatchDeploymentSpec(
        name="flow", type="pipeline", component=pipeline, pipeline_settings=settings
    )
    make_compute(workspace, "other")
    made = create_batch_deployment(endpoint, wish, by=None)
    assert stored(made) == wish
    step = make_component(workspace, "step")
    for changes, target in (
        ({"component": None}, "component"),
        ({"component": step}, "component"),
        ({"model": spec.model}, "model"),
        ({"pipeline_settings": {"colour": "red"}}, "settings.colour"),
        ({"pipeline_settings": {"force_rerun": "yes"}}, "settings.force_rerun"),
        ({"pipeline_settings": {"default_compute": "gpu"}}, "settings.default_compute"),
    ):
        with pytest.raises(UserError) as refused:
            create_batch_deployment(endpoint, replace(wish, name="again", **changes), by=None)
        assert refused.value.target == target
    with pytest.raises(UserError) as refused:
        create_batch_deployment(endpoint, replace(spec, component=pipeline), by=None)
    assert refused.value.target == "component"


def test_a_taken_name_is_a_conflict_and_quotas_hold(
    endpoint: BatchEndpoint, spec: BatchDeploymentSpec
) -> None:
    create_batch_deployment(endpoint, spec, by=None)
    with pytest.raises(Conflict, match="already has a deployment 'BLUE'"):
        create_batch_deployment(endpoint, replace(spec, name="BLUE"), by=None)
    limit = Quota.objects.create(
        workspace=endpoint.workspace, resource="deployments_per_endpoint", limit=1
    )
    with pytest.raises(UserError, match="1 deployment of one endpoint"):
        create_batch_deployment(endpoint, replace(spec, name="green"), by=None)
    limit.delete()
    make_online_endpoint(endpoint.workspace, deployments={"red": 100})
    Quota.objects.create(workspace=endpoint.workspace, resource="deployments", limit=2)
    with pytest.raises(UserError, match="2 deployments; 2 are used"):
        create_batch_deployment(endpoint, replace(spec, name="green"), by=None)


def test_an_update_tells_the_fields_and_no_values(
    endpoint: BatchEndpoint, spec: BatchDeploymentSpec
) -> None:
    made = create_batch_deployment(endpoint, spec, by=None)
    wish = replace(spec, mini_batch_size=5, environment_variables={"A": "secret"})
    update_batch_deployment(made, wish, by=None)
    update_batch_deployment(made, replace(wish, compute="CPU"), by=None)
    activity = Activity.objects.get(verb="update")
    assert activity.after == {"changed": ["environment_variables", "mini_batch_size"]}
    assert stored(made) == wish
    with pytest.raises(UserError, match="cannot be changed"):
        update_batch_deployment(made, replace(spec, type="pipeline"), by=None)


def test_a_compute_that_is_gone_is_named_at_the_next_update(
    endpoint: BatchEndpoint, spec: BatchDeploymentSpec
) -> None:
    made = create_batch_deployment(endpoint, spec, by=None)
    compute = find_compute(endpoint.workspace, "cpu")
    assert compute is not None
    delete_compute(compute, by=None)
    assert stored(made).compute == "cpu"
    with pytest.raises(UserError, match="no compute 'cpu'"):
        update_batch_deployment(made, replace(spec, mini_batch_size=5), by=None)


def test_deleting_the_default_leaves_none_and_twice_is_success() -> None:
    endpoint = make_batch_endpoint(deployments=["blue", "green"])
    blue = BatchDeployment.objects.get(name="blue")
    delete_batch_deployment(blue, by=None)
    delete_batch_deployment(blue, by=None)
    endpoint.refresh_from_db()
    assert endpoint.default_deployment == ""
    assert [row.name for row in endpoint.deployments.all()] == ["green"]
    assert Activity.objects.filter(verb="delete").count() == 1
    with pytest.raises(Conflict, match="deleted meanwhile"):
        update_batch_deployment(blue, spec_of(blue), by=None)


def test_what_a_deployment_uses_cannot_be_deleted() -> None:
    blue = make_batch_deployment()
    assert blue.model_version is not None
    with pytest.raises(Conflict, match="is used by blue"):
        catalog.delete(blue.model_version, by=None)


@pytest.mark.parametrize(
    "wrong", [{"instance_count": 0}, {"mini_batch_size": 0}, {"error_threshold": -2}]
)
def test_the_database_refuses_what_makes_no_sense(wrong: dict[str, int]) -> None:
    blue = make_batch_deployment()
    with pytest.raises(IntegrityError), transaction.atomic():
        BatchDeployment.objects.filter(pk=blue.pk).update(**wrong)
