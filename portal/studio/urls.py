"""Addresses of the studio, all below `/w/<workspace>/`."""

from __future__ import annotations

from django.urls import path

from portal.studio import (
    account,
    activity,
    batch,
    build_log,
    catalog_pages,
    compute,
    compute_pages,
    consume,
    create,
    data_pages,
    datastore_pages,
    deployment,
    endpoint,
    endpoint_list,
    environment_check,
    instances,
    logs,
    members,
    overview,
    principals,
    scoring_test,
    traffic,
)

app_name = "studio"

ENDPOINT = "endpoints/<str:endpoint>"
BATCH = "batch-endpoints/<str:batch>"
DEPLOYMENT = f"{ENDPOINT}/deployments/<str:deployment>"
PRINCIPAL = "access/principals/<uuid:client>"

urlpatterns = [
    path("", overview.overview, name="overview"),
    path("samples", overview.load_samples, name="load_samples"),
    path("palette", overview.palette, name="palette"),
    # Endpoints
    path("endpoints", endpoint_list.endpoint_list, name="endpoints"),
    path("endpoints/delete", endpoint_list.delete_many, name="delete_endpoints"),
    path("endpoints/create", create.create_endpoint, name="create_endpoint"),
    path("endpoints/create/check", create.check, name="create_check"),
    path(ENDPOINT, endpoint.details, name="endpoint"),
    path(f"{ENDPOINT}/edit", endpoint.edit, name="edit_endpoint"),
    path(f"{ENDPOINT}/delete", endpoint.delete, name="delete_endpoint"),
    path(f"{ENDPOINT}/traffic", traffic.dialog, name="traffic"),
    path(f"{ENDPOINT}/test", scoring_test.test_tab, name="test"),
    path(f"{ENDPOINT}/test/send", scoring_test.send, name="test_send"),
    path(f"{ENDPOINT}/consume", consume.consume_tab, name="consume"),
    path(f"{ENDPOINT}/consume/keys/<str:key_type>", consume.show_key, name="show_key"),
    path(f"{ENDPOINT}/consume/regenerate", consume.regenerate, name="regenerate_key"),
    path(f"{ENDPOINT}/consume/token", consume.token, name="endpoint_token"),
    path(f"{ENDPOINT}/monitoring", endpoint.monitoring_tab, name="monitoring"),
    path(f"{ENDPOINT}/logs", logs.logs_tab, name="logs"),
    path(f"{ENDPOINT}/logs/download", logs.download, name="download_logs"),
    path(f"{ENDPOINT}/activity", activity.endpoint_activity, name="endpoint_activity"),
    # Deployments
    path(f"{ENDPOINT}/deployments/create", create.create_deployment, name="create_deployment"),
    path(DEPLOYMENT, deployment.details, name="deployment"),
    path(f"{DEPLOYMENT}/edit", deployment.edit, name="edit_deployment"),
    path(f"{DEPLOYMENT}/scale", deployment.scale, name="scale_deployment"),
    path(f"{DEPLOYMENT}/retry", deployment.retry, name="retry_deployment"),
    path(f"{DEPLOYMENT}/cancel", deployment.cancel, name="cancel_deployment"),
    path(f"{DEPLOYMENT}/restore/<int:number>", deployment.restore, name="restore_revision"),
    path(f"{DEPLOYMENT}/delete", deployment.delete, name="delete_deployment"),
    path(f"{DEPLOYMENT}/build-log", build_log.download, name="download_build_log"),
    path(
        f"{DEPLOYMENT}/instances/<str:instance>/restart",
        instances.restart,
        name="restart_instance",
    ),
    path(f"{DEPLOYMENT}/instances/<str:instance>/drain", instances.drain, name="drain_instance"),
    # Batch
    path("batch-endpoints", batch.endpoint_list, name="batch_endpoints"),
    path("batch-endpoints/create", batch.create, name="create_batch_endpoint"),
    path(BATCH, batch.details, name="batch_endpoint"),
    path(f"{BATCH}/edit", batch.edit, name="edit_batch_endpoint"),
    path(f"{BATCH}/default", batch.set_default, name="set_default_deployment"),
    path(f"{BATCH}/delete", batch.delete, name="delete_batch_endpoint"),
    path(f"{BATCH}/deployments/create", batch.create_deployment, name="create_batch_deployment"),
    path(
        f"{BATCH}/deployments/<str:deployment>/edit",
        batch.edit_deployment,
        name="edit_batch_deployment",
    ),
    path(
        f"{BATCH}/deployments/<str:deployment>/delete",
        batch.delete_deployment,
        name="delete_batch_deployment",
    ),
    # Assets
    path("models", catalog_pages.model_list, name="models"),
    path("models/register", catalog_pages.register_model, name="register_model"),
    path("models/<str:name>", catalog_pages.model, name="model"),
    path("models/<str:name>/archive", catalog_pages.archive_model, name="archive_model"),
    path("environments", catalog_pages.environment_list, name="environments"),
    path("environments/register", catalog_pages.register_environment, name="register_environment"),
    path("environments/check", environment_check.check_environment, name="check_environment"),
    path("environments/<str:name>", catalog_pages.environment, name="environment"),
    path(
        "environments/<str:name>/archive",
        catalog_pages.archive_environment,
        name="archive_environment",
    ),
    path("data", data_pages.data_list, name="data"),
    path("data/register", data_pages.register_data, name="register_data"),
    path("data/<str:name>", data_pages.data_detail, name="data_asset"),
    path("data/<str:name>/archive", data_pages.archive_data, name="archive_data"),
    path("datastores", datastore_pages.datastore_list, name="datastores"),
    path("datastores/register", datastore_pages.register_datastore, name="register_datastore"),
    path(
        "datastores/<str:name>/default",
        datastore_pages.set_default_datastore,
        name="set_default_datastore",
    ),
    path(
        "datastores/<str:name>/delete",
        datastore_pages.delete_datastore,
        name="delete_datastore",
    ),
    path("components", data_pages.component_list, name="components"),
    path("components/<str:name>", data_pages.component_detail, name="component"),
    path("components/<str:name>/archive", data_pages.archive_component, name="archive_component"),
    # The rest
    path("compute", compute.instance_types, name="compute"),
    path("compute/quotas/<str:resource>", compute.set_quota, name="set_quota"),
    path("compute/create", compute_pages.create, name="create_compute"),
    path("compute/<str:compute>/edit", compute_pages.edit, name="edit_compute"),
    path("compute/<str:compute>/delete", compute_pages.delete, name="delete_compute"),
    path("activity", activity.workspace_activity, name="activity"),
    path("access", members.member_list, name="members"),
    path("access/add", members.add, name="add_member"),
    path("access/<int:pk>/role", members.change, name="change_member"),
    path("access/<int:pk>/remove", members.remove, name="remove_member"),
    path("access/principals", principals.principal_list, name="principals"),
    path("access/principals/add", principals.add, name="add_principal"),
    path(f"{PRINCIPAL}/secrets", principals.add_secret, name="add_secret"),
    path(f"{PRINCIPAL}/secrets/<int:pk>/remove", principals.remove_secret, name="remove_secret"),
    path(f"{PRINCIPAL}/federated", principals.add_federated, name="add_federated"),
    path(
        f"{PRINCIPAL}/federated/<int:pk>/remove",
        principals.remove_federated,
        name="remove_federated",
    ),
    path(f"{PRINCIPAL}/delete", principals.delete, name="delete_principal"),
    path("account", account.account, name="account"),
    path("account/tokens", account.create_token, name="create_token"),
    path("account/tokens/<int:pk>/revoke", account.revoke_token, name="revoke_token"),
]
