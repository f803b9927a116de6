"""The cast and a browser for each of them, for every test of a studio page."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from tests.factories import Cast, make_cast
from workspaces.models import User


@pytest.fixture(autouse=True)
def own_cache(settings: Settings) -> None:
    """Redis is shared by all that run beside this test, and their rows have the same ids."""
    settings.CACHES = {"default": {**settings.CACHES["default"], "KEY_PREFIX": uuid4().hex}}


@pytest.fixture
def cast(db: None) -> Cast:
    # Asked of the database every ten seconds, whoever's page it is: not a query of the page under test.
    cache.set("silent", [], 600)
    return make_cast()


def browser_of(user: User) -> Client:
    """A browser that the user is signed in with.

    `force_login` does the same in thirteen queries, for the sake of sessions that were there before.
    """
    key = uuid4().hex
    known = {
        SESSION_KEY: str(user.pk),
        BACKEND_SESSION_KEY: "django.contrib.auth.backends.ModelBackend",
        HASH_SESSION_KEY: user.get_session_auth_hash(),
    }
    Session.objects.create(
        session_key=key,
        session_data=SessionStore().encode(known),
        expire_date=timezone.now() + timedelta(days=1),
    )
    client = Client()
    client.cookies[settings.SESSION_COOKIE_NAME] = key
    return client


@pytest.fixture
def alice(cast: Cast) -> Client:
    return browser_of(cast.alice)


@pytest.fixture
def bob(cast: Cast) -> Client:
    return browser_of(cast.bob)


@pytest.fixture
def charlie(cast: Cast) -> Client:
    return browser_of(cast.charlie)


@dataclass
class Gateway:
    """A listener in the gateway's place: what it answers next, and what it was asked."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    body: bytes = b'{"result": [1]}'
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def gateway(settings: Settings) -> Iterator[Gateway]:
    facts = Gateway()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            facts.asked.append((self.command, self.path, headers, body))
            self.send_response(facts.status)
            for name, value in facts.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(facts.body)))
            self.end_headers()
            self.wfile.write(facts.body)

        do_GET = do_POST

        def log_message(self, *_arguments: Any) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        settings.PORTICO_GATEWAY_HTTP_PORT = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield facts
        server.shutdown()
        thread.join()
