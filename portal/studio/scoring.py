"""One request to an endpoint through the gateway, as a client would send it, and what its answer means."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import quote

import httpx
from django.conf import settings
from django.utils.translation import gettext as _

from endpoints import keys
from endpoints.models import OnlineEndpoint
from portal.studio.samples_code import DEPLOYMENT_HEADER
from workspaces.models import User

MOST_REPLY_BYTES = 2 * 1024 * 1024
CONNECT_SECONDS = 3
# The gateway ends every request at the deployment's own timeout: this only bounds a gateway that hangs.
EXTRA_SECONDS = 5
MODEL_TIME = "ms-azureml-model-time"
RUN_TIME = "x-ms-run-fn-exec-ms"
MODEL_STATUS = "ms-azureml-model-error-statuscode"
ERROR_REASON = "ms-azureml-model-error-reason"


# Azure's words where they differ from the standard's (facts 6.4).
_PHRASES = {status.value: status.phrase for status in HTTPStatus} | {
    404: "Not found",
    408: "Request timeout",
    413: "Payload too large",
    424: "Model error",
    429: "Too many requests",
}


@dataclass(frozen=True)
class Reply:
    """What came back, or `fault`: why nothing did."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_cut: bool = False
    """Whether the answer was longer than what is kept here."""
    total_ms: float = 0.0
    fault: str = ""

    @property
    def is_ok(self) -> bool:
        return self.status == 200

    @property
    def phrase(self) -> str:
        return _PHRASES.get(self.status, "")

    @property
    def deployment(self) -> str:
        return self.headers.get(DEPLOYMENT_HEADER, "")

    @property
    def request_id(self) -> str:
        return self.headers.get("x-ms-request-id") or self.headers.get("x-request-id", "")

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "")

    @property
    def model_ms(self) -> float | None:
        """Milliseconds in the container, as the gateway measured them."""
        return _number(self.headers.get(MODEL_TIME))

    @property
    def run_ms(self) -> float | None:
        """Milliseconds in `run()` alone."""
        return _number(self.headers.get(RUN_TIME))


@dataclass(frozen=True)
class Explanation:
    """A cause in one sentence, and what to do: `fix` is one of `traffic`, `deployment`, `logs`, or empty."""

    title: str
    text: str
    fix: str = ""
    fix_label: str = ""


def credential_of(endpoint: OnlineEndpoint, *, by: User, directory_token: str = "") -> str:
    """What opens the endpoint for a test: its primary key, a fresh token, or the token the user brings."""
    if endpoint.auth_mode == OnlineEndpoint.AuthMode.KEY:
        return keys.keys_of(endpoint).primary
    if endpoint.auth_mode == OnlineEndpoint.AuthMode.AML_TOKEN:
        return keys.issue_token(endpoint, by=by).access_token
    return directory_token.strip()


def score(
    endpoint: OnlineEndpoint,
    body: bytes,
    *,
    credential: str,
    content_type: str = "application/json",
    deployment: str = "",
) -> Reply:
    """POST `body` to the scoring route; `deployment` goes past the traffic rules. Never raises."""
    headers = {"Content-Type": content_type}
    return _send(endpoint, "POST", "/score", credential, deployment, headers, body)


def swagger(
    endpoint: OnlineEndpoint, *, credential: str, deployment: str, seconds: float
) -> Reply:
    """GET the deployment's OpenAPI document, waiting `seconds` at most for each part. Never raises."""
    return _send(
        endpoint, "GET", "/swagger.json", credential, deployment, {}, b"", seconds=seconds
    )


def explain(reply: Reply, *, sent_bytes: int = 0) -> Explanation | None:
    """Why the request did not succeed; None if it did."""
    if reply.is_ok:
        return None
    if reply.fault:
        return Explanation(
            _("The gateway does not answer"),
            _("%(fault)s Deployed models are reached through it: see “portico doctor”.")
            % {"fault": reply.fault},
        )
    write = EXPLANATIONS.get(reply.status)
    if write is None:
        return Explanation(
            _("The request failed with %(status)s") % {"status": reply.status},
            _("The body below says why."),
            "logs",
            _("View the logs"),
        )
    return write(reply, sent_bytes)


def _unauthorized(reply: Reply, sent_bytes: int) -> Explanation:
    return Explanation(
        _("The key or token was not accepted"),
        _(
            "It is missing, wrong or expired, or it was regenerated a moment ago. Send the request again."
        ),
    )


