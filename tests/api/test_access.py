"""Each route for the owner, the reader, the stranger and nobody; and what stands in `docs/api.md`."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from django.db import transaction
from django.test import override_settings
from django.urls import URLPattern, resolve
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from api.schemas.document import document_of
from api.urls import urlpatterns
from tests.api.conftest import Api, speak_as, store_assets
from tests.factories import (
    Cast,
    make_batch_endpoint,
    make_cast,
    make_code,
    make_component,
    make_compute,
    make_data,
    make_deployment,
    make_engines,
    make_environment,
    make_model,
    make_online_endpoint,
)
from workspaces import principals, tokens
from workspaces.models import PersonalToken, Role, ServicePrincipal, User

pytestmark = pytest.mark.thorough

PLACE = (
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
)
DOCS = Path(__file__).parents[2] / "docs" / "api.md"


@dataclass(frozen=True)
class Route:
    """`reader`: what bob is answered; the owner is answered `owner`."""

    method: str
    path: str
    owner: int
    reader: int
    body: Any = None
    root: str = ""
    """What stands before the workspace's own address."""

    def address(self, workspace: str) -> str:
        return f"{self.root}{workspace}/{self.path}".rstrip("/")


CLIENT = "00000000-0000-0000-0000-00000000c11e"
AUTHORIZATION = "providers/Microsoft.Authorization"
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
ASSIGNED = {"properties": {"roleDefinitionId": READER, "principalId": "charlie"}}

