"""What callers read when something fails: one JSON shape, one code per cause, a way out in the
sentence. Causes and codes follow Azure's table; `docs/gateway.md` lists them."""

from typing import Any

from endpoints.gateway.resources import DEPLOYMENT_HEADER, header_to_set

ERROR_STATUS_HEADER = "ms-azureml-model-error-statuscode"
ERROR_REASON_HEADER = "ms-azureml-model-error-reason"
ROUTE_DEPLOYMENT = "%METADATA(ROUTE:gw:deployment)%"

# Runs on the answer of an instance only, so the gateway's own answers stay as they are. Our
# inference server says for itself that its queue is full (429), the time is over (408), or no
# worker is ready (503): it says that run() did not fail, and not how long run() took.
MODEL_ERROR_LUA = """
function envoy_on_response(handle)
  local headers = handle:headers()
  local status = headers:get(":status")
  if status:byte(1) < 52 then return end
  local reason = "model_error"
  if headers:get("x-ms-run-function-failed") == "False"
      and headers:get("x-ms-run-fn-exec-ms") == nil then
    if status == "408" then return end
    if status == "429" then
      headers:replace("ms-azureml-model-error-reason", "too_many_pending_request")
      return
    end
    if status == "503" then reason = "model_not_ready" end
  end
  headers:replace("ms-azureml-model-error-statuscode", status)
  headers:replace("ms-azureml-model-error-reason", reason)
  headers:replace(":status", "424")
end
"""

# Azure keeps a caller's valid x-request-id and replaces any other by a GUID; a client request id
# keeps its first 40 legal characters. The connection manager has put a GUID in x-request-id, and
# the caller's own into x-gw-caller-request-id (see listeners.py).
CALLER_IDS_LUA = """
function envoy_on_request(handle)
  local headers = handle:headers()
  local id = headers:get("x-gw-caller-request-id")
  if id ~= nil then
    headers:remove("x-gw-caller-request-id")
    if #id > 0 and #id <= 100 and not id:find("[^%w%-_]") then
      headers:replace("x-request-id", id)
    end
  end
  local client = headers:get("x-ms-client-request-id")
  if client ~= nil then
    local clean = client:gsub("[^%w%-_]", ""):sub(1, 40)
    if clean == "" then
      headers:remove("x-ms-client-request-id")
    elseif clean ~= client then
      headers:replace("x-ms-client-request-id", clean)
    end
  end
end
"""

