"""Making, changing and deleting computes, the clusters on which batch jobs run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django import forms
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from deployments.computes import change_compute, delete_compute
from portal.pages import go, is_swap, toast
from portal.studio.as_code import computes
from portal.studio.as_code.forms import Forms
from portal.studio.code_part import asks_for_code, code_part, place_of, samples_of
from portal.studio.code_values import Typed, compute_values
from portal.studio.deployment_form import DEFAULT_TYPE, PairsField
from portal.studio.problems import Problem, problems_of, told
from portal.studio.scope import StudioRequest, studio_page
from portal.templatetags.studio import cores, size
from workspaces import access
from workspaces.computes import ComputeSpec, create_compute, find_compute, spec_of
from workspaces.errors import Conflict, UserError
from workspaces.models import Compute, InstanceType

SHOWN_AS = {
    "type": "kind",
    "size": "instance_type",
    "idle_time_before_scale_down": "idle_seconds",
    "computes": "",
    "engines": "",
}
OF_CLUSTERS = ("tier", "min_instances", "max_instances", "idle_seconds")


class ComputeForm(forms.Form):
    """Kind, size and tier are asked of a new compute only: they never change."""

    name = forms.CharField(
        label=gettext_lazy("Name"),
        max_length=24,
        help_text=gettext_lazy("2 to 24 letters, digits and dashes, beginning with a letter."),
    )
    kind = forms.ChoiceField(
        label=gettext_lazy("Kind"),
        choices=[
            (Compute.Kind.AMLCOMPUTE, gettext_lazy("Cluster")),
            (
                Compute.Kind.KUBERNETES,
                gettext_lazy("Attached compute (Kubernetes in Azure's words)"),
            ),
        ],
    )
    runtime = forms.ChoiceField(
        label=gettext_lazy("Deployments run as"),
        required=False,
        choices=[
            ("", gettext_lazy("The installation decides")),
            (Compute.Runtime.DOCKER, gettext_lazy("Containers")),
            (Compute.Runtime.PROCESS, gettext_lazy("Processes of the portal's machine")),
        ],
        help_text=gettext_lazy(
            "With engines of its own, as containers on them. A change is for the next revision of each deployment."
        ),
    )
    instance_type = forms.CharField(
        label=gettext_lazy("Size of a node"),
        required=False,
        initial=DEFAULT_TYPE,
        widget=forms.Select,
    )
    tier = forms.ChoiceField(
        label=gettext_lazy("Tier"),
        required=False,
        choices=[
            (Compute.Tier.DEDICATED, gettext_lazy("Dedicated")),
            (Compute.Tier.LOW_PRIORITY, gettext_lazy("Low priority")),
        ],
    )
    min_instances = forms.IntegerField(
        label=gettext_lazy("Fewest nodes"), required=False, initial=0, min_value=0
    )
    max_instances = forms.IntegerField(
        label=gettext_lazy("Most nodes"), required=False, initial=1, min_value=1
    )
    idle_seconds = forms.IntegerField(
        label=gettext_lazy("Idle time before a node is given back"),
        required=False,
        initial=120,
        min_value=0,
    )
    namespace = forms.CharField(
        label=gettext_lazy("Namespace"), required=False, initial="default", max_length=63
    )
    resource_id = forms.CharField(
        label=gettext_lazy("Resource id of the cluster"), required=False, max_length=500
    )
    description = forms.CharField(
        label=gettext_lazy("Description"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 2}),
    )
    tags = PairsField(
        label=gettext_lazy("Tags"),
        required=False,
        help_text=gettext_lazy("One on each line, as name=value."),
    )

    def __init__(
        self,
        *args: Any,
        current: ComputeSpec | None = None,
        is_operator: bool = False,
        **kwargs: Any,
    ) -> None:
        """Only an operator says where deployments run."""
        super().__init__(*args, **kwargs)
        if not is_operator or (current and current.kind == Compute.Kind.AMLCOMPUTE):
            del self.fields["runtime"]
        rows = InstanceType.objects.filter(is_enabled=True)
        words = {
            row.name: f"{row.name}: {cores(row.cores)}, {size(row.memory_bytes)}" for row in rows
        }
        self.fields["instance_type"].widget.choices = list(words.items())
        if current is None:
            return
        fixed = ["name", "kind", "instance_type", "tier", "namespace", "resource_id"]
        unused = OF_CLUSTERS if current.kind == Compute.Kind.KUBERNETES else ()
        for name in {*fixed, *unused}:
            del self.fields[name]

    def spec(self, base: ComputeSpec) -> ComputeSpec:
        """`base` with what a valid form says; an empty number or text is as in `base`."""
        given = {
            name: value for name, value in self.cleaned_data.items() if value not in (None, "")
        }
        kept = {name: getattr(base, name) for name in base.__dataclass_fields__}
        texts = {"description": self.cleaned_data["description"].replace("\r\n", "\n")}
        if "runtime" in self.fields:
            is_cluster = given.get("kind", base.kind) == Compute.Kind.AMLCOMPUTE
            texts["runtime"] = "" if is_cluster else self.cleaned_data["runtime"]
        return ComputeSpec(**{**kept, **given, **texts})


@studio_page("computes/write")
def create(request: StudioRequest) -> HttpResponse:
    """The form of a new compute."""
    form = ComputeForm(request.POST or None, is_operator=access.reaches_all(request.user))
    if asks_for_code(request):
        return code_part(request, _code(request, form))
    if request.method != "POST":
        return _page(request, form)
    problems = problems_of(form)
    if not problems:
        try:
            made = create_compute(
                request.workspace, form.spec(ComputeSpec(name="")), by=request.user
            )
        except UserError as error:
            problems = told(error, shown_as=SHOWN_AS)
        else:
            toast(request, _("Compute %(name)s is ready.") % {"name": made.name})
            return go(request, _page_of(request, made))
    return _page(request, form, problems)


@studio_page("computes/write")
def edit(request: StudioRequest, compute: str) -> HttpResponse:
    """Number of nodes, idle time, description and tags."""
    found = find_or_404(request, compute)
    current = spec_of(found)
    initial = {name: getattr(current, name) for name in current.__dataclass_fields__}
    is_operator = access.reaches_all(request.user)
    form = ComputeForm(
        request.POST or None, initial=initial, current=current, is_operator=is_operator
    )
    if asks_for_code(request):
        return code_part(request, _code(request, form, current))
    if request.method != "POST":
        return _page(request, form, compute=found)
    problems = problems_of(form)
    if not problems:
        try:
            change_compute(found, form.spec(current), by=request.user)
        except UserError as error:
            problems = told(error, shown_as=SHOWN_AS)
        else:
            toast(request, _("Compute %(name)s was changed.") % {"name": found.name})
            return go(request, _page_of(request, found))
    return _page(request, form, problems, compute=found)


@studio_page("computes/delete")
@require_POST
def delete(request: StudioRequest, compute: str) -> HttpResponse:
    """Gone at once, unless online deployments are on it; batch deployments keep its name."""
    found = find_or_404(request, compute)
    try:
        delete_compute(found, by=request.user)
    except Conflict as error:
        toast(request, error.message, level="error")
        return go(request, compute_url(request))
    toast(request, _("Compute %(name)s was deleted.") % {"name": found.name})
    return go(request, compute_url(request))


def compute_url(request: StudioRequest) -> str:
    return reverse("studio:compute", kwargs={"workspace": request.workspace.name})


def _page_of(request: StudioRequest, compute: Compute) -> str:
    """That of an attached compute; clusters stand in the list alone."""
    if compute.is_cluster:
        return compute_url(request)
    return reverse("studio:compute_detail", args=[request.workspace.name, compute.name])


def _page(
    request: StudioRequest,
    form: ComputeForm,
    problems: list[Problem] | None = None,
    *,
    compute: Compute | None = None,
) -> HttpResponse:
    status = 422 if problems else 200
    if problems and is_swap(request):
        return render(request, "parts/_problems.html", {"problems": problems}, status=status)
    context = {
        "form": form,
        "problems": problems or [],
        "compute": compute,
        "workspace": request.workspace,
        "code_samples": samples_of(
            request, _code(request, form, spec_of(compute) if compute else None)
        ),
        "code_url": request.path,
    }
    return render(request, "workspaces/compute_form.html", context, status=status)


def _code(request: StudioRequest, form: ComputeForm, current: ComputeSpec | None = None) -> Forms:
    """What stands in the form, right or not."""
    values = Typed(form)
    base = current or ComputeSpec(name=values.text("name") or "my-compute")
    facts = {
        name: values[name]
        for name in values
        if name in base.__dataclass_fields__ and values[name] not in (None, "")
    }
    return computes.write(place_of(request), compute_values(replace(base, **facts)))


def find_or_404(request: StudioRequest, name: str) -> Compute:
    found = find_compute(request.workspace, name)
    if found is None:
        raise Http404(f"There is no compute '{name}' in workspace '{request.workspace.name}'.")
    return found
