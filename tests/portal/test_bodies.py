"""Bodies that are refused before anything of them is written down."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import RequestFactory
from pytest_django import Settings

from api import blobs, datastores
from api.arm import MOST_BODY_BYTES
from portal import bodies
from portal.bodies import FORM_BYTES, BoundedBodies, Message
from tests.factories import make_cast

STORAGE = "/storage/main.blob.core.windows.net/azureml/x"
ARM = "/subscriptions/s/resourceGroups/g/providers/x"


class Caller:
    """Sends a body in chunks, as a server passes it on, and hears the answer."""

    def __init__(self, path: str, chunks: list[bytes], *, length: int | None = None) -> None:
        self.read = 0
        self.taken = 0
        self.answers: list[Message] = []
        self._chunks = chunks
        headers = [] if length is None else [(b"content-length", str(length).encode())]
        self.scope: Message = {
            "type": "http",
            "path": path,
            "method": "POST",
            "headers": headers,
            "query_string": b"",
        }

    async def receive(self) -> Message:
        self.read += 1
        body = self._chunks.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(self._chunks)}

    async def send(self, message: Message) -> None:
        self.answers.append(message)

    async def app(self, scope: Message, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            self.taken += len(message["body"])
            if not message["more_body"]:
                await send({"type": "http.response.start", "status": 200, "headers": []})
                return

    def go(self) -> int:
        async_to_sync(BoundedBodies(self.app))(self.scope, self.receive, self.send)
        return int(self.answers[0]["status"])

    @property
    def text(self) -> str:
        return str(self.answers[1]["body"].decode())


def test_a_body_that_says_it_is_too_large_is_passed_over() -> None:
    caller = Caller(ARM, [b"x"] * 3, length=MOST_BODY_BYTES + 1)
    assert caller.go() == 413
    assert caller.taken == 0
    assert caller.read == 3, "who is still sending would not hear the answer"
    assert json.loads(caller.text)["error"]["code"] == "RequestContentTooLarge"


def test_a_body_that_grows_too_large_is_cut_off() -> None:
    caller = Caller(ARM, [b"x" * 1024 * 1024] * 50)
    assert caller.go() == 413
    assert caller.read == 50
    assert caller.taken <= MOST_BODY_BYTES
    assert len(caller.answers) == 2


def test_an_endless_body_is_not_listened_to_for_ever() -> None:
    caller = Caller(ARM, [b"x" * 8 * 1024 * 1024] * 1000)
    assert caller.go() == 413
    assert caller.read < 20


def test_what_is_small_enough_goes_through() -> None:
    caller = Caller(ARM, [b"x" * MOST_BODY_BYTES], length=MOST_BODY_BYTES)
    assert caller.go() == 200
    assert caller.taken == MOST_BODY_BYTES


def test_uploads_and_forms_have_bounds_of_their_own(settings: Settings) -> None:
    settings.MAX_UPLOAD_BYTES = 10_000_000
    assert bodies.bound_of(STORAGE).most_bytes == 10_000_000
    assert bodies.bound_of("/w/main/models/register").most_bytes == 10_000_000 + FORM_BYTES
    caller = Caller(STORAGE, [b"x" * 6_000_000] * 2)
    assert caller.go() == 413
    assert "<Code>RequestBodyTooLarge</Code>" in caller.text
    assert "PORTICO_MAX_UPLOAD_BYTES" in caller.text


@pytest.mark.django_db
def test_who_may_not_upload_is_told_before_the_body_comes() -> None:
    cast = make_cast()
    name = cast.workspace.name
    signature = datastores.sign(cast.workspace, "azureml", by=cast.alice)
    path = f"/storage/{name}.blob.core.windows.net/azureml/x"
    ask = RequestFactory().put
    assert blobs.refusal(ask(f"{path}?{signature}")) is None
    for wrong in (
        path,
        f"{path}?{signature}x",
        f"{path.replace('azureml', 'other')}?{signature}",
        f"{path.replace(name, 'nowhere')}?{signature}",
        f"{path}?{datastores.sign(cast.workspace, 'azureml', by=cast.bob)}",
    ):
        refusal = blobs.refusal(ask(wrong))
        assert refusal is not None
        assert refusal.status_code == 403
        assert refusal["x-ms-error-code"] == "AuthenticationFailed"
    assert blobs.refusal(ask("/storage/nonsense")) is None, "which is for the view to say"