STUDIO_DOWN = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="refresh" content="3">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>The studio is starting</title>
<style>
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 34rem; margin: 18vh auto; padding: 0 1rem }
@media (prefers-color-scheme: dark) { body { background: #151f2c; color: #dce1e7 } }
</style>
</head>
<body>
<h1>The studio is starting</h1>
<p>It does not answer at the moment: it is starting, restarting, or stopped.
This page tries again every three seconds.</p>
<p>Deployed models keep answering meanwhile. If this takes more than a minute, run
<code>portico doctor</code> on the server.</p>
</body>
</html>
"""


def scoring_replies(max_body_bytes: int) -> dict[str, Any]:
    """How the scoring listeners answer for themselves. The first mapper that fits wins."""
    return {
        "mappers": [
            _deployment_reply(
                _flags("UT", "SI", "DT", "UMSDR"),
                408,
                "RequestTimeout",
                "The model did not answer within the deployment's request timeout. Make the"
                " request smaller, or raise request_settings.request_timeout_ms.",
            ),
            # Before UO: a retry that the retry budget refuses carries both flags.
            _deployment_reply(
                _flags("UF", "URX"),
                503,
                "InstanceUnreachable",
                "No connection to an instance of the deployment could be made. Try again; if it"
                " stays, look at the deployment's logs.",
            ),
            _deployment_reply(
                _flags("UO"),
                429,
                "TooManyPendingRequests",
                "More than 2 x max_concurrent_requests_per_instance x instance_count requests"
                " wait in this deployment. Try again with back-off, or add instances.",
                headers={"retry-after": "1", ERROR_REASON_HEADER: "too_many_pending_request"},
            ),
            _deployment_reply(
                _flags("UH", "NC"),
                503,
                "NoHealthyInstance",
                "The deployment has no instance that can answer now. Wait until one is ready, or"
                " look at the deployment's state and logs.",
            ),
            # The model's process went away under the request: the model's fault, as its own 502.
            _deployment_reply(
                _flags("UC", "UR", "UPE"),
                424,
                "ModelError",
                "The instance ended the connection before it answered. Look at the deployment's"
                " logs for a crash or a lack of memory.",
                headers={ERROR_STATUS_HEADER: "502", ERROR_REASON_HEADER: "model_error"},
            ),
            _reply(
                _flags("OM"),
                503,
                "Overloaded",
                "The gateway is at its limit of memory or connections. Try again with back-off.",
                headers={"retry-after": "1"},
            ),
            _reply(
                _status(429),
                429,
                "RateLimited",
                "The endpoint's limit of requests per second is reached. Try again with back-off.",
                headers={"retry-after": "1", ERROR_REASON_HEADER: "rate_limited"},
            ),
            _reply(
                _status(401),
                401,
                "Unauthorized",
                "The key or token is missing, wrong or expired, or there is no such endpoint."
                " Send 'Authorization: Bearer <key or token>'; 'portico ml online-endpoint"
                " get-credentials' shows it.",
            ),
            _reply(
                _status(403),
                403,
                "Forbidden",
                "The token is for another endpoint or audience, or its holder may not score here, or"
                " this endpoint takes no requests from your network. Get a token for this endpoint, or"
                " ask its owner.",
            ),
            # The body of a direct response: which of the two causes it was.
            _reply(_status(404), 404, "NotFound", "%LOCAL_REPLY_BODY%"),
            _reply(_status(408), 408, "RequestTimeout", "The request did not arrive in time."),
            _reply(
                _status(413),
                413,
                "PayloadTooLarge",
                f"The request body is larger than this endpoint takes (at most {max_body_bytes}"
                " bytes, or less if the endpoint sets less). Send fewer rows per request.",
            ),
            _reply(
                _status(500, "GE"),
                None,
                "GatewayError",
                "The gateway could not answer: %LOCAL_REPLY_BODY%",
            ),
            _reply(
                _status(400, "GE"),
                None,
                "BadRequest",
                "The gateway refused the request: %RESPONSE_CODE_DETAILS%. Paths with escaped"
                " slashes and headers with underscores are not taken.",
            ),
        ]
    }


def studio_replies() -> dict[str, Any]:
    """A page for people and JSON for programs while `web` is away."""
    away = _flags("UF", "URX", "UH", "NC", "UC", "UR")
    browser = {"header_filter": {"header": {"name": "accept", **_contains("text/html")}}}
    page = {
        "text_format_source": {"inline_string": STUDIO_DOWN},
        "content_type": "text/html; charset=utf-8",
    }
    asked_by_browser = {"and_filter": {"filters": [away, browser]}}
    return {
        "mappers": [
            _mapper(asked_by_browser, 503, page, {"retry-after": "3"}),
            _reply(
                away,
                503,
                "ServiceUnavailable",
                "The portal does not answer: it is starting, restarting, or stopped. Try again in"
                " a few seconds; 'portico doctor' on the server tells more.",
                headers={"retry-after": "3"},
            ),
            _reply(_status(400, "GE"), None, "GatewayError", "%LOCAL_REPLY_BODY%"),
        ]
    }


def _reply(
    cause: dict[str, Any],
    status: int | None,
    code: str,
    message: str,
    headers: dict[str, str] | None = None,
) -> dict[str, Any]:
    body = {"json_format": {"error": {"code": code, "message": message}}}
    return _mapper(cause, status, body, headers or {})


def _mapper(
    cause: dict[str, Any], status: int | None, body: dict[str, Any], headers: dict[str, str]
) -> dict[str, Any]:
    """For answers with this `cause`; a `status` of None leaves Envoy's own."""
    named = {"x-ms-request-id": "%REQUEST_HEADER(X-REQUEST-ID)%", **headers}
    mapper: dict[str, Any] = {
        "filter": cause,
        "headers_to_add": [header_to_set(name, value) for name, value in named.items()],
        "body_format_override": body,
    }
    return mapper if status is None else {**mapper, "status_code": status}


def _deployment_reply(
    cause: dict[str, Any],
    status: int,
    code: str,
    message: str,
    headers: dict[str, str] | None = None,
) -> dict[str, Any]:
    """For causes that lie behind the key check: these callers may know the deployment's name."""
    named = {DEPLOYMENT_HEADER: ROUTE_DEPLOYMENT, **(headers or {})}
    return _reply(cause, status, code, message, named)


def _flags(*flags: str) -> dict[str, Any]:
    return {"response_flag_filter": {"flags": list(flags)}}


def _status(status: int, comparison: str = "EQ") -> dict[str, Any]:
    value = {"default_value": status, "runtime_key": f"gw.reply.{comparison}.{status}"}
    return {"status_code_filter": {"comparison": {"op": comparison, "value": value}}}


def _contains(text: str) -> dict[str, Any]:
    return {"string_match": {"contains": text}}