INSTANCES = "onlineEndpoints/churn/deployments/blue/instances"
HISTORY, FRONT_END = "/history/v1.0", "/mferp/managementfrontend"
ENVIRONMENT = {"properties": {"condaFile": "dependencies: [python=3.11]"}}
ARCHIVE = {"properties": {"isArchived": True}}
DATASTORE = {
    "properties": {"datastoreType": "AzureBlob", "accountName": "a", "containerName": "c"}
}
ROUTES = [
    # Without containers there are none.
    Route("GET", "images", 400, 400),
    Route("POST", "images/removeUnused", 403, 403),
    Route("GET", "", 200, 200),
    Route("GET", "onlineEndpoints", 200, 200),
    Route("GET", "onlineEndpoints/churn", 200, 200),
    Route("PUT", "onlineEndpoints/fresh", 201, 403, {}),
    Route("PATCH", "onlineEndpoints/churn", 200, 403, {"tags": {"a": "b"}}),
    Route("POST", "onlineEndpoints/churn/listKeys", 200, 403),
    Route("POST", "onlineEndpoints/churn/regenerateKeys", 200, 403, {"keyType": "Primary"}),
    Route("POST", "onlineEndpoints/tokens/token", 200, 403),
    Route("GET", "onlineEndpoints/churn/deployments", 200, 200),
    Route("GET", "onlineEndpoints/churn/deployments/blue", 200, 200),
    Route("PUT", "onlineEndpoints/churn/deployments/blue", 400, 403, {}),
    Route("PATCH", "onlineEndpoints/churn/deployments/blue", 200, 403, {}),
    Route("POST", "onlineEndpoints/churn/deployments/blue/getLogs", 200, 403, {"tail": 5}),
    Route("GET", "onlineEndpoints/churn/deployments/blue/skus", 200, 200),
    Route("POST", "onlineEndpoints/churn/deployments/blue/getBuildLog", 404, 403),
    Route("GET", f"{INSTANCES}", 200, 200),
    Route("GET", "onlineEndpoints/churn/deployments/blue/debugSession", 404, 403),
    Route("PUT", "onlineEndpoints/churn/deployments/blue/debugSession", 400, 403, {"minutes": 0}),
    Route("DELETE", "onlineEndpoints/churn/deployments/blue/debugSession", 204, 403),
    Route("POST", f"{INSTANCES}/1/restart", 202, 403),
    Route("POST", f"{INSTANCES}/1/drain", 202, 403),
    Route("DELETE", "onlineEndpoints/churn/deployments/green", 202, 403),
    Route("DELETE", "onlineEndpoints/tokens", 202, 403),
    Route("GET", "computes", 200, 200),
    Route("GET", "computes/cpu", 200, 200),
    Route("PUT", "computes/fresh", 201, 403, {}),
    Route("PATCH", "computes/cpu", 200, 403, {"tags": {"a": "b"}}),
    Route("POST", "computes/cpu/listNodes", 200, 403),
    Route("GET", "computes/edge/engines", 200, 200),
    Route("GET", "computes/edge/engines/a", 200, 200),
    # Owners neither: an address is root on its host.
    Route("PUT", "computes/edge/engines/a", 403, 403, {"url": "unix:///elsewhere.sock"}),
    Route("PATCH", "computes/edge/engines/a", 403, 403, {"maxCores": 1}),
    Route("DELETE", "computes/edge/engines/a", 403, 403),
    Route("POST", "computes/edge/engines/a/check", 200, 403),
    Route("POST", "computes/edge/engines/a/drain", 403, 403),
    Route("DELETE", "computes/cpu", 202, 403),
    Route("GET", "batchEndpoints", 200, 200),
    Route("GET", "batchEndpoints/nightly", 200, 200),
    Route("PUT", "batchEndpoints/fresh", 201, 403, {}),
    Route("PATCH", "batchEndpoints/nightly", 200, 403, {"tags": {"a": "b"}}),
    Route("POST", "batchEndpoints/nightly/listKeys", 400, 403),
    Route("GET", "batchEndpoints/nightly/deployments", 200, 200),
    Route("GET", "batchEndpoints/nightly/deployments/blue", 200, 200),
    Route("PUT", "batchEndpoints/nightly/deployments/fresh", 400, 403, {}),
    Route("PATCH", "batchEndpoints/nightly/deployments/blue", 400, 403, {"tags": 1}),
    Route("GET", "batchEndpoints/nightly/jobs", 200, 200, root=FRONT_END),
    Route("GET", "batchEndpoints/nightly/deployments/blue/jobs", 200, 200, root=FRONT_END),
    Route("DELETE", "batchEndpoints/nightly/deployments/green", 202, 403),
    Route("DELETE", "batchEndpoints/weekly", 202, 403),
    Route("GET", "jobs", 200, 200),
    Route("GET", "jobs/j", 404, 404),
    Route("PUT", "jobs/j", 400, 403, {}),
    Route("POST", "jobs/j/cancel", 404, 403),
    Route("GET", "runs/r", 404, 404, root=HISTORY),
    Route("GET", "runs/r/details", 404, 404, root=HISTORY),
    Route("GET", "runs/r/children", 404, 404, root=HISTORY),
    Route("POST", "rundata", 404, 404, {"runId": "r"}, root=HISTORY),
    Route("GET", "models", 200, 200),
    Route("GET", "models/diabetes", 200, 200),
    Route("PATCH", "models/diabetes", 200, 403, ARCHIVE),
    Route("PUT", "models/diabetes", 200, 403, ARCHIVE),
    Route("GET", "models/diabetes/versions", 200, 200),
    Route("GET", "models/diabetes/versions/1", 200, 200),
    Route("PATCH", "models/diabetes/versions/1", 200, 403, ARCHIVE),
    Route("PUT", "models/diabetes/versions/1", 400, 403, {}),
    Route("GET", "environments", 200, 200),
    Route("GET", "environments/sklearn", 200, 200),
    Route("PATCH", "environments/sklearn", 200, 403, ARCHIVE),
    Route("PUT", "environments/sklearn", 200, 403, ARCHIVE),
    Route("GET", "environments/sklearn/versions", 200, 200),
    Route("GET", "environments/sklearn/versions/1", 200, 200),
    Route("PUT", "environments/sklearn/versions/2", 201, 403, ENVIRONMENT),
    Route("PATCH", "environments/sklearn/versions/1", 200, 403, ARCHIVE),
    Route("POST", "environments/sklearn/versions/1/check", 200, 403, {}),
    Route("GET", "environments/sklearn/versions/1/builds", 200, 200),
    Route("POST", "environments/sklearn/versions/1/builds", 202, 403),
    Route("GET", "environments/sklearn/versions/1/builds/0", 404, 404),
    Route("POST", "environments/sklearn/versions/1/builds/0/cancel", 404, 403),
    Route("POST", "environments/sklearn/versions/1/builds/0/getLog", 404, 403, {}),
    Route("GET", "codes", 200, 200),
    Route("GET", "codes/scoring", 200, 200),
    Route("PATCH", "codes/scoring", 200, 403, ARCHIVE),
    Route("PUT", "codes/scoring", 200, 403, ARCHIVE),
    Route("GET", "codes/scoring/versions", 200, 200),
    Route("GET", "codes/scoring/versions/1", 200, 200),
    Route("PATCH", "codes/scoring/versions/1", 200, 403, ARCHIVE),
    Route("PUT", "codes/scoring/versions/1", 400, 403, {}),
    Route("POST", "codes/scoring/versions/2/startPendingUpload", 200, 403, {}),
    *(
        Route(method, path, owner, reader, body)
        for path, name in (
            ("data", "iris"),
            ("components", "score"),
        )
        for method, path, owner, reader, body in (
            ("GET", path, 200, 200, None),
            ("GET", f"{path}/{name}", 200, 200, None),
            ("PATCH", f"{path}/{name}", 200, 403, ARCHIVE),
            ("PUT", f"{path}/{name}", 200, 403, ARCHIVE),
            ("GET", f"{path}/{name}/versions", 200, 200, None),
            ("GET", f"{path}/{name}/versions/1", 200, 200, None),
            ("PATCH", f"{path}/{name}/versions/1", 200, 403, ARCHIVE),
            ("PUT", f"{path}/{name}/versions/1", 400, 403, {}),
            ("DELETE", f"{path}/{name}/versions/1", 200, 403, None),
            ("DELETE", f"{path}/{name}", 200, 403, None),
        )
    ),
    *(
        Route("DELETE", f"{path}{rest}", 409, 403)
        for path in ("models/churn", "environments/bare", "codes/churn-code")
        for rest in ("/versions/1", "")
    ),
    Route("DELETE", "models/diabetes/versions/1", 200, 403),
    Route("DELETE", "models/nothing", 204, 403),
    Route("GET", "datastores", 200, 200),
    Route("GET", "datastores/workspaceblobstore", 200, 200),
    Route("POST", "datastores/workspaceblobstore/listSecrets", 200, 403, {}),
    Route("GET", f"{AUTHORIZATION}/roleAssignments", 200, 200),
    Route("GET", f"{AUTHORIZATION}/roleAssignments/{CLIENT}", 404, 404),
    Route("PUT", f"{AUTHORIZATION}/roleAssignments/{CLIENT}", 201, 403, ASSIGNED),
    Route("GET", f"{AUTHORIZATION}/roleDefinitions", 200, 200),
    Route("GET", f"{AUTHORIZATION}/roleDefinitions/{READER}", 200, 200),
    Route("DELETE", f"{AUTHORIZATION}/roleAssignments/{CLIENT}", 204, 403),
    Route("GET", "servicePrincipals", 200, 200),
    Route("POST", "servicePrincipals", 201, 403, {"name": "fresh"}),
    Route("GET", f"servicePrincipals/{CLIENT}", 200, 200),
    Route("PATCH", f"servicePrincipals/{CLIENT}", 200, 403, {"role": "Reader"}),
    Route("GET", f"servicePrincipals/{CLIENT}/secrets", 200, 200),
    Route("POST", f"servicePrincipals/{CLIENT}/secrets", 201, 403, {}),
    Route("DELETE", f"servicePrincipals/{CLIENT}/secrets/0", 204, 403),
    Route("GET", f"servicePrincipals/{CLIENT}/federatedCredentials", 200, 200),
    Route("POST", f"servicePrincipals/{CLIENT}/federatedCredentials", 400, 403, {}),
    Route("DELETE", f"servicePrincipals/{CLIENT}/federatedCredentials/0", 204, 403),
    Route("DELETE", f"servicePrincipals/{CLIENT}", 200, 403),
    Route("PUT", "datastores/lake", 201, 403, DATASTORE),
    Route("DELETE", "datastores/lake", 204, 403),
]


