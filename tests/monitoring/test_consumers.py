"""A reader of a live log gets every line once, and nobody else gets any."""

from __future__ import annotations

import functools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from asgiref.testing import ApplicationCommunicator
from channels.routing import URLRouter
from django.contrib.auth.models import AnonymousUser

from deployments.models import OnlineDeployment
from monitoring import consumers
from monitoring.doorbells import Ringer
from monitoring.follow import LogFollower
from monitoring.routing import websocket_urlpatterns
from tests.factories import Cast, add_member, make_cast, make_deployment, make_online_endpoint
from workspaces.models import Membership, Role

pytestmark = pytest.mark.django_db


def scenario(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Runs an asynchronous test so that what it does with the database happens in the test's own transaction."""

    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        async_to_sync(test)(**fixtures)

    return run


class Stage:
    """A deployment that prints, and readers of its log."""

    def __init__(self, folder: Path, cast: Cast) -> None:
        self.cast = cast
        self.instances = folder / "instances"
        self.segments = folder / "segments"
        self.deployment = make_deployment(make_online_endpoint(cast.workspace, "iris"))
        self.ringer = Ringer()
        self.follower = LogFollower(self.segments, self.instances, ring=self.ringer.ring)
        self.printed = 0

    def print(self, *lines: str) -> None:
        """Print, and have it taken over."""
        folder = self.instances / f"iris.blue.{self.deployment.pk}.1.0"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "console.log").open("a") as console:
            console.writelines(f"{line}\n" for line in lines)
        while self.follower.step():
            pass

    @asynccontextmanager
    async def reader(
        self, user: Any, query: str = "", name: str = "iris"
    ) -> AsyncIterator[Reader]:
        scope = {
            "type": "websocket",
            "path": f"/ws/w/{self.cast.workspace.name}/endpoints/{name}/deployments/blue/logs",
            "query_string": query.encode(),
            "headers": [],
            "subprotocols": [],
            "user": user,
        }
        application = URLRouter(websocket_urlpatterns)
        socket: Any = ApplicationCommunicator(application, scope)  # type: ignore[no-untyped-call]
        try:
            yield Reader(socket)
        finally:
            await socket.send_input({"type": "websocket.disconnect", "code": 1000})
            await socket.wait(timeout=10)


