"""Where attached computes run deployments: `portico` among their properties, and engines at our own addresses."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from api.arm import ArmView, Json
from api.bodies import Body
from deployments.computes import drain_engine, find_engine, put_engine, remove_engine
from deployments.engine_surveys import SurveyedEngine, check_engine, survey_compute
from workspaces import access
from workspaces.compute_engines import EngineSpec, engine_specs, kept_addresses
from workspaces.computes import ComputeSpec, find_compute
from workspaces.errors import NotFound
from workspaces.models import Compute, User, Workspace

PLACE = "portico"
RUNTIMES = {
    "": Compute.Runtime.AS_INSTALLATION,
    **{name: name for name in Compute.Runtime.values if name},
}


class EngineList(ArmView):
    actions = {"GET": "computes/read"}

    def get(self, request: Request, compute: str) -> Response:
        """All of them, with what each says of itself, asked at most ten seconds ago."""
        found = survey_compute(get_compute(self.workspace, compute))
        return Response({"value": [present(each, to=self.caller) for each in found]})


class EngineDetail(ArmView):
    actions = {
        "GET": "computes/read",
        "PUT": "computes/write",
        "PATCH": "computes/write",
        "DELETE": "computes/delete",
    }

    def get(self, request: Request, compute: str, engine: str) -> Response:
        return self._answer(get_compute(self.workspace, compute), engine)

    def put(self, request: Request, compute: str, engine: str) -> Response:
        """The whole wish; but an address that is not mentioned stays as it is."""
        found = get_compute(self.workspace, compute)
        known = engine_specs(found)
        is_new = engine.lower() not in {spec.name.lower() for spec in known}
        (wanted,) = kept_addresses([_parsed(self.body(), EngineSpec(engine))], known)
        put_engine(found, wanted, by=self.caller)
        return self._answer(found, engine, status=201 if is_new else 200)

    def patch(self, request: Request, compute: str, engine: str) -> Response:
        """What the body mentions; 0 for a limit takes it away."""
        found = get_compute(self.workspace, compute)
        wanted = _parsed(self.body(), find_engine(found, engine))
        put_engine(found, wanted, by=self.caller)
        return self._answer(found, engine)

    def delete(self, request: Request, compute: str, engine: str) -> Response:
        found = get_compute(self.workspace, compute)
        if engine.lower() not in {spec.name.lower() for spec in engine_specs(found)}:
            return Response(status=204)
        remove_engine(found, engine, by=self.caller)
        return Response(status=200)

    def _answer(self, compute: Compute, engine: str, *, status: int = 200) -> Response:
        fresh = get_compute(self.workspace, compute.name)
        name = find_engine(fresh, engine).name
        found = next(each for each in survey_compute(fresh) if each.spec.name == name)
        return Response(present(found, to=self.caller), status=status)


class CheckEngine(ArmView):
    actions = {"POST": "computes/write"}

    def post(self, request: Request, compute: str, engine: str) -> Response:
        """Ask it now."""
        found = check_engine(get_compute(self.workspace, compute), engine)
        return Response(present(found, to=self.caller))


class DrainEngine(ArmView):
    actions = {"POST": "computes/write"}

    def post(self, request: Request, compute: str, engine: str) -> Response:
        found = get_compute(self.workspace, compute)
        count = drain_engine(found, engine, by=self.caller)
        return Response({"name": find_engine(found, engine).name, "instances": count}, status=202)


def get_compute(workspace: Workspace, name: str) -> Compute:
    found = find_compute(workspace, name)
    if found is None:
        raise NotFound(
            f"There is no compute '{name}' in workspace '{workspace.name}'.", target="compute"
        )
    return found


def parse_place(properties: Body, base: ComputeSpec) -> dict[str, Any]:
    """`runtime` and `engines` of a compute; what is not mentioned is as in `base`."""
    place = properties.section(PLACE)
    engines = base.engines
    if place.has("engines"):
        engines = kept_addresses(
            [parse(each, EngineSpec(each.text("name"))) for each in place.records("engines")],
            base.engines,
        )
    return {"runtime": place.choice("runtime", RUNTIMES, base.runtime), "engines": engines}


def present_place(compute: Compute, *, to: User | None) -> Json:
    """Empty where it is nothing special: a client of Azure's hands all that it gets back."""
    place: Json = {}
    if compute.runtime:
        place["runtime"] = compute.runtime
    engines = engine_specs(compute)
    if engines:
        place["engines"] = [present_spec(spec, to=to) for spec in engines]
    return {PLACE: place} if place else {}


def parse(body: Body, base: EngineSpec) -> EngineSpec:
    return EngineSpec(
        name=base.name,
        url=body.text("url", base.url, longest=255).strip(),
        cert_path=body.text("certPath", base.cert_path, longest=500),
        tls_verify=body.flag("tlsVerify", base.tls_verify),
        most_cores=body.amount("maxCores", base.most_cores or 0.0) or None,
        most_memory_bytes=int(body.amount("maxMemoryBytes", base.most_memory_bytes or 0)) or None,
        is_schedulable=body.flag("isSchedulable", base.is_schedulable),
    )


def _parsed(values: Json, base: EngineSpec) -> EngineSpec:
    body = Body(values)
    wanted = parse(body, base)
    body.finish()
    return wanted


def present_spec(spec: EngineSpec, *, to: User | None) -> Json:
    """What was said of an engine; its address only to administrators."""
    told: Json = {"name": spec.name, "isSchedulable": spec.is_schedulable}
    if spec.most_cores is not None:
        told["maxCores"] = spec.most_cores
    if spec.most_memory_bytes is not None:
        told["maxMemoryBytes"] = spec.most_memory_bytes
    if to is not None and access.reaches_all(to):
        told["url"] = spec.url
        if spec.cert_path:
            told |= {"certPath": spec.cert_path, "tlsVerify": spec.tls_verify}
    return told


def present(engine: SurveyedEngine, *, to: User | None) -> Json:
    """The same with what the engine says of itself."""
    spec, survey = engine.spec, engine.survey
    told = present_spec(spec, to=to)
    if survey.away:
        # It quotes the address.
        sees_all = to is not None and access.reaches_all(to)
        return {**told, "answers": False, "reason": survey.away if sees_all else ""}
    if engine.over_commitment:
        told["warning"] = engine.over_commitment
    return {
        **told,
        "answers": True,
        "reason": "",
        "version": survey.version,
        "cores": engine.cores,
        "memoryBytes": engine.memory_bytes,
        "takenCores": survey.taken_cores,
        "takenMemoryBytes": survey.taken_memory_bytes,
        "containers": survey.container_count,
    }
