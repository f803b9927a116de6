"""What the page of a deployment shows: timeline, failure with its fixes, instances, revisions with their plan."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from deployments import changes
from deployments.image_surveys import noted_image
from deployments.models import OnlineDeployment, Operation, Phase, Revision
from deployments.phases import expected_seconds
from deployments.plans import Plan, plan_update
from monitoring.logs import CONSOLE, tail
from portal.studio.as_code.place import Place
from portal.studio.code_values import restore_samples
from portal.studio.fixes import fix_links
from workspaces import storage
from workspaces.errors import NotFound
from workspaces.models import ModelVersion

LOG_LINES = 400
LEAST_EXPECTED_SECONDS = 0.95
"""Below that nobody waits, and a build that was cached says nothing of one that is not."""
CONSOLE_LINES = 200
MOST_FILES = 300
MOST_REVISIONS = 50
CONSOLE_PHASE = Phase.Name.LOAD_MODEL


@dataclass(frozen=True)
class Step:
    """One line of the timeline; `state` is `Pending` for what is still to come."""

    name: str
    state: str = "Pending"
    expected_seconds: float | None = None
    duration: timedelta | None = None
    log: str = ""
    is_cut: bool = False


@dataclass(frozen=True)
class ModelFile:
    path: str
    size_bytes: int


@dataclass(frozen=True)
class RevisionRow:
    """A revision, what became of it, and what restoring it would do; no plan for the one that is wanted already."""

    revision: Revision
    plan: Plan | None
    code_samples: list[dict[str, str]]
    """Restoring it as code, where there is a plan."""
    words: str
    outcome: str
    """`serving`, `served`, `failed`, `canceled`, `rolling out`; empty when nothing is known of it."""
    cause: str
    """Why it failed, in one sentence."""


def overview(deployment: OnlineDeployment) -> dict[str, Any]:
    """For the tab "Overview"."""
    operation = deployment.current_operation()
    phases = list(operation.phases.all()) if operation else []
    failure = deployment.failure
    spec = changes.spec_of(deployment) if deployment.revision else None
    steps = _steps(deployment, operation, phases)
    serving = deployment.serving_revision
    return {
        "spec": spec,
        "built_image": noted_image(deployment.revision.image) if deployment.revision else None,
        "operation": operation,
        "steps": steps,
        "failure": failure,
        "fails_in_step": any(step.state == "Failed" for step in steps),
        "fixes": fix_links(deployment, failure),
        "rolls_back_to": serving
        if failure and serving and serving.pk != deployment.revision_id
        else None,
        "model_files": model_files(spec.model) if spec and spec.model else [],
        "wants_files": failure.get("code") in ("UserScriptInitFailed", "ModelLoadFailed"),
    }


def revision_rows(place: Place, deployment: OnlineDeployment) -> list[RevisionRow]:
    """The newest revisions, each with the plan of restoring it."""
    rows = deployment.revisions.select_related(
        "model_version__model",
        "code_version__code",
        "environment_version__environment",
        "instance_type",
        "compute",
        "created_by",
    )[:MOST_REVISIONS]
    current = changes.spec_of(deployment) if deployment.revision else None
    newest: dict[int | None, Operation] = {}
    served = set()
    for operation in deployment.operations.filter(revision_number__isnull=False):
        newest.setdefault(operation.revision_number, operation)
        if operation.state == Operation.State.SUCCEEDED:
            served.add(operation.revision_number)
    found = []
    for row in rows:
        plan = None
        code: list[dict[str, str]] = []
        if current is not None and row.pk != deployment.revision_id:
            former = changes.spec_of(deployment, row)
            plan = plan_update(current, former)
            code = restore_samples(place, deployment.endpoint.name, former, current)
        words = plan_words(plan, deployment) if plan else ""
        last = newest.get(row.number)
        if row.pk == deployment.serving_revision_id:
            outcome = "serving"
        elif row.number in served:
            outcome = "served"
        else:
            outcome = OUTCOMES[Operation.State(last.state)] if last else ""
        cause = str(last.failure.get("cause", "")) if last and outcome == "failed" else ""
        found.append(RevisionRow(row, plan, code, words, outcome, cause))
    return found


OUTCOMES = {
    Operation.State.RUNNING: "rolling out",
    Operation.State.SUCCEEDED: "served",
    Operation.State.FAILED: "failed",
    Operation.State.CANCELED: "canceled",
}


def with_parts(deployment: OnlineDeployment) -> OnlineDeployment:
    """The same deployment, with what every tab shows read in few queries."""
    found: OnlineDeployment = (
        OnlineDeployment.objects.select_related(
            "revision__model_version__model",
            "revision__code_version__code",
            "revision__environment_version__environment",
            "revision__instance_type",
            "serving_revision",
        )
        .prefetch_related("instances")
        .get(pk=deployment.pk)
    )
    found.endpoint = deployment.endpoint
    return found


def model_files(model: ModelVersion) -> list[ModelFile]:
    """What lies below AZUREML_MODEL_DIR."""
    try:
        entries = storage.entries(model.content_hash)
    except NotFound:
        return []
    prefix = f"{model.leaf}/" if model.is_folder else ""
    return [ModelFile(f"{prefix}{entry.path}", entry.size_bytes) for entry in entries[:MOST_FILES]]


FIELD_WORDS = {
    "app_insights_enabled": "diagnostics",
    "code": "script",
    "egress_public_network_access": "network access",
    "environment_variables": "environment variables",
    "instance_count": "instance count",
    "instance_type": "instance type",
    "liveness_probe": "liveness probe",
    "max_concurrent_requests_per_instance": "max concurrent requests",
    "max_queue_wait_ms": "max queue wait",
    "readiness_probe": "readiness probe",
    "request_timeout_ms": "request timeout",
    "scoring_script": "script file",
    "startup_probe": "startup probe",
}


def plan_words(plan: Plan, deployment: OnlineDeployment, *, is_built: bool | None = None) -> str:
    """ "Updates 2 fields: model, script. Rolling restart, no downtime." """
    if not plan.changes:
        if deployment.failure:
            return _("Nothing changes; it is tried again as it is.")
        return _("Nothing changes.")
    names = [FIELD_WORDS.get(change.field, change.field) for change in plan.changes]
    sentences = [
        ngettext("Updates %(n)s field: %(names)s.", "Updates %(n)s fields: %(names)s.", len(names))
        % {"n": len(names), "names": ", ".join(names)}
    ]
    if plan.restarts and deployment.serving_revision_id:
        sentences.append(_("Rolling restart, no downtime."))
    elif plan.restarts:
        sentences.append(_("Nothing serves yet, so nothing is interrupted."))
    elif plan.scales:
        sentences.append(_("Running instances go on."))
    else:
        sentences.append(_("No restart."))
    if plan.rebuilds and is_built is not None:
        sentences.append(
            _("The environment is built already.")
            if is_built
            else _("The environment will be built.")
        )
    return " ".join(sentences)


def _steps(
    deployment: OnlineDeployment, operation: Operation | None, phases: list[Phase]
) -> list[Step]:
    """The phases that were entered, then, while it goes on, those still to come."""
    steps = [_step(deployment, phase) for phase in phases]
    if operation is None or operation.state != Operation.State.RUNNING:
        return steps
    if operation.kind == Operation.Kind.DELETE:
        return steps
    entered = {phase.name for phase in phases}
    optional = {Phase.Name.REMOVE}
    if deployment.instance_count == 1:
        # One instance that answers is all of them: nothing is left to probe.
        optional.add(Phase.Name.PROBE)
    coming = [name for name in Phase.Name if name not in entered and name not in optional]
    return [
        *steps,
        *(
            Step(name, expected_seconds=_telling(expected_seconds(operation, name)))
            for name in coming
        ),
    ]


def _step(deployment: OnlineDeployment, phase: Phase) -> Step:
    lines = phase.log.splitlines()
    if not lines and phase.name == CONSOLE_PHASE:
        lines = _console(deployment, phase)
    return Step(
        phase.name,
        phase.state,
        _telling(phase.expected_seconds),
        phase.duration,
        "\n".join(lines[-LOG_LINES:]),
        len(lines) > LOG_LINES,
    )


def _telling(seconds: float | None) -> float | None:
    return seconds if seconds is not None and seconds >= LEAST_EXPECTED_SECONDS else None


def _console(deployment: OnlineDeployment, phase: Phase) -> list[str]:
    """What the script printed while this phase ran."""
    # The first lines are written between the start of the process and the next look at it.
    began = phase.started_at - timedelta(seconds=2)
    ended = phase.ended_at + timedelta(seconds=2) if phase.ended_at else None
    page = tail(deployment, lines=CONSOLE_LINES, source=CONSOLE)
    return [
        line.text
        for line in page.lines
        if line.time >= began and (ended is None or line.time <= ended)
    ]
