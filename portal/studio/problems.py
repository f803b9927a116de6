"""What is wrong with a form, as every form of the studio lists it: a sentence, and the field it points to."""

from __future__ import annotations

from typing import Any

from workspaces.errors import UserError, ValidationFailed

Problem = dict[str, str]
"""`field` (of the form, or empty) and `message`."""

# Field of a spec → field of the form, where the names differ.
SHOWN_AS = {
    "code_configuration": "code_source",
    "code_configuration.code": "code_source",
    "code_configuration.scoring_script": "scoring_script",
    "request_settings.request_timeout_ms": "request_timeout_ms",
    "request_settings.max_concurrent_requests_per_instance": "max_concurrent_requests_per_instance",
    "request_settings.max_queue_wait_ms": "max_queue_wait_ms",
    "environment": "environment_version",
    "environment.image": "environment_version",
    "environment.inference_config": "environment_version",
    "model": "model_version",
    "path": "code_source",
    "content": "model_source",
    "cores": "instance_count",
    "deployments": "",
    "deployments_per_endpoint": "",
    "endpoints": "",
    "state": "",
    "traffic": "",
}
MAPPINGS = ("environment_variables", "tags")
# What the endpoint's own verbs call their fields, which stand in the first step.
ENDPOINT_FIELDS = {
    "name": "endpoint_name",
    "description": "endpoint_description",
    "tags": "endpoint_tags",
    "auth_mode": "auth_mode",
    "compute": "compute",
}


def problems_of(form: Any) -> list[Problem]:
    """What the form itself refuses."""
    if form.is_valid():
        return []
    return [
        {"field": name, "message": f"{form.fields[name].label or name}: {message}"}
        for name, messages in form.errors.items()
        for message in messages
    ]


def told_of(error: UserError, form: Any) -> list[Problem]:
    """What a deployment's verb refuses; a fault in a script that was typed is mended in the editor."""
    written = form.cleaned_data.get("code_source") == "write"
    editor = {"code_configuration.scoring_script": "script"} if written else {}
    return told(error, shown_as=SHOWN_AS | editor)


def told(error: UserError, *, shown_as: dict[str, str] = SHOWN_AS) -> list[Problem]:
    """What a verb refuses, pointing at the fields of the form."""
    errors = error.errors if isinstance(error, ValidationFailed) else [error]
    return [
        {"field": field_of(item.target, shown_as=shown_as), "message": item.message}
        for item in errors
    ]


def field_of(target: str, *, shown_as: dict[str, str] = SHOWN_AS) -> str:
    """The form's field for a spec's field: `readiness_probe.period` → `readiness_probe_period`."""
    if target in shown_as:
        return shown_as[target]
    for name in MAPPINGS:
        if target.startswith(f"{name}."):
            return shown_as.get(name, name)
    return target.replace(".", "_")
