"""An MLflow model over REST as azure-ai-ml sends it: neither code nor environment."""

from __future__ import annotations

import io

from deployments import staging
from deployments.models import OnlineDeployment
from tests.api.conftest import Api
from tests.api.test_online_deployments import PATH, assets, runtime, sent
from tests.factories import Cast
from workspaces import catalog, storage

__all__ = ["assets", "runtime"]  # fixtures

DESCRIBED = b"flavors: {python_function: {loader_module: mlflow.sklearn, model_path: m.pkl}}"


def registered(cast: Cast, **more: bytes) -> None:
    files = {"MLmodel": DESCRIBED, "requirements.txt": b"mlflow==3.1", **more}
    content = storage.put_tree((name, io.BytesIO(text)) for name, text in files.items())
    catalog.register_model(
        cast.workspace,
        "flows",
        content,
        leaf="model",
        is_folder=True,
        by=None,
        type="mlflow_model",
    )


def body(workspace_id: str) -> dict[str, object]:
    model = f"{workspace_id}/models/flows/versions/1"
    return sent(workspace_id, model=model, environmentId=None, codeConfiguration=None)


def test_a_model_alone_is_deployed_and_told_as_it_was_sent(
    alice: Api, cast: Cast, assets: object
) -> None:
    registered(cast, **{"m.pkl": b"weights"})
    reply = alice.put(PATH, body(alice.workspace.arm_id))
    assert reply.status == 201, reply
    told = alice.get(PATH).json["properties"]
    assert told.get("codeConfiguration") is None
    assert told.get("environmentId") is None
    assert told["model"].endswith("/models/flows/versions/1")
    revision = OnlineDeployment.objects.get().revision
    assert revision is not None
    assert "mlflow==3.1" in staging.environment_spec(revision).conda_text


def test_a_file_that_the_model_lacks_is_named(alice: Api, cast: Cast, assets: object) -> None:
    registered(cast)
    reply = alice.put(PATH, body(alice.workspace.arm_id))
    assert reply.status in (400, 404)
    assert "m.pkl" in reply.json["error"]["message"]
    assert not OnlineDeployment.objects.exists()
