"""The tab “Logs”: history, filters in the address, why there is nothing, everything as a file."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.urls import URLResolver, reverse
from django.urls.resolvers import RegexPattern

from deployments.models import OnlineDeployment, Operation, Phase
from endpoints.models import OnlineEndpoint
from monitoring.logs import CONSOLE, folder_of_deployment
from monitoring.routing import websocket_urlpatterns
from monitoring.segments import Entry, SegmentWriter
from monitoring.tailing import Mark
from tests.factories import Cast, make_deployment, make_online_endpoint

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def endpoint(cast: Cast) -> OnlineEndpoint:
    return make_online_endpoint(cast.workspace, "churn", deployments={"blue": 100, "green": 0})


def url(endpoint: OnlineEndpoint, name: str = "logs") -> str:
    return reverse(f"studio:{name}", args=[endpoint.workspace.name, endpoint.name])


def say(
    endpoint: OnlineEndpoint, *lines: str, deployment: str = "blue", instance: str = "i-1"
) -> None:
    """Lines as `watch` keeps them; one that begins with `!` is an error."""
    folder = folder_of_deployment(endpoint.deployments.get(name=deployment))
    entries = [
        Entry(
            NOON + timedelta(seconds=number),
            "error" if line.startswith("!") else "info",
            line,
            False,
            Mark(1, number),
        )
        for number, line in enumerate(lines)
    ]
    with closing(SegmentWriter(folder)) as writer:
        writer.append(instance, CONSOLE, entries)


def texts(client: Client, endpoint: OnlineEndpoint, **query: str) -> list[str]:
    """The lines of the history on the page."""
    return [line["text"] for line in client.get(url(endpoint), query).context["first"]["lines"]]


def test_the_history_is_in_the_page_and_new_lines_come_behind_it(
    alice: Client, endpoint: OnlineEndpoint
) -> None:
    say(endpoint, "one", "two")
    page = alice.get(url(endpoint))
    assert [line["text"] for line in page.context["first"]["lines"]] == ["one", "two"]
    assert page.context["first"]["cursor"] == 2
    assert "two" in page.content.decode().partition("<noscript>")[2]


def test_the_socket_is_the_one_that_monitoring_serves(
    alice: Client, endpoint: OnlineEndpoint
) -> None:
    socket = alice.get(url(endpoint), {"level": "error"}).context["socket_url"]
    path, _, query = socket.partition("?")
    root = URLResolver(RegexPattern(r"^/"), websocket_urlpatterns)
    assert root.resolve(path).kwargs == {
        "workspace": endpoint.workspace.name,
        "endpoint": "churn",
        "deployment": "blue",
    }
    assert query == "level=error"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"level": "error"}, ["! broken"]),
        ({"q": "fine"}, ["all fine"]),
        ({"q": "/^! b/"}, ["! broken"]),
        ({"instance": "i-2"}, ["other"]),
        ({"deployment": "green"}, ["in green"]),
        ({"deployment": "GREEN"}, ["in green"]),
    ],
)
def test_the_filter_is_in_the_address(
    alice: Client, endpoint: OnlineEndpoint, query: dict[str, str], found: list[str]
) -> None:
    say(endpoint, "all fine", "! broken")
    say(endpoint, "other", instance="i-2")
    say(endpoint, "in green", deployment="green")
    assert texts(alice, endpoint, **query) == found


def test_older_lines_are_a_page_back(alice: Client, endpoint: OnlineEndpoint) -> None:
    say(endpoint, *(f"line {number}" for number in range(1, 701)))
    page = alice.get(url(endpoint)).context["page"]
    assert page.has_more
    assert page.lines[0].text == "line 201"
    older = alice.get(url(endpoint), {"before": str(page.oldest)})
    assert [line["text"] for line in older.context["first"]["lines"]][-1] == "line 200"
    assert older.context["socket_url"] == ""


def test_a_wrong_expression_is_named_and_kept(alice: Client, endpoint: OnlineEndpoint) -> None:
    say(endpoint, "one")
    page = alice.get(url(endpoint), {"q": "/(/"})
    assert page.status_code == 422
    assert "is not valid" in page.content.decode()
    assert page.context["wanted"].text == "/(/"


def test_a_deployment_that_is_not_there_is_not_found(
    alice: Client, endpoint: OnlineEndpoint
) -> None:
    assert alice.get(url(endpoint), {"deployment": "gone"}).status_code == 404


def test_everything_comes_as_a_file(alice: Client, endpoint: OnlineEndpoint) -> None:
    say(endpoint, *(f"line {number}" for number in range(1, 6001)))
    reply = alice.get(url(endpoint, "download_logs"), {"deployment": "blue"})
    lines = reply.content.decode().splitlines()
    assert len(lines) == 6000
    assert lines[0] == "2026-01-02T12:00:00.000+00:00 i-1 line 1"
    assert lines[-1].endswith("line 6000")
    assert 'filename="churn-blue-inference-server.log"' in reply.headers["Content-Disposition"]


def test_the_storage_initializers_log_is_apart_and_its_command_is_shown(
    alice: Client, endpoint: OnlineEndpoint
) -> None:
    say(endpoint, "scoring")
    deployment = OnlineDeployment.objects.get(endpoint=endpoint, name="blue")
    operation = Operation.objects.create(deployment=deployment, kind="Create")
    Phase.objects.create(operation=operation, name="Fetch model", log="Model churn:1, Custom\n")
    page = alice.get(url(endpoint), {"source": "storage-initializer"})
    assert [line.text for line in page.context["page"].lines] == ["Model churn:1, Custom"]
    assert "--container storage-initializer" in page.content.decode()
    assert "--container" not in alice.get(url(endpoint)).content.decode()


def reason(client: Client, endpoint: OnlineEndpoint, **query: str) -> str:
    return str(client.get(url(endpoint), query).context["reason"])


def test_silence_is_explained(alice: Client, endpoint: OnlineEndpoint) -> None:
    assert "has printed nothing" in reason(alice, endpoint)
    assert "matches this filter" in reason(alice, endpoint, q="x")
    make_deployment(endpoint, "late", state="Creating")
    assert "“Load model” is running" in reason(alice, endpoint, deployment="late")


def test_a_failed_deployment_comes_first_and_says_why(
    alice: Client, endpoint: OnlineEndpoint
) -> None:
    failure = {
        "title": "The instance ran out of memory",
        "code": "OutOfMemory",
        "phase": "Load model",
        "cause": "The container exited before writing. Exit code 137 (out of memory).",
        "evidence": [],
        "fixes": [],
    }
    broken = make_deployment(endpoint, "red", state="Failed", failure=failure)
    page = alice.get(url(endpoint))
    assert page.context["deployment"] == OnlineDeployment.objects.get(pk=broken.pk)
    assert page.context["reason"] == failure["cause"]
    assert "Exit code 137" in page.content.decode()


def test_events_are_what_provisioning_did(alice: Client, endpoint: OnlineEndpoint) -> None:
    found = texts(alice, endpoint, source="events")
    assert any("Load model" in text for text in found)


def test_an_endpoint_without_deployments_has_no_log_yet(alice: Client, cast: Cast) -> None:
    empty = make_online_endpoint(cast.workspace)
    assert "Logs come from deployments" in alice.get(url(empty)).content.decode()
    assert alice.get(url(empty, "download_logs")).status_code == 404
