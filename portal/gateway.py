"""Envoy under the supervisor: its settings from ours, its keys, and its restarts."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from django.conf import settings

from endpoints.gateway.bootstrap import GatewaySettings
from endpoints.gateway.envoy import Envoy, EnvoyError, envoy_binary
from portal.certificates import ensure_server_certificate
from portal.faults import StartFault
from portal.processes import GOOD_RUN_SECONDS, pause_seconds
from workspaces.signing import ensure_signing_key


def gateway_settings() -> GatewaySettings:
    """What Envoy's files depend on; certificates and signing key are made first if need be."""
    certificate, key = _certificate()
    return GatewaySettings(
        run_dir=settings.RUN_DIR / "gateway",
        gateway_port=settings.PORTICO_GATEWAY_PORT,
        gateway_http_port=settings.PORTICO_GATEWAY_HTTP_PORT,
        studio_http_port=settings.PORTICO_PORT,
        studio_tls_port=settings.PORTICO_TLS_PORT,
        web_socket=settings.WEB_SOCKET,
        xds_socket=settings.XDS_SOCKET,
        admin_socket=settings.ENVOY_ADMIN_SOCKET,
        access_log=settings.ACCESS_LOG,
        certificate_path=certificate,
        key_path=key,
        jwks=ensure_signing_key(settings.SECRETS_DIR).jwks,
        max_body_bytes=settings.MAX_BODY_BYTES,
        bind_address=settings.PORTICO_BIND,
        region=settings.FIRST_WORKSPACE["location"],
        domain=settings.PORTICO_DOMAIN,
    )


def _certificate() -> tuple[Path, Path]:
    """The operator's own certificate and key, or ours, made and renewed here."""
    if settings.TLS_CERTIFICATE or settings.TLS_KEY:
        for variable, name in (
            ("PORTICO_TLS_CERTIFICATE", settings.TLS_CERTIFICATE),
            ("PORTICO_TLS_KEY", settings.TLS_KEY),
        ):
            if not name or not os.access(name, os.R_OK):
                raise StartFault(
                    f"{variable} is '{name}', which cannot be read. Set PORTICO_TLS_CERTIFICATE and "
                    f"PORTICO_TLS_KEY to two PEM files, or neither."
                )
        return Path(settings.TLS_CERTIFICATE), Path(settings.TLS_KEY)
    names = [settings.PORTICO_HOST]
    if settings.PORTICO_DOMAIN:
        names.append(f"*.{settings.FIRST_WORKSPACE['location']}.{settings.PORTICO_DOMAIN}")
    made = ensure_server_certificate(settings.CERTIFICATES_DIR, names)
    return made.certificate, made.key


class GatewayKeeper:
    """Keeps Envoy running. Unlike the other programs it outlives the supervisor, and the next adopts it."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self.report = report
        self.envoy = Envoy(gateway_settings())
        self.was_adopted = self.is_running
        self.is_wanted = False
        self.restarts = 0
        self._deaths = 0
        self._started = 0.0
        self._next_start = 0.0
        self._drain: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        return self.envoy.pid() is not None

    def want(self) -> None:
        """Adopt the Envoy that runs, or start one; it picks up changed listeners and certificates by itself."""
        try:
            envoy_binary()
        except EnvoyError as error:
            raise StartFault(str(error)) from error
        self.is_wanted = True
        self.envoy = Envoy(gateway_settings())
        self.envoy.write_configuration()
        if self.envoy.needs_restart():
            self.report("envoy is replaced, because what it was started with has changed")
            self._begin_drain()
        self.tick()

    def tick(self) -> None:
        """Notice a death, and start again when the pause is over; called several times a second."""
        if self._drain is not None:
            if self._drain.is_alive():
                return
            self._drain = None
            self._started = 0.0
        if not self.is_wanted:
            return
        now = time.monotonic()
        if self.is_running:
            if self._deaths and now - self._started > GOOD_RUN_SECONDS:
                self._deaths = 0
            self._started = self._started or now
            return
        if self._started:
            self._note_death(now)
        if now >= self._next_start:
            self._start(now)

    def _note_death(self, now: float) -> None:
        self._pause(now)
        self._started = 0.0
        self.restarts += 1
        self.report(f"envoy ended; it is started again. Its log: {self.envoy.log_path}")

    def _start(self, now: float) -> None:
        try:
            self.envoy.start()
            self._started = now
        except (EnvoyError, OSError, psutil.Error) as error:
            self._pause(now)
            self.report(f"envoy cannot be started: {error} It is tried again.")

    def _pause(self, now: float) -> None:
        self._next_start = now + pause_seconds(self._deaths)
        self._deaths += 1

    def problem(self) -> str:
        """What Envoy refused, such as a port that is taken; empty while it has nothing to say."""
        try:
            return self.envoy.problem()
        except EnvoyError:
            return ""

    def begin_stop(self) -> None:
        """Let the scoring requests in flight finish, then end Envoy; returns at once."""
        self.is_wanted = False
        self._begin_drain()

    def _begin_drain(self) -> None:
        seconds = settings.MAX_REQUEST_TIMEOUT_MS / 1000
        self._drain = threading.Thread(
            target=self.envoy.drain_and_stop, args=(seconds,), name="drain", daemon=True
        )
        self._drain.start()

    @property
    def is_stopped(self) -> bool:
        return self._drain is None or not self._drain.is_alive()

    def kill(self) -> None:
        """The end for an Envoy that is still there, because the operator hurries."""
        pid = self.envoy.pid()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._drain is not None:
            self._drain.join()
