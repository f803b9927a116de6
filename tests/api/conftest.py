"""The cast with tokens, and a client that speaks as each of them."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.http import HttpResponse
from django.test import Client
from pytest_django import Settings

from tests.factories import Cast, make_cast
from workspaces import catalog, storage, tokens
from workspaces.models import CodeVersion, EnvironmentVersion, ModelVersion, User, Workspace

VERSION = "api-version=2022-02-01-preview"


@dataclass
class Api:
    """Requests below one workspace; a path that begins with `/` stands for itself."""

    workspace: Workspace
    token: str = ""

    def ask(self, method: str, path: str = "", body: object = None, **headers: str) -> Any:
        url = path if path.startswith("/") else f"{self.workspace.arm_id}/{path}".rstrip("/")
        url += ("&" if "?" in url else "?") + VERSION
        if self.token:
            headers = {"Authorization": f"Bearer {self.token}", **headers}
        data = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        reply = Client().generic(method, url, data, "application/json", headers=headers)
        assert isinstance(reply, HttpResponse)
        return Reply(reply)

    def get(self, path: str = "", **headers: str) -> Any:
        return self.ask("GET", path, **headers)

    def put(self, path: str, body: object = None) -> Any:
        return self.ask("PUT", path, body)

    def patch(self, path: str, body: object = None) -> Any:
        return self.ask("PATCH", path, body)

    def post(self, path: str, body: object = None) -> Any:
        return self.ask("POST", path, body)

    def delete(self, path: str) -> Any:
        return self.ask("DELETE", path)


class Reply:
    """Status, headers and JSON of an answer."""

    def __init__(self, response: HttpResponse) -> None:
        self.status = response.status_code
        self.headers = response.headers
        self.text = response.content.decode()

    def __repr__(self) -> str:
        return f"{self.status} {self.text[:2000]}"

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def error(self) -> Any:
        """What stands in the envelope of an error."""
        assert set(self.json) == {"error"}, self
        return self.json["error"]


class Assets(NamedTuple):
    model: ModelVersion
    code: CodeVersion
    environment: EnvironmentVersion

    @property
    def revision(self) -> dict[str, Any]:
        """Fields of a revision that has them."""
        names = ("model_version", "code_version", "environment_version")
        return dict(zip(names, self, strict=True))


def store_assets(workspace: Workspace) -> Assets:
    """Model, code and environment whose content is in the store, so that a deployment of them can be written."""
    weights = storage.put_tree([("model.pkl", io.BytesIO(b"weights"))])
    script = storage.put_tree([("score.py", io.BytesIO(b"def init(): ...\ndef run(data): ...\n"))])
    return Assets(
        catalog.register_model(
            workspace, "churn", weights, leaf="model", is_folder=True, by=None, version="1"
        ),
        catalog.register_code(workspace, "churn-code", script, by=None, version="1"),
        catalog.register_environment(
            workspace, "bare", by=None, version="1", conda_file="dependencies: [python]"
        ),
    )


@pytest.fixture(autouse=True)
def own_folders(settings: Settings, tmp_path: Path) -> None:
    settings.STORAGE_ROOT = tmp_path / "store"
    settings.SEGMENTS_ROOT = tmp_path / "segments"


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


def speak_as(user: User, workspace: Workspace) -> Api:
    """A client with a fresh token of the user."""
    name = f"test-{user.personal_tokens.count()}"
    return Api(workspace, tokens.create_token(user, name)[1])


@pytest.fixture
def alice(cast: Cast) -> Api:
    return speak_as(cast.alice, cast.workspace)


@pytest.fixture
def bob(cast: Cast) -> Api:
    return speak_as(cast.bob, cast.workspace)


@pytest.fixture
def charlie(cast: Cast) -> Api:
    return speak_as(cast.charlie, cast.workspace)
