"""The tab “Test”: one request through the gateway, its answer explained, and the last twenty."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from endpoints.models import OnlineEndpoint
from portal.deployment_colors import slots_of
from portal.pages import render_page
from portal.studio import scoring_body
from portal.studio.code_part import trusted_authority
from portal.studio.consume import placeholder_of
from portal.studio.endpoint_frame import frame, rights_of
from portal.studio.inference_protocol import model_to_ask
from portal.studio.samples_code import sample_code
from portal.studio.scope import StudioRequest, find_endpoint, studio_page
from portal.studio.scoring import Explanation, Reply, credential_of, explain, score
from workspaces.errors import UserError

JSON = "application/json"
CONTENT_TYPES = (JSON, "text/csv", "text/plain", "application/octet-stream")
MODES = ("json", "file", "raw")
MOST_SHOWN_CHARACTERS = 200_000
MOST_IMAGE_BYTES = 1024 * 1024
LONGEST_CONTENT_TYPE = 200


@dataclass(frozen=True)
class Attempt:
    """What the form says; `file_name` is set when the body came as a file."""

    mode: str
    deployment: str
    content_type: str
    body: bytes
    file_name: str = ""
    directory_token: str = ""

    @property
    def text(self) -> str:
        """The body for the form; nothing of a file."""
        return "" if self.file_name else self.body.decode()


@studio_page("onlineEndpoints/read")
@require_safe
def test_tab(request: StudioRequest, endpoint: str) -> HttpResponse:
    """`?deployment=` chooses one, `?again=<n>` takes up the n-th test of the history."""
    found = find_endpoint(request, endpoint)
    context = frame(request, found, "test")
    if model_to_ask(found):
        context["serves_repository"] = True
        return render_page(request, "endpoints/test.html", "endpoints/_test_result.html", context)
    deployment = request.GET.get("deployment", "")
    if deployment not in context["deployment_names"]:
        deployment = ""
    past = scoring_body.history(found, request.user)
    again = request.GET.get("again", "")
    if again.isdecimal() and int(again) < len(past) and past[int(again)].body:
        sent = past[int(again)]
        mode = "json" if sent.content_type.startswith(JSON) else "raw"
        form = Attempt(mode, sent.deployment, sent.content_type, sent.body.encode())
    else:
        form = Attempt("json", deployment, JSON, _first_body(request, found, deployment).encode())
    return _show(request, context, form)


@studio_page("onlineEndpoints/score/action")
@require_POST
def send(request: StudioRequest, endpoint: str) -> HttpResponse:
    """Send what the form holds, and show what came back."""
    found = find_endpoint(request, endpoint)
    context = frame(request, found, "test")
    try:
        form = read_attempt(request, context["deployment_names"])
        credential = credential_of(found, by=request.user, directory_token=form.directory_token)
    except UserError as error:
        mode = request.POST.get("mode", "json")
        unsent = Attempt(
            mode,
            request.POST.get("deployment", ""),
            request.POST.get("content_type", JSON),
            _typed(request, mode).encode(),
        )
        return _show(request, context, unsent, {"error": error}, status=422)
    reply = score(
        found,
        form.body,
        credential=credential,
        content_type=form.content_type,
        deployment=form.deployment,
    )
    scoring_body.remember(
        found,
        request.user,
        reply,
        deployment=form.deployment,
        content_type=form.content_type,
        body=form.text,
        file_name=form.file_name,
    )
    explanation = explain(reply, sent_bytes=len(form.body))
    answer = {
        "reply": reply,
        "shown": shown_body(reply),
        "explanation": explanation,
        "sent_bytes": len(form.body),
        "log_deployment": reply.deployment or form.deployment,
        "fix_url": _fix_url(request, found, explanation, reply.deployment or form.deployment),
    }
    return _show(request, context, form, answer)


def read_attempt(request: StudioRequest, deployments: list[str]) -> Attempt:
    """What is to be sent; `UserError` names the field that keeps it from being sent."""
    deployment = request.POST.get("deployment", "")
    if deployment and deployment not in deployments:
        raise UserError(
            _("Deployment '%(name)s' is not there any more. Choose another one.")
            % {"name": deployment},
            target="deployment",
        )
    mode = request.POST.get("mode", "json")
    content_type = request.POST.get("content_type", "").strip() or JSON
    file_name = ""
    if mode == "file":
        upload = request.FILES.get("file")
        if upload is None:
            raise UserError(_("Choose the file to send."), target="file")
        # The gateway refuses more than its own limit with 413; this bounds what `web` reads.
        if (upload.size or 0) > 2 * settings.MAX_BODY_BYTES:
            raise UserError(
                _("The file has %(size).3g MB; endpoints take %(limit).3g MB at most.")
                % {"size": (upload.size or 0) / 2**20, "limit": settings.MAX_BODY_BYTES / 2**20},
                target="file",
            )
        body, file_name = upload.read(), upload.name or "file"
        content_type = request.POST.get("content_type", "") or upload.content_type or JSON
    elif mode == "raw":
        body = _typed(request, mode).encode()
    else:
        mode, content_type = "json", JSON
        body = _checked_json(_typed(request, mode)).encode()
    if (
        len(content_type) > LONGEST_CONTENT_TYPE
        or not content_type.isprintable()
        or not content_type.isascii()
    ):
        raise UserError(
            _("The content type is not one, for example text/csv."), target="content_type"
        )
    return Attempt(
        mode, deployment, content_type, body, file_name, request.POST.get("directory_token", "")
    )


def shown_body(reply: Reply) -> dict[str, Any]:
    """The answer for people: `kind` json, text, image or binary, with `pretty` and `raw`."""
    kind = reply.content_type.partition(";")[0].strip().lower()
    if kind.startswith("image/") and len(reply.body) <= MOST_IMAGE_BYTES and not reply.is_cut:
        data = base64.b64encode(reply.body).decode()
        return {"kind": "image", "pretty": f"data:{kind};base64,{data}", "raw": ""}
    try:
        raw = reply.body.decode()
    except UnicodeDecodeError:
        if not reply.is_cut:
            return {"kind": "binary", "pretty": "", "raw": ""}
        raw = reply.body.decode(errors="replace")
    is_long = len(raw) > MOST_SHOWN_CHARACTERS
    shown = {"kind": "text", "pretty": "", "raw": raw[:MOST_SHOWN_CHARACTERS], "is_long": is_long}
    try:
        pretty = json.dumps(json.loads(raw), indent=2, ensure_ascii=False)
    except ValueError:
        return shown
    return {**shown, "kind": "json", "pretty": pretty[:MOST_SHOWN_CHARACTERS]}


def _fix_url(
    request: StudioRequest, endpoint: OnlineEndpoint, found: Explanation | None, deployment: str
) -> str:
    """Where the explanation's way out is; empty if it has none, or the role does not lead there."""
    address = [request.workspace.name, endpoint.name]
    can = rights_of(request.role)
    if found is None:
        return ""
    if found.fix == "traffic" and can.write:
        return reverse("studio:traffic", args=address)
    if found.fix == "deployment" and deployment and can.deploy:
        return reverse("studio:edit_deployment", args=[*address, deployment])
    if found.fix == "logs" and can.logs:
        return f"{reverse('studio:logs', args=address)}?{urlencode({'deployment': deployment})}"
    return ""