@pytest.fixture(scope="module")
def built(
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Cast, Path]]:
    """The cast with one of each thing, and their store: made once, as there is a test for every route."""
    store = tmp_path_factory.mktemp("things") / "store"
    with django_db_blocker.unblock(), transaction.atomic():
        cast = make_cast()
        with override_settings(STORAGE_ROOT=store):
            make_things(cast)
        yield cast, store
        transaction.set_rollback(True)


@pytest.fixture(autouse=True)
def cast(built: tuple[Cast, Path], db: None, tmp_path: Path) -> Cast:
    """As it was built: the transaction of each test is inside that of all."""
    cast, store = built
    shutil.copytree(store, tmp_path / "store")
    for row in cast:
        row.refresh_from_db()
    return cast


def make_things(cast: Cast) -> None:
    make_model(cast.workspace)
    make_environment(cast.workspace)
    make_code(cast.workspace)
    make_data(cast.workspace)
    make_component(cast.workspace)
    make_compute(cast.workspace, "cpu")
    make_engines(make_compute(cast.workspace, "edge", kind="kubernetes"), "a")
    make_batch_endpoint(cast.workspace, "nightly", deployments=["blue", "green"])
    make_batch_endpoint(cast.workspace, "weekly")
    churn = make_online_endpoint(cast.workspace, "churn", traffic={"blue": 100})
    revision = store_assets(cast.workspace).revision
    make_deployment(churn, "blue", revision=revision)
    make_deployment(churn, "green", revision=revision)
    make_online_endpoint(cast.workspace, "tokens", auth_mode="aml_token")
    made = principals.create_principal(cast.workspace, "nightly", Role.READER, by=cast.alice)
    ServicePrincipal.objects.filter(pk=made.pk).update(client_id=CLIENT)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_the_owner_may(alice: Api, route: Route) -> None:
    reply = alice.ask(route.method, route.address(alice.workspace.arm_id), route.body)
    assert reply.status == route.owner, reply


