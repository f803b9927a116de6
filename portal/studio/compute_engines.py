"""The page of an attached compute: where its deployments run, what its engines have and hold, and their forms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from django import forms
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_POST, require_safe

from deployments import computes
from deployments.engine_surveys import SurveyedEngine, check_engine, survey_compute
from deployments.models import Instance
from portal.pages import go, is_swap, render_page, toast
from portal.studio.as_code import compute_engines as as_code
from portal.studio.as_code.forms import Forms
from portal.studio.code_part import asks_for_code, code_part, place_of, samples_of
from portal.studio.code_values import Typed
from portal.studio.compute_pages import find_or_404
from portal.studio.problems import Problem, problems_of, told
from portal.studio.scope import StudioRequest, studio_page
from portal.templatetags.studio import cores
from workspaces import access
from workspaces.compute_engines import EngineSpec, engine_specs, require_operator
from workspaces.errors import NotFound, UserError
from workspaces.models import Compute, User

GIB = 2**30
MOST_SHOWN = 50
FIELDS = {
    "url": "url",
    "certPath": "cert_path",
    "maxCores": "most_cores",
    "maxMemoryBytes": "most_memory_gib",
}


class EngineForm(forms.Form):
    """A new engine, or one as it is; its name never changes."""

    name = forms.CharField(
        label=gettext_lazy("Name"),
        max_length=63,
        help_text=gettext_lazy("Shown beside each instance that runs there, such as gpu-box."),
    )
    url = forms.CharField(
        label=gettext_lazy("Address"),
        max_length=255,
        help_text=gettext_lazy(
            "unix:///var/run/docker.sock, tcp://host:2376 or ssh://user@host. The portal is root on that host."
        ),
    )
    cert_path = forms.CharField(
        label=gettext_lazy("Certificate folder"),
        required=False,
        max_length=500,
        help_text=gettext_lazy(
            "On the portal's machine, with ca.pem, cert.pem and key.pem: for tcp behind TLS."
        ),
    )
    tls_verify = forms.BooleanField(
        label=gettext_lazy("Check the engine's certificate"), required=False, initial=True
    )
    most_cores = forms.FloatField(
        label=gettext_lazy("Most cores"),
        required=False,
        min_value=0,
        help_text=gettext_lazy(
            "For all instances there together; more than the host has over-commits it. Empty for what it has."
        ),
    )
    most_memory_gib = forms.FloatField(
        label=gettext_lazy("Most memory"),
        required=False,
        min_value=0,
        help_text=gettext_lazy("The same of memory."),
    )
    is_schedulable = forms.BooleanField(
        label=gettext_lazy("Open for new instances"), required=False, initial=True
    )

    def __init__(self, *args: Any, current: EngineSpec | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if current is not None:
            del self.fields["name"]

    def spec(self, name: str) -> EngineSpec:
        """What a valid form says."""
        data = self.cleaned_data
        memory = data["most_memory_gib"]
        return EngineSpec(
            name=data.get("name", name),
            url=data["url"].strip(),
            cert_path=data["cert_path"].strip(),
            tls_verify=data["tls_verify"],
            most_cores=data["most_cores"] or None,
            most_memory_bytes=int(memory * GIB) if memory else None,
            is_schedulable=data["is_schedulable"],
        )


@studio_page("computes/read")
@require_safe
def detail(request: StudioRequest, compute: str) -> HttpResponse:
    """Where its deployments run, and which they are; the engines come as a part, since one may be slow or away."""
    found = _find(request, compute)
    rows = computes.deployments_on(found).select_related(
        "endpoint", "serving_revision", "revision"
    )
    context = {
        "workspace": request.workspace,
        "compute": found,
        "runtime": computes.place_on(found).runtime,
        "engine_count": len(found.engines.all()),
        "deployments": rows[:MOST_SHOWN],
        "may_write": access.role_may(request.role, "computes/write"),
        "is_operator": _is_operator(request.user),
    }
    return render(request, "workspaces/compute_detail.html", context)


@studio_page("computes/read")
@require_safe
def engine_part(request: StudioRequest, compute: str) -> HttpResponse:
    """The engines with what each says of itself."""
    found = _find(request, compute)
    rows = [(each, *_shares(each)) for each in survey_compute(found)]
    context = {
        "workspace": request.workspace,
        "compute": found,
        "engines": rows,
        "is_operator": _is_operator(request.user),
        "may_write": access.role_may(request.role, "computes/write"),
    }
    page, part = "workspaces/compute_engines.html", "workspaces/_compute_engines.html"
    return render_page(request, page, part, context)


@studio_page("computes/write")
def attach(request: StudioRequest, compute: str) -> HttpResponse:
    """The form of a new engine; for administrators of the installation."""
    return _form_page(request, _find(request, compute), None)


@studio_page("computes/write")
def edit(request: StudioRequest, compute: str, engine: str) -> HttpResponse:
    found = _find(request, compute)
    return _form_page(request, found, _engine(found, engine))


@studio_page("computes/write")
@require_POST
def check(request: StudioRequest, compute: str, engine: str) -> HttpResponse:
    """Ask it now, and say what it said."""
    found = _find(request, compute)
    seen = check_engine(found, _engine(found, engine).name)
    names = {
        "name": seen.spec.name,
        "version": seen.survey.version,
        "cores": cores(seen.survey.cores),
    }
    if seen.survey.away:
        words = _("The engine %(name)s does not answer.") % names
        if _is_operator(request.user):
            words += f" {seen.survey.away}."
        toast(request, words, level="error")
    else:
        words = _("The engine %(name)s answers: Docker %(version)s, %(cores)s.")
        toast(request, words % names)
    return go(request, compute_page(request, found))


@studio_page("computes/write")
def close(request: StudioRequest, compute: str, engine: str) -> HttpResponse:
    """No new instances from now on; those that are there stay."""
    return _ask_or_do(request, compute, engine, "close", _closed)


@studio_page("computes/write")
def reopen(request: StudioRequest, compute: str, engine: str) -> HttpResponse:
    return _ask_or_do(request, compute, engine, "open", _opened)


@studio_page("computes/write")
def drain(request: StudioRequest, compute: str, engine: str) -> HttpResponse:
    return _ask_or_do(request, compute, engine, "drain", _drained)


@studio_page("computes/write")
def remove(request: StudioRequest, compute: str, engine: str) -> HttpResponse:
    return _ask_or_do(request, compute, engine, "remove", _removed)


def compute_page(request: StudioRequest, compute: Compute) -> str:
    return reverse("studio:compute_detail", args=[request.workspace.name, compute.name])


def _closed(compute: Compute, engine: EngineSpec, by: User) -> str:
    computes.put_engine(compute, replace(engine, is_schedulable=False), by=by)
    return _("The engine %(name)s takes no new instances.") % {"name": engine.name}


def _opened(compute: Compute, engine: EngineSpec, by: User) -> str:
    computes.put_engine(compute, replace(engine, is_schedulable=True), by=by)
    return _("The engine %(name)s takes new instances.") % {"name": engine.name}


def _drained(compute: Compute, engine: EngineSpec, by: User) -> str:
    count = computes.drain_engine(compute, engine.name, by=by)
    words = ngettext(
        "%(count)s instance leaves the engine %(name)s.",
        "%(count)s instances leave the engine %(name)s.",
        count,
    )
    return words % {"count": count, "name": engine.name}


def _removed(compute: Compute, engine: EngineSpec, by: User) -> str:
    computes.remove_engine(compute, engine.name, by=by)
    return _("The engine %(name)s is removed.") % {"name": engine.name}


def _ask_or_do(
    request: StudioRequest,
    compute: str,
    engine: str,
    what: str,
    verb: Callable[[Compute, EngineSpec, User], str],
) -> HttpResponse:
    """A GET asks, in a dialog or on a page; a POST does it."""
    found = _find(request, compute)
    spec = _engine(found, engine)
    page = compute_page(request, found)
    require_operator(request.user, found.name)
    if request.method == "POST":
        try:
            toast(request, verb(found, spec, request.user))
        except UserError as error:
            toast(request, error.message, level="error")
        return go(request, page)
    open_elsewhere = [
        each for each in engine_specs(found) if each.is_schedulable and each.name != spec.name
    ]
    forms_of_it = as_code.act(place_of(request), found.name, spec.name, what)
    context: dict[str, Any] = {
        "workspace": request.workspace,
        "compute": found,
        "engine": spec,
        "what": what,
        "instance_count": Instance.objects.filter(revision__compute=found, node=spec.name).count(),
        "has_room_elsewhere": bool(open_elsewhere),
        "act_url": request.path,
        "page_url": page,
        "code_samples": samples_of(request, forms_of_it),
    }
    form, part = "workspaces/engine_act.html", "workspaces/_engine_act.html"
    return render_page(request, form, part, context)


def _form_page(
    request: StudioRequest, compute: Compute, current: EngineSpec | None
) -> HttpResponse:
    require_operator(request.user, compute.name)
    initial = _initial(current) if current else {}
    form = EngineForm(request.POST or None, initial=initial, current=current)
    if asks_for_code(request):
        return code_part(request, _code(request, form, compute, current))
    problems: list[Problem] = []
    if request.method == "POST":
        problems = problems_of(form)
        if not problems:
            wanted = form.spec(current.name if current else "")
            shown_as = {f"engines.{wanted.name}.{key}": name for key, name in FIELDS.items()}
            shown_as |= {f"engines.{wanted.name}": "name", "engines": "name"}
            try:
                _refuse_taken(compute, wanted, current)
                computes.put_engine(compute, wanted, by=request.user)
            except UserError as error:
                problems = told(error, shown_as=shown_as)
            else:
                return _checked(request, compute, wanted)
    if problems and is_swap(request):
        return render(request, "parts/_problems.html", {"problems": problems}, status=422)
    context = {
        "form": form,
        "problems": problems,
        "compute": compute,
        "engine": current,
        "workspace": request.workspace,
        "code_samples": samples_of(request, _code(request, form, compute, current)),
        "code_url": request.path,
    }
    status = 422 if problems else 200
    return render(request, "workspaces/engine_form.html", context, status=status)


def _checked(request: StudioRequest, compute: Compute, wanted: EngineSpec) -> HttpResponse:
    """Kept either way: an engine that is away now may be there tomorrow."""
    # Found anew: its engines are others now.
    seen = check_engine(_find(request, compute.name), wanted.name)
    names = {"name": wanted.name, "why": seen.survey.away}
    if seen.survey.away:
        words = _("The engine %(name)s is kept, but does not answer: %(why)s.")
        toast(request, words % names, level="error")
    else:
        ready = _("The engine %(name)s answers and is ready.") % names
        toast(request, f"{ready} {seen.over_commitment}".strip())
    return go(request, compute_page(request, compute))


def _refuse_taken(compute: Compute, wanted: EngineSpec, current: EngineSpec | None) -> None:
    names = {spec.name.lower() for spec in engine_specs(compute)}
    if current is None and wanted.name.lower() in names:
        raise UserError(
            _("Compute “%(compute)s” has an engine “%(name)s” already. Choose another name.")
            % {"compute": compute.name, "name": wanted.name},
            target="name",
        )


def _initial(spec: EngineSpec) -> dict[str, Any]:
    memory = spec.most_memory_bytes
    return {
        "url": spec.url,
        "cert_path": spec.cert_path,
        "tls_verify": spec.tls_verify,
        "most_cores": spec.most_cores,
        "most_memory_gib": round(memory / GIB, 3) if memory else None,
        "is_schedulable": spec.is_schedulable,
    }


def _code(
    request: StudioRequest, form: EngineForm, compute: Compute, current: EngineSpec | None
) -> Forms:
    """What stands in the form, right or not."""
    values = Typed(form)
    engine = as_code.Engine(
        compute=compute.name,
        name=current.name if current else values.text("name") or "my-engine",
        url=values.text("url") or "ssh://user@host",
        cert_path=values.text("cert_path"),
        tls_verify=bool(values["tls_verify"]),
        most_cores=values["most_cores"] or 0.0,
        most_memory_gib=values["most_memory_gib"] or 0.0,
        is_schedulable=bool(values["is_schedulable"]),
    )
    return as_code.write(place_of(request), engine, is_new=current is None)


def _shares(engine: SurveyedEngine) -> tuple[float, float]:
    """Percent of cores and memory that are taken."""
    survey = engine.survey
    cores = 100 * survey.taken_cores / engine.cores if engine.cores else 0.0
    memory = 100 * survey.taken_memory_bytes / engine.memory_bytes if engine.memory_bytes else 0.0
    return min(cores, 100.0), min(memory, 100.0)


def _is_operator(user: User) -> bool:
    return access.reaches_all(user)


def _find(request: StudioRequest, name: str) -> Compute:
    found = find_or_404(request, name)
    if found.is_cluster:
        raise Http404(f"Compute '{found.name}' is a cluster, which has no engines.")
    return found


def _engine(compute: Compute, name: str) -> EngineSpec:
    try:
        return computes.find_engine(compute, name)
    except NotFound as error:
        raise Http404(error.message) from error