def _show(
    request: StudioRequest,
    context: dict[str, Any],
    form: Attempt,
    extra: dict[str, Any] | None = None,
    *,
    status: int = 200,
) -> HttpResponse:
    endpoint: OnlineEndpoint = context["endpoint"]
    context |= {
        "form": form,
        "modes": MODES,
        "content_types": CONTENT_TYPES,
        "history": scoring_body.history(endpoint, request.user),
        "colors": slots_of(context["deployment_names"]),
        "timeout_ms": settings.MAX_REQUEST_TIMEOUT_MS + 10_000,
        "needs_directory_token": endpoint.auth_mode == OnlineEndpoint.AuthMode.AAD_TOKEN,
        "curl": _curl(endpoint, form),
        **(extra or {}),
    }
    return render_page(
        request, "endpoints/test.html", "endpoints/_test_result.html", context, status=status
    )


def _curl(endpoint: OnlineEndpoint, form: Attempt) -> str:
    """The same request as a command; empty for a file."""
    if form.file_name:
        return ""
    return sample_code(
        endpoint,
        "curl",
        key=placeholder_of(endpoint),
        body=form.text,
        ca_path=trusted_authority(),
        deployment=form.deployment,
        content_type=form.content_type,
    )


def _first_body(request: StudioRequest, endpoint: OnlineEndpoint, deployment: str) -> str:
    try:
        credential = credential_of(endpoint, by=request.user)
    except UserError:
        return scoring_body.FALLBACK
    return scoring_body.first_body(
        endpoint, request.user, credential=credential, deployment=deployment
    )


def _typed(request: StudioRequest, mode: str) -> str:
    # Browsers send CR LF for every line break of a textarea, whatever was pasted.
    return request.POST.get("raw" if mode == "raw" else "json", "").replace("\r\n", "\n")


def _checked_json(text: str) -> str:
    try:
        json.loads(text)
    except ValueError as error:
        raise UserError(
            _("This is not JSON: %(reason)s. Mend it, or choose Raw to send it as it is.")
            % {"reason": error},
            target="body",
        ) from error
    return text
