"""Models and environments: lists, pages, registering, archiving."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.db.models import Count, Max, Q
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from deployments.computes import runs_containers
from deployments.containers import needs_engine
from deployments.environments.curated import curated_environments
from deployments.environments.specification import hash_of, translate
from deployments.installation import environments
from deployments.models import OnlineDeployment
from deployments.staging import environment_spec_of
from portal.pages import go, is_swap, render_page, toast
from portal.studio import intake
from portal.studio.as_code import assets
from portal.studio.as_code import environment_builds as build_code
from portal.studio.code_assets import archive_part, typed_environment, typed_model
from portal.studio.code_part import asks_for_code, code_part, place_of, samples_of
from portal.studio.deployment_form import TEMPLATE_CONDA
from portal.studio.scope import StudioRequest, studio_page
from workspaces import access, catalog, storage
from workspaces.errors import NotFound, UserError
from workspaces.models import DataVersion, Environment, EnvironmentVersion, Model, ModelVersion
from workspaces.storage import FileEntry

PAGE = 50
LISTED_FILES = 500


TYPE_WORDS = {
    ModelVersion.Type.CUSTOM: gettext_lazy("Custom: a file or folder of any kind"),
    ModelVersion.Type.MLFLOW: gettext_lazy("MLflow: a folder with a file MLmodel"),
    ModelVersion.Type.TRITON: gettext_lazy("Triton: a model repository"),
}


@studio_page("models/read")
def model_list(request: StudioRequest) -> HttpResponse:
    """`?q=` searches names, `?archived=1` shows what was put away."""
    extra = {
        "list_title": _("Models"),
        "register_url": reverse("studio:register_model", args=[request.workspace.name]),
        "may_deploy": access.role_may(request.role, "onlineEndpoints/write"),
    }
    return asset_list(request, Model, "workspaces/_model_table.html", "models", extra)


@studio_page("environments/read")
def environment_list(request: StudioRequest) -> HttpResponse:
    """The workspace's own environments, and the curated ones."""
    query = request.GET.get("q", "").strip().lower()
    curated = [row for row in curated_environments() if query in row.name.lower()]
    extra = {
        "list_title": _("Environments"),
        "register_url": reverse("studio:register_environment", args=[request.workspace.name]),
        "curated": curated,
        "may_deploy": access.role_may(request.role, "onlineEndpoints/write"),
    }
    table = "workspaces/_environment_table.html"
    return asset_list(request, Environment, table, "environments", extra)


@studio_page("models/versions/read")
def model(request: StudioRequest, name: str) -> HttpResponse:
    """One model: its versions, files, and where it is used."""
    found = find_asset(request, Model, name)
    versions = list(found.versions.select_related("created_by"))
    shown = shown_version(versions, request.GET.get("version", ""))
    if shown is not None:
        shown.model = found
    files, is_lost = files_of(shown)
    context = {
        "asset": found,
        "versions": versions,
        "version": shown,
        "files": files[:LISTED_FILES],
        "hidden_files": max(0, len(files) - LISTED_FILES),
        "is_lost": is_lost,
        "used_by": _used_by(Q(revision__model_version__model=found)),
        "may_write": access.role_may(request.role, "models/versions/write"),
        "may_deploy": access.role_may(request.role, "onlineEndpoints/write"),
        "workspace": request.workspace,
    }
    if context["may_write"]:
        context |= archive_part(request, "model", found)
    return render(request, "workspaces/model_detail.html", context)


@studio_page("environments/versions/read")
def environment(request: StudioRequest, name: str) -> HttpResponse:
    """One environment: its versions, what its packages translate to, and where it is used."""
    found = find_asset(request, Environment, name)
    versions = list(found.versions.select_related("created_by"))
    shown = shown_version(versions, request.GET.get("version", ""))
    if shown is not None:
        shown.environment = found
    context: dict[str, Any] = {
        "asset": found,
        "versions": versions,
        "version": shown,
        "used_by": _used_by(Q(revision__environment_version__environment=found)),
        "may_write": access.role_may(request.role, "environments/versions/write"),
        "may_deploy": access.role_may(request.role, "onlineEndpoints/write"),
        "workspace": request.workspace,
    }
    if shown is not None:
        context |= _known_of(shown)
        context["builds"] = list(shown.builds.select_related("created_by").defer("log")[:20])
        context["may_read_logs"] = access.role_may(
            request.role, "environments/versions/getLogs/action"
        )
        place = place_of(request)
        forms = build_code.build_environment(place, found.name, shown.version)
        context["build_samples"] = samples_of(request, forms)
    if context["may_write"]:
        context |= archive_part(request, "environment", found)
    return render(request, "workspaces/environment_detail.html", context)