class Reader:
    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.cursor = 0

    async def open(self) -> None:
        await self.socket.send_input({"type": "websocket.connect"})
        assert (await self.socket.receive_output(timeout=5))["type"] == "websocket.accept"

    async def closed_with(self) -> int:
        await self.open()
        message = await self.socket.receive_output(timeout=5)
        assert message["type"] == "websocket.close"
        return int(message["code"])

    async def message(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((await self.socket.receive_output(timeout=10))["text"])
        self.cursor = found.get("cursor", self.cursor)
        return found

    async def texts(self) -> list[str]:
        return [line["text"] for line in (await self.message())["lines"]]


@pytest.fixture
def stage(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    # As Django's own test client does: the test's transaction must not be closed between two messages.
    monkeypatch.setattr("channels.db.close_old_connections", lambda: None)
    settings.SEGMENTS_ROOT = tmp_path / "segments"
    stage = Stage(tmp_path, make_cast())
    yield stage
    stage.follower.close()
    stage.ringer.close()


@scenario
async def test_history_comes_first_and_then_what_is_new(stage: Stage) -> None:
    stage.print("one", "two")
    async with stage.reader(stage.cast.alice) as reader:
        await reader.open()
        first = await reader.message()
        assert [line["text"] for line in first["lines"]] == ["one", "two"]
        assert first["lines"][1] == {
            "cursor": 2,
            "time": first["lines"][0]["time"],
            "instance": f"iris.blue.{stage.deployment.pk}.1.0",
            "level": "",
            "source": "inference-server",
            "text": "two",
            "continues": True,
        }
        stage.print("three")
        assert await reader.texts() == ["three"]
        stage.print("four")
        assert await reader.texts() == ["four"]


@pytest.mark.thorough
@scenario
async def test_a_reader_that_comes_back_misses_no_line_and_sees_none_twice(stage: Stage) -> None:
    stage.print("one", "two")
    async with stage.reader(stage.cast.alice) as reader:
        await reader.open()
        await reader.texts()
        cursor = reader.cursor
    stage.print("three", "four")
    async with stage.reader(stage.cast.alice, f"cursor={cursor}") as reader:
        await reader.open()
        assert await reader.texts() == ["three", "four"]


@pytest.mark.thorough
@scenario
async def test_a_burst_arrives_whole_and_in_order(stage: Stage) -> None:
    async with stage.reader(stage.cast.alice) as reader:
        await reader.open()
        assert await reader.texts() == []
        expected = [f"line {number}" for number in range(10_000)]
        stage.print(*expected)
        found: list[str] = []
        while len(found) < len(expected):
            found += await reader.texts()
        assert found == expected


@scenario
async def test_lines_arrive_although_redis_is_away(stage: Stage, settings: Any) -> None:
    settings.REDIS_URL = "unix:///nowhere/redis.sock"
    async with stage.reader(stage.cast.alice) as reader:
        await reader.open()
        assert await reader.texts() == []
        stage.print("one")
        assert await reader.texts() == ["one"]


@pytest.mark.thorough
@scenario
async def test_only_lines_that_are_wanted_are_sent(stage: Stage) -> None:
    stage.print("apple", "pear", "pineapple")
    async with stage.reader(stage.cast.alice, "text=apple&lines=1") as reader:
        await reader.open()
        assert await reader.texts() == ["pineapple"]
        stage.print("plum", "apple tree")
        assert await reader.texts() == ["apple tree"]


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("text=/(/", "is not valid"),
        ("level=loud", "There is no log level 'loud'"),
        ("cursor=abc", "cursor is 'abc'"),
    ],
)
@scenario
async def test_a_wrong_query_is_answered_with_a_sentence(
    stage: Stage, query: str, sentence: str
) -> None:
    async with stage.reader(stage.cast.alice, query) as reader:
        await reader.open()
        assert sentence in (await reader.message())["error"]["message"]
        message = await reader.socket.receive_output(timeout=5)
        assert message["code"] == consumers.BAD_REQUEST


@scenario
async def test_a_reader_without_the_right_is_refused(stage: Stage) -> None:
    async with stage.reader(stage.cast.bob) as reader:
        assert await reader.closed_with() == 4403


@pytest.mark.parametrize("who", [lambda cast: cast.charlie, lambda cast: AnonymousUser()])
@scenario
async def test_a_stranger_learns_nothing(stage: Stage, who: Callable[[Cast], Any]) -> None:
    async with stage.reader(who(stage.cast)) as reader:
        assert await reader.closed_with() == 4404
    async with stage.reader(who(stage.cast), name="missing") as reader:
        assert await reader.closed_with() == 4404


@scenario
async def test_a_reader_whose_membership_ends_is_cut_off(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "CHECK_ROLE_SECONDS", 0.0)
    monkeypatch.setattr(consumers, "WAIT_SECONDS", 0.05)
    charlie = stage.cast.charlie
    await sync_to_async(add_member)(stage.cast.workspace, charlie, Role.DATA_SCIENTIST)
    async with stage.reader(charlie) as reader:
        await reader.open()
        await reader.message()
        await sync_to_async(Membership.objects.filter(user=charlie).delete)()
        message = await reader.socket.receive_output(timeout=5)
        assert message["code"] == 4404


@scenario
async def test_a_new_deployment_of_the_same_name_has_a_log_of_its_own(stage: Stage) -> None:
    stage.print("secret of the first")

    def replace() -> None:
        stage.deployment.instances.all().delete()
        endpoint = stage.deployment.endpoint
        OnlineDeployment.objects.filter(pk=stage.deployment.pk).delete()
        endpoint.upstreams.all().delete()
        make_deployment(endpoint)

    await sync_to_async(replace)()
    async with stage.reader(stage.cast.alice) as reader:
        await reader.open()
        assert await reader.texts() == []
