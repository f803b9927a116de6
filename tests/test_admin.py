"""Every model of ours is registered, its list opens in few queries, and actions go through the verbs."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.contrib import admin
from django.db.models import CompositePrimaryKey
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from deployments.models import DebugSession, Instance, OnlineDeployment
from endpoints.keys import keys_of
from endpoints.models import OnlineEndpoint
from tests.factories import make_online_endpoint, make_user
from workspaces.models import Activity

pytestmark = [pytest.mark.thorough, pytest.mark.django_db]

OURS = ("workspaces", "endpoints", "deployments", "monitoring")
# The admin site cannot show rows whose key has several columns; the charts show these.
MODELS = [
    model
    for app in OURS
    for model in apps.get_app_config(app).get_models()
    if not isinstance(model._meta.pk, CompositePrimaryKey)
]


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(make_user("olga", is_staff=True, is_superuser=True))
    return client


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_model_is_registered_well(model: type) -> None:
    registered = admin.site._registry.get(model)
    assert registered is not None, f"{model.__name__} is not in the admin site"
    assert registered.list_display != ("__str__",)
    assert registered.search_fields


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_list_opens(model: type, operator: Client) -> None:
    make_online_endpoint(deployments={"blue": 100})
    meta = model._meta  # type: ignore[attr-defined]
    reply = operator.get(
        reverse(f"admin:{meta.app_label}_{meta.model_name}_changelist"), {"q": "a"}
    )
    assert reply.status_code == 200


def test_a_list_costs_the_same_for_one_row_and_for_many(
    operator: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(5):
        make_online_endpoint(deployments={"blue": 100, "green": 0})
    for name in (
        "endpoints_onlineendpoint",
        "deployments_onlinedeployment",
        "deployments_instance",
    ):
        with django_assert_max_num_queries(10):
            operator.get(reverse(f"admin:{name}_changelist"))


def test_no_page_of_the_admin_site_shows_a_secret(operator: Client) -> None:
    endpoint = make_online_endpoint(deployments={"blue": 100})
    page = operator.get(reverse("admin:endpoints_onlineendpoint_change", args=[endpoint.pk]))
    text = page.content.decode()
    assert keys_of(endpoint).primary not in text
    assert endpoint.primary_key_sealed not in text


def test_deleting_asks_first_and_then_calls_the_verb(operator: Client) -> None:
    endpoint = make_online_endpoint(deployments={"blue": 100})
    url = reverse("admin:endpoints_onlineendpoint_changelist")
    wish = {"action": "delete_endpoints", "_selected_action": [str(endpoint.pk)]}
    asked = operator.post(url, wish)
    assert "all their deployments are removed" in asked.content.decode()
    assert OnlineEndpoint.objects.get().state == "Succeeded"
    operator.post(url, {**wish, "confirmed": "yes"})
    assert OnlineEndpoint.objects.get().state == "Deleting"


def test_a_refusal_of_the_verb_is_shown_and_changes_nothing(operator: Client) -> None:
    make_online_endpoint(deployments={"blue": 100})
    blue = OnlineDeployment.objects.get()
    url = reverse("admin:deployments_onlinedeployment_changelist")
    wish = {"action": "delete_deployments", "_selected_action": [str(blue.pk)], "confirmed": "yes"}
    reply = operator.post(url, wish, follow=True)
    assert "Set its traffic to 0 % first" in reply.content.decode()
    assert OnlineDeployment.objects.get().state == "Succeeded"


def test_instances_are_restarted_and_drained_after_a_question(operator: Client) -> None:
    make_online_endpoint(deployments={"blue": 100})
    [row] = Instance.objects.all()
    url = reverse("admin:deployments_instance_changelist")
    for action in ("restart_instances", "drain_instances"):
        wish = {"action": action, "_selected_action": [str(row.pk)]}
        operator.post(url, wish)
        operator.post(url, {**wish, "confirmed": "yes"})
    row.refresh_from_db()
    assert row.is_leaving
    assert row.restart_requested_at is not None
    verbs = Activity.objects.order_by("pk").values_list("verb", flat=True)
    assert list(verbs) == ["restart instance", "drain instance"]


def test_debug_sessions_are_stopped(operator: Client) -> None:
    make_online_endpoint(deployments={"blue": 100})
    blue = OnlineDeployment.objects.get()
    assert blue.serving_revision is not None
    session = DebugSession.objects.create(
        deployment=blue,
        revision=blue.serving_revision,
        name="blue-debug",
        state=DebugSession.State.RUNNING,
        expires_at=timezone.now(),
    )
    wish = {"action": "stop_sessions", "_selected_action": [str(session.pk)]}
    operator.post(reverse("admin:deployments_debugsession_changelist"), wish)
    session.refresh_from_db()
    assert session.state == "Stopping"
    assert [row.verb for row in Activity.objects.all()] == ["stop debug session"]