def _known_of(version: EnvironmentVersion) -> dict[str, Any]:
    """What its packages are, and whether they are in place; or why that cannot be said."""
    has_packages = bool(version.conda_file or version.requirements)
    if (
        needs_engine(version)
        and not has_packages
        and runs_containers(version.environment.workspace)
    ):
        return {"brings_packages": True}
    try:
        translation = translate(environment_spec_of(version))
    except UserError as error:
        return {"problem": error.message}
    return {
        "translation": translation,
        "built": environments().find(hash_of(translation)),
        "runs_in_containers": runs_containers(version.environment.workspace),
    }


@studio_page("models/versions/write")
def register_model(request: StudioRequest) -> HttpResponse:
    """Register files as a model; a folder keeps its name as the leaf (facts 4.3)."""
    problem: UserError | None = None
    code = assets.register_model(place_of(request), typed_model(request))
    if asks_for_code(request):
        return code_part(request, code)
    if request.method == "POST":
        try:
            # Before the files are stored: they may be large.
            catalog.check_name("model", request.POST.get("name", "").strip())
            handed = intake.take(request, "files", leaf="model")
            if handed is None:
                raise UserError(_("Choose the model's file or folder."), target="files")
            registered = catalog.register_model(
                request.workspace,
                request.POST.get("name", "").strip(),
                handed.content,
                leaf=handed.leaf,
                is_folder=handed.is_folder,
                by=request.user,
                version=request.POST.get("version", "").strip(),
                type=request.POST.get("type", ModelVersion.Type.CUSTOM),
                labels=catalog.Labels(description=request.POST.get("description", "").strip()),
            )
        except UserError as error:
            problem = error
        else:
            toast(request, _("Registered %(name)s.") % {"name": registered})
            return go(request, asset_url(request, "model", registered.model.name))
    extra = {"types": TYPE_WORDS.items(), "code_samples": samples_of(request, code)}
    return form_page(request, "workspaces/model_form.html", problem, extra)


@studio_page("environments/versions/write")
def register_environment(request: StudioRequest) -> HttpResponse:
    """Register a conda file, pip requirements or an image; what the packages are is checked before."""
    problem: UserError | None = None
    typed = request.POST or _newest_text(request)
    code = assets.register_environment(place_of(request), typed_environment(request, typed))
    if asks_for_code(request):
        return code_part(request, code)
    if request.method == "POST":
        try:
            registered = _register_environment(request)
        except UserError as error:
            problem = error
        else:
            toast(request, _("Registered %(name)s.") % {"name": registered})
            return go(request, asset_url(request, "environment", registered.environment.name))
    page = "workspaces/environment_form.html"
    extra = {"typed": typed, "code_samples": samples_of(request, code)}
    return form_page(request, page, problem, extra)


@studio_page("models/versions/write")
def archive_model(request: StudioRequest, name: str) -> HttpResponse:
    return archive_or_restore(request, Model, name)


@studio_page("environments/versions/write")
def archive_environment(request: StudioRequest, name: str) -> HttpResponse:
    return archive_or_restore(request, Environment, name)


def _register_environment(request: StudioRequest) -> Any:
    facts = {
        "image": request.POST.get("image", "").strip(),
        "conda_file": request.POST.get("conda_file", "").replace("\r\n", "\n"),
        "requirements": request.POST.get("requirements", "").replace("\r\n", "\n"),
    }
    kind = request.POST.get("kind", "conda")
    wanted = {
        "conda": ("image", "conda_file"),
        "requirements": ("requirements",),
        "image": ("image",),
    }
    facts = {key: value if key in wanted.get(kind, ()) else "" for key, value in facts.items()}
    typed = "requirements" if facts["requirements"].strip() else "conda_file"
    if kind != "image" and not facts[typed].strip():
        typed = "requirements" if kind == "requirements" else "conda_file"
        raise UserError(_("Say which packages the environment has."), target=typed)
    if facts[typed]:
        try:
            translate(environment_spec_of(catalog.unsaved_environment(**facts)))
        except UserError as error:
            raise UserError(error.message, code=error.code, target=typed) from error
    return catalog.register_environment(
        request.workspace,
        request.POST.get("name", "").strip(),
        by=request.user,
        version=request.POST.get("version", "").strip(),
        image=facts["image"],
        conda_file=facts["conda_file"],
        requirements=facts["requirements"],
        labels=catalog.Labels(description=request.POST.get("description", "").strip()),
    )


def _newest_text(request: StudioRequest) -> dict[str, str]:
    """What a new version begins with: the newest of that name, else a template."""
    versions = EnvironmentVersion.objects.filter(
        environment__workspace=request.workspace, environment__name=request.GET.get("name", "")
    )
    newest = versions.first()
    if newest is None:
        return {"kind": "conda", "conda_file": TEMPLATE_CONDA}
    kind = "requirements" if newest.requirements else "conda" if newest.conda_file else "image"
    return {
        "kind": kind,
        "conda_file": newest.conda_file or TEMPLATE_CONDA,
        "requirements": newest.requirements,
        "image": newest.image,
    }


