"""Registering models, environments and data. Pure."""

from __future__ import annotations

from typing import Any

import yaml

from portal.studio.as_code.forms import Forms
from portal.studio.as_code.place import Place
from portal.studio.as_code.values import Data, Environment, Local, Model, Packages
from portal.studio.as_code.writing import (
    Entity,
    Program,
    Step,
    command,
    local_path,
    request,
    rest,
    script,
    segment,
    upload,
    without_empty,
    write_file,
    write_files,
    yaml_text,
)


def register_model(place: Place, model: Model) -> Forms:
    values = {
        "name": model.name,
        "version": model.version,
        "type": model.type,
        "path": local_path(model.files),
        "description": model.description,
    }
    program = Program(place)
    program.do("models.create_or_update", as_model(model))
    return Forms(
        yaml={"model.yml": yaml_text("model", values)},
        cli=script(*write_files(model.files), model_step(place, model)),
        python=program.text,
        rest=rest(place, *model_requests(place, model)),
    )


def register_environment(place: Place, environment: Environment) -> Forms:
    packages = environment.packages
    values = {
        "name": environment.name,
        "version": environment.version,
        "image": packages.image,
        "conda_file": packages.conda,
        "description": environment.description,
    }
    conda = write_file("conda.yaml", conda_text(packages)) if packages.conda else []
    program = Program(place)
    program.do("environments.create_or_update", Entity("Environment", without_empty(values)))
    version = environment.version or environment.next_version
    body = environment_body(packages, description=environment.description)
    path = f"environments/{segment(environment.name)}/versions/{segment(version)}"
    return Forms(
        yaml={"environment.yml": yaml_text("environment", values)},
        cli=script(
            *conda,
            command(
                "environment create",
                place,
                name=environment.name,
                version=environment.version,
                image=packages.image,
                conda_file="conda.yaml" if packages.conda else "",
                description=environment.description,
            ),
        ),
        python=program.text,
        rest=rest(place, request("PUT", path, body)),
    )


def register_data(place: Place, data: Data) -> Forms:
    source = data.source
    values = {
        "name": data.name,
        "version": data.version,
        "type": data.type,
        "path": local_path(source) if isinstance(source, Local) else source,
        "description": data.description,
    }
    program = Program(place)
    fields = {**values, "path": source.path if isinstance(source, Local) else source}
    program.do("data.create_or_update", Entity("Data", without_empty(fields)))
    return Forms(
        yaml={"data.yml": yaml_text("data", values)},
        cli=script(
            command(
                "data create",
                place,
                name=data.name,
                version=data.version,
                type=data.type,
                path=str(values["path"]),
                description=data.description,
            )
        ),
        python=program.text,
        rest=rest(place, *_data_requests(place, data)),
    )


def archive(place: Place, kind: str, name: str, *, is_back: bool) -> Forms:
    """Put a whole name away, or back; `kind` is `model`, `environment`, `data` or `component`."""
    verb = "restore" if is_back else "archive"
    collection = kind if kind == "data" else f"{kind}s"
    program = Program(place)
    program.do(f"{collection}.{verb}", name)
    body = {"properties": {"isArchived": not is_back}}
    return Forms(
        yaml={},
        cli=script(command(f"{kind} {verb}", place, name=name)),
        python=program.text,
        rest=rest(place, request("PATCH", f"{collection}/{segment(name)}", body)),
    )


def as_model(model: Model) -> Entity:
    fields = {
        "name": model.name,
        "version": model.version,
        "type": model.type,
        "path": model.files.path,
        "description": model.description,
    }
    return Entity("Model", without_empty(fields))


def model_step(place: Place, model: Model) -> Step:
    return command(
        "model create",
        place,
        name=model.name,
        version=model.version,
        type=model.type,
        path=local_path(model.files),
        description=model.description,
    )


def model_requests(place: Place, model: Model, *, is_anonymous: bool = False) -> list[Step]:
    facts = {
        "description": model.description,
        "modelType": model.type,
        "modelUri": f"{place.files_uri}/{model.files.path}",
        "isAnonymous": is_anonymous or None,
    }
    version = model.version or model.next_version
    path = f"models/{segment(model.name)}/versions/{segment(version)}"
    body = {"properties": without_empty(facts)}
    return [*upload(place, model.files), request("PUT", path, body)]


def environment_body(
    packages: Packages,
    *,
    description: str = "",
    is_anonymous: bool = False,
    context_uri: str = "",
) -> dict[str, Any]:
    facts = {
        "description": description,
        "image": "" if context_uri else packages.image,
        "build": {"contextUri": context_uri} if context_uri else None,
        "inferenceConfig": {
            name.replace("_route", "Route"): dict(route) for name, route in packages.routes.items()
        },
        "condaFile": conda_text(packages) if packages.conda else "",
        "isAnonymous": is_anonymous or None,
    }
    return {"properties": without_empty(facts)}


def conda_text(packages: Packages) -> str:
    text: str = yaml.safe_dump(packages.conda, sort_keys=False, allow_unicode=True)
    return text


def _data_requests(place: Place, data: Data) -> list[Step]:
    source = data.source
    slash = "/" if isinstance(source, Local) and source.is_folder else ""
    facts = {
        "description": data.description,
        "dataType": data.type,
        "dataUri": f"{place.files_uri}/{source.path}{slash}"
        if isinstance(source, Local)
        else source,
    }
    version = data.version or data.next_version
    path = f"data/{segment(data.name)}/versions/{segment(version)}"
    files = upload(place, source) if isinstance(source, Local) else []
    return [*files, request("PUT", path, {"properties": without_empty(facts)})]