def _not_found(reply: Reply, sent_bytes: int) -> Explanation:
    return Explanation(
        _("No deployment has traffic"),
        _(
            "The traffic rules lead nowhere, or the deployment that was asked for is gone. Give a deployment "
            "traffic, or choose one above."
        ),
        "traffic",
        _("Update traffic"),
    )


def _timed_out(reply: Reply, sent_bytes: int) -> Explanation:
    return Explanation(
        _("The model took longer than its request timeout"),
        _(
            "It was given up after %(ms).0f ms. Send less at once, or raise request_timeout_ms of the deployment."
        )
        % {"ms": reply.total_ms},
        "deployment",
        _("Raise the timeout"),
    )


def _too_large(reply: Reply, sent_bytes: int) -> Explanation:
    sizes = {"sent": sent_bytes / 2**20, "limit": settings.MAX_BODY_BYTES / 2**20}
    return Explanation(
        _("The body is too large"),
        _("It has %(sent).3g MB; the limit is %(limit).3g MB. Send fewer rows.") % sizes,
    )


def _model_error(reply: Reply, sent_bytes: int) -> Explanation:
    own = reply.headers.get(MODEL_STATUS, "")
    if reply.headers.get(ERROR_REASON) == "model_not_ready":
        return Explanation(
            _("The model is not ready"),
            _(
                "Its server answers, but no worker has loaded the model yet. Try again in a few seconds."
            ),
            "logs",
            _("View the logs"),
        )
    return Explanation(
        _("The model returned %(status)s") % {"status": own or _("an error")},
        _("run() raised an exception or answered with an error. The log has the traceback."),
        "logs",
        _("View the traceback"),
    )


def _too_many(reply: Reply, sent_bytes: int) -> Explanation:
    return Explanation(
        _("All slots of the deployment are busy"),
        _("More requests wait than it takes at once. Try again in a second, or add instances."),
        "deployment",
        _("Scale out"),
    )


def _unavailable(reply: Reply, sent_bytes: int) -> Explanation:
    return Explanation(
        _("No instance can answer"),
        _(
            "The deployment has no instance that is ready. It may be starting, or it may have crashed."
        ),
        "logs",
        _("View the logs"),
    )


EXPLANATIONS: dict[int, Callable[[Reply, int], Explanation]] = {
    401: _unauthorized,
    403: _unauthorized,
    404: _not_found,
    408: _timed_out,
    413: _too_large,
    424: _model_error,
    429: _too_many,
    503: _unavailable,
}


def _send(
    endpoint: OnlineEndpoint,
    method: str,
    path: str,
    credential: str,
    deployment: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    seconds: float = 0.0,
) -> Reply:
    longest = seconds or settings.MAX_REQUEST_TIMEOUT_MS / 1000 + EXTRA_SECONDS
    url = f"http://127.0.0.1:{settings.PORTICO_GATEWAY_HTTP_PORT}/{quote(endpoint.name)}{path}"
    sent = {**headers, "Authorization": f"Bearer {credential}"}
    if deployment:
        sent[DEPLOYMENT_HEADER] = deployment
    limits = httpx.Timeout(longest, connect=CONNECT_SECONDS)
    began = time.monotonic()
    try:
        # Plain HTTP on loopback: no proxy of the environment, and no certificates to load (20 ms).
        with (
            httpx.Client(timeout=limits, trust_env=False, verify=False) as client,
            client.stream(method, url, content=body, headers=sent) as response,
        ):
            kept, is_cut = _read(response, began + longest)
            return Reply(
                response.status_code,
                dict(response.headers),
                kept,
                is_cut,
                (time.monotonic() - began) * 1000,
            )
    except httpx.TimeoutException:
        fault = _("No answer came within %(seconds).0f s.") % {"seconds": longest}
    except (httpx.HTTPError, ValueError) as error:
        fault = f"{error or type(error).__name__}."
    return Reply(fault=fault, total_ms=(time.monotonic() - began) * 1000)


def _read(response: httpx.Response, until: float) -> tuple[bytes, bool]:
    """The body as far as it is kept, and whether there was more."""
    kept = bytearray()
    for part in response.iter_bytes():
        kept += part
        if len(kept) > MOST_REPLY_BYTES or time.monotonic() > until:
            return bytes(kept[:MOST_REPLY_BYTES]), True
    return bytes(kept), False


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