def asset_list(
    request: StudioRequest,
    asset_class: Any,
    table: str,
    action: str,
    extra: dict[str, Any],
) -> HttpResponse:
    """A page of assets by name; in `rows` each with its newest version and how many deployments use it.

    `extra` has `list_title` and, where assets are registered in the studio, `register_url`.
    """
    query = request.GET.get("q", "").strip()
    shows_archived = request.GET.get("archived") == "1"
    rows = asset_class.objects.filter(workspace=request.workspace, is_anonymous=False)
    rows = rows.filter(archived_at__isnull=not shows_archived, name__icontains=query)
    rows = rows.annotate(version_count=Count("versions"), newest_at=Max("versions__created_at"))
    paged = Paginator(rows.order_by("name"), PAGE).get_page(request.GET.get("page"))
    ids = [row.pk for row in paged]
    newest, used = _newest(asset_class, ids), _use_counts(asset_class, ids)
    context = {
        "page": paged,
        "rows": [(row, newest.get(row.pk), used.get(row.pk, 0)) for row in paged],
        "q": query,
        "shows_archived": shows_archived,
        "may_write": access.role_may(request.role, f"{action}/versions/write"),
        "workspace": request.workspace,
        "table": table,
        **extra,
    }
    return render_page(request, "workspaces/asset_list.html", table, context)


def _newest(asset_class: Any, ids: list[int]) -> dict[int, Any]:
    """The newest version of each asset, in one query."""
    version_class = asset_class._meta.get_field("versions").related_model
    kind = asset_class._meta.model_name
    rows = version_class.objects.filter(**{f"{kind}_id__in": ids})
    rows = rows.order_by(f"{kind}_id", "-created_at", "-pk").distinct(f"{kind}_id")
    return {getattr(row, f"{kind}_id"): row for row in rows}


def _use_counts(asset_class: Any, ids: list[int]) -> dict[int, int]:
    """How many deployments want a version of each asset, in one query; none of what no deployment can want."""
    kind = asset_class._meta.model_name
    if asset_class not in (Model, Environment):
        return {}
    path = f"revision__{kind}_version__{kind}"
    rows = OnlineDeployment.objects.filter(**{f"{path}__in": ids}).values_list(path)
    return dict(rows.annotate(count=Count("pk")).order_by())


def find_asset(request: StudioRequest, asset_class: Any, name: str) -> Any:
    found = asset_class.objects.filter(workspace=request.workspace, name=name).first()
    if found is None:
        raise Http404(f"There is no '{name}' in workspace '{request.workspace.name}'.")
    return found


def shown_version(versions: list[Any], wanted: str) -> Any:
    """The version that was asked for, else the newest; None when there is none."""
    named = [row for row in versions if row.version == wanted]
    return (named or versions or [None])[0]


def _used_by(condition: Q) -> list[OnlineDeployment]:
    rows = OnlineDeployment.objects.filter(condition).select_related(
        "endpoint", "revision__model_version", "revision__environment_version"
    )
    return list(rows.order_by("endpoint__name", "name")[:50])


def archive_or_restore(
    request: StudioRequest, asset_class: Any, name: str, *, page: str = ""
) -> HttpResponse:
    """Put an asset away or back, then show it again; `page` is the name of its page, where that is not its kind."""
    found = find_asset(request, asset_class, name)
    if request.method == "POST":
        verb = catalog.restore if request.POST.get("restore") else catalog.archive
        verb(found, by=request.user)
        words = _("Restored %(name)s.") if request.POST.get("restore") else _("Archived %(name)s.")
        toast(request, words % {"name": found.name})
    return go(request, asset_url(request, page or asset_class._meta.model_name, found.name))


def asset_url(request: StudioRequest, kind: str, name: str) -> str:
    return reverse(f"studio:{kind}", kwargs={"workspace": request.workspace.name, "name": name})


def files_of(version: ModelVersion | DataVersion | None) -> tuple[list[FileEntry], bool]:
    """The files of a version, and whether the store has lost them."""
    if version is None or not version.content_hash:
        return [], False
    try:
        return storage.entries(version.content_hash), False
    except NotFound:
        return [], True


def form_page(
    request: StudioRequest, page: str, problem: UserError | None, extra: dict[str, Any]
) -> HttpResponse:
    problems = [{"field": problem.target, "message": problem.message}] if problem else []
    status = 200 if problem is None else 409 if problem.status == 409 else 422
    if problems and is_swap(request):
        return render(request, "parts/_problems.html", {"problems": problems}, status=status)
    context = {
        "problems": problems,
        "typed": request.POST,
        "prefilled_name": request.GET.get("name", ""),
        "code_url": request.path,
        "workspace": request.workspace,
        **extra,
    }
    return render(request, page, context, status=status)