def test_answers_have_the_fields_that_the_openapi_document_names_and_no_others(alice: Api) -> None:
    """A field that is told is in the module of its family in `api/schemas/`."""
    document = closed(document_of("api.urls"))
    operations = {
        operation["operationId"]: operation
        for methods in document["paths"].values()
        for operation in methods.values()
    }
    faults = []
    for route in ROUTES:
        with transaction.atomic():
            reply = alice.ask(route.method, route.address(alice.workspace.arm_id), route.body)
            transaction.set_rollback(True)
        name = str(resolve(route.address(PLACE)).url_name)
        words = name.removeprefix("arm-").replace("-", "_")
        told = operations[f"{route.method.lower()}_{words}"]["responses"][str(reply.status)]
        assert ("content" in told) == bool(reply.text), (route, reply)
        if "content" in told:
            schema = told["content"]["application/json"]["schema"]
            validator = jsonschema_rs.validator_for(
                {**schema, "components": document["components"]}
            )
            faults += [
                f"{route.method} {route.path} {reply.status}: {error.instance_path} {error.message}"
                for error in validator.iter_errors(reply.json)
            ]
    assert faults == []


def closed(tree: Any) -> Any:
    """The same schema, in which objects have no fields but those that are named."""
    if isinstance(tree, list):
        return [closed(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    found = {key: closed(value) for key, value in tree.items()}
    is_schema = found.get("type") == "object" and isinstance(found.get("properties"), dict)
    return {"additionalProperties": False, **found} if is_schema else found


def test_the_reader_may_only_read(bob: Api) -> None:
    for route in ROUTES:
        reply = bob.ask(route.method, route.address(bob.workspace.arm_id), route.body)
        assert reply.status == route.reader, (route, reply)
        if route.reader == 403:
            assert reply.error["code"] == "AuthorizationFailed"
            assert "Ask alice for a role" in reply.error["message"]


def test_the_stranger_cannot_tell_what_exists(charlie: Api) -> None:
    name = charlie.workspace.name
    nowhere = charlie.workspace.arm_id.replace(name, "nowhere")
    for route in ROUTES:
        here = charlie.ask(route.method, route.address(charlie.workspace.arm_id), route.body)
        there = charlie.ask(route.method, route.address(nowhere), route.body)
        assert here.status == there.status == 403, (route, here)
        assert here.error["code"] == "AuthorizationFailed"
        assert here.text.replace(name, "nowhere") == there.text


def test_nobody_gets_in_without_a_token(cast: Cast) -> None:
    for route in ROUTES:
        reply = Api(cast.workspace).ask(
            route.method, route.address(cast.workspace.arm_id), route.body
        )
        assert reply.status == 401, (route, reply)
        assert reply.headers["WWW-Authenticate"].startswith("Bearer")
        assert reply.error["code"] == "AuthenticationFailed"


def test_every_route_of_a_workspace_is_tried_here() -> None:
    tried = {(route.method, str(resolve(route.address(PLACE)).url_name)) for route in ROUTES}
    offered = {
        (method, str(pattern.name))
        for pattern in urlpatterns
        if "{ws}" in _words(pattern) and pattern.name != "arm-operation"
        for method in _methods(pattern)
    }
    assert offered - tried == set()


def test_unknown_expired_revoked_and_inactive_tokens_are_refused(cast: Cast) -> None:
    expired, old = tokens.create_token(cast.alice, "old")
    PersonalToken.objects.filter(pk=expired.pk).update(
        expires_at=timezone.now() - timedelta(seconds=1)
    )
    revoked, gone = tokens.create_token(cast.alice, "gone")
    revoked.delete()
    _, of_inactive = tokens.create_token(cast.bob, "his")
    User.objects.filter(pk=cast.bob.pk).update(is_active=False)
    for text in (old, gone, of_inactive, "ptc_nothing", "nonsense", "ptc_\xff\xfe"):
        reply = Api(cast.workspace, text).get()
        assert reply.status == 401, (text, reply)
        assert text not in reply.text


@pytest.mark.parametrize("header", ["Basic YTpi", "Bearer", "Bearer a b", "ptc_something"])
def test_other_kinds_of_authorization_are_refused(cast: Cast, header: str) -> None:
    assert Api(cast.workspace).get(Authorization=header).status == 401


def test_a_signed_in_browser_is_nobody_here(cast: Cast, client: Any) -> None:
    client.force_login(cast.alice, backend="django.contrib.auth.backends.ModelBackend")
    assert client.put(f"{cast.workspace.arm_id}/onlineEndpoints/mine").status_code == 401


def test_using_a_token_is_noted(cast: Cast) -> None:
    api = speak_as(cast.alice, cast.workspace)
    api.get()
    assert PersonalToken.objects.get(user=cast.alice).last_used_at is not None


def test_an_administrator_is_told_that_a_workspace_does_not_exist(cast: Cast) -> None:
    root = User.objects.create(username="root", is_superuser=True)
    api = speak_as(root, cast.workspace)
    nowhere = cast.workspace.arm_id.replace(cast.workspace.name, "nowhere")
    assert api.get(nowhere).status == 404
    assert api.get().status == 200


def test_words_of_the_path_and_names_are_compared_without_regard_to_case(alice: Api) -> None:
    path = alice.workspace.arm_id.upper() + "/ONLINEENDPOINTS/CHURN/Deployments/BLUE"
    reply = alice.get(path)
    assert reply.status == 200, reply
    assert reply.json["name"] == "blue"


def test_any_version_and_none_is_taken(alice: Api) -> None:
    path = f"{alice.workspace.arm_id}/onlineEndpoints/churn"
    assert alice.get(f"{path}?api-version=2099-12-31-preview").status == 200


@pytest.mark.parametrize(
    "path", ["schedules", "registries/x", "onlineEndpoints/churn/nonsense", "models/a/b/c/d"]
)
def test_what_is_not_supported_is_told_in_the_envelope(alice: Api, path: str) -> None:
    for method in ("GET", "PUT", "POST", "DELETE", "PATCH"):
        reply = alice.ask(method, path, {})
        assert (reply.status, reply.error["code"]) == (404, "InvalidResourceType")
    assert Api(alice.workspace).get(path).status == 401


@pytest.mark.parametrize(
    "path", ["/batch/%15/jobs", "/history/v1.0/x", "/mferp/%0c", "/api/tokens/a%2Fb", "/BATCH"]
)
def test_odd_addresses_elsewhere_are_answered_in_the_envelope_too(alice: Api, path: str) -> None:
    for method in ("GET", "POST"):
        reply = alice.ask(method, path, {})
        assert (reply.status, reply.error["code"]) == (404, "InvalidResourceType")
    assert Api(alice.workspace).get(path).status == 401


def test_a_method_that_is_not_supported_is_told_in_the_envelope(alice: Api) -> None:
    reply = alice.ask("POST", "onlineEndpoints/churn", {})
    assert (reply.status, reply.error["code"]) == (405, "MethodNotAllowed")
    assert alice.ask("OPTIONS", "onlineEndpoints/churn").status == 405


def test_the_documented_routes_are_the_supported_ones() -> None:
    """Rows of the table: | `GET`, `PUT` | `{ws}/onlineEndpoints/{endpoint}` | … |"""
    documented = {}
    for methods, path in re.findall(r"^\| (`[A-Z`, ]+`) \| `([^`]+)` \|", DOCS.read_text(), re.M):
        documented[path] = set(re.findall(r"[A-Z]+", methods))
    assert documented == {
        _words(pattern): _methods(pattern) for pattern in urlpatterns if _words(pattern)
    }


def _words(pattern: URLPattern) -> str:
    """`{ws}/onlineEndpoints/{endpoint}` of a pattern; empty for the one that catches the rest."""
    text = str(pattern.pattern)
    if pattern.name in {"arm-unsupported", "blobs-unsupported"}:
        return ""
    if pattern.name == "blobs":
        return "storage/{workspace}.blob.{suffix}/{container}/{path}"
    text = re.sub(r"<str:(\w+)>", r"{\1}", text)
    text = re.sub(r"\(\?P<(\w+)>\[\^/[^)]*\)", r"{\1}", text)
    text = re.sub(r"\[(\w)\w\]", r"\1", text).strip("^$").removesuffix("/?").replace("\\", "")
    workspace = (
        "subscriptions/{subscription}/resourceGroups/{resource_group}/providers/"
        "Microsoft.MachineLearningServices/workspaces/{workspace}"
    )
    return text.replace(workspace, "{ws}")


def _methods(pattern: URLPattern) -> set[str]:
    callback: Any = pattern.callback
    if not hasattr(callback, "cls"):
        return {method.upper() for method in callback.view_class.http_method_names} - {"HEAD"}
    view = callback.cls
    instance = view(**callback.initkwargs)
    offered = {m.upper() for m in ("get", "put", "patch", "post", "delete") if hasattr(view, m)}
    if hasattr(instance, "action_of"):
        return {method for method in offered if instance.action_of(method)}
    return offered
