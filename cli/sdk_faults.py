"""Errors of the SDK as a terminal and CI should see them: the service's sentence, the failure card, an exit code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from logging import Logger
from typing import Any

import yaml
from azure.ai.ml.exceptions import MlException
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)
from marshmallow import ValidationError

from cli.faults import FAILED, NOT_FOUND, USAGE
from cli.names import refusal

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
PHASE, EVIDENCE, FIX = "Phase", "Evidence", "Fix"
# The SDK says so of names of endpoints alone; all other fields it checks in other ways.
PATTERN_TEXT = "String does not match expected pattern."


def tell(error: Exception, logger: Logger) -> int | None:
    """Log what happened; the exit code. None for an error that is not of the SDK's, thus ours."""
    logger.debug("the cause", exc_info=error)
    if isinstance(error, ServiceRequestError | ServiceResponseError):
        logger.error("%s", unreachable_text(error))
        return FAILED
    if isinstance(error, HttpResponseError):
        logger.error("%s", response_text(error))
        return NOT_FOUND if isinstance(error, ResourceNotFoundError) else FAILED
    if isinstance(error, MlException | ValidationError):
        logger.error("%s", fields_text(str(error), getattr(error.__cause__, "data", None)))
        return USAGE
    if isinstance(error, yaml.YAMLError):
        logger.error("The file is not valid YAML: %s", error)
        return USAGE
    if isinstance(error, AzureError | OSError):
        logger.error("%s", error)
        return FAILED
    return None


def response_text(error: HttpResponseError) -> str:
    """`(Code) Message`, and beneath it what the answer tells besides."""
    told = envelope(error)
    if not told:
        return str(error).strip()
    text = error_text(told)
    if isinstance(error, ClientAuthenticationError):
        text += "\n'portico login' takes a new token."
    return text


def error_text(told: Mapping[str, Any]) -> str:
    """An error of the service with the phase, the evidence and what helps, each on lines of its own."""
    return "\n".join([f"({told.get('code')}) {told.get('message')}", *_details(told)])


def unreachable_text(error: Exception) -> str:
    said = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in said:
        return (
            "The portal's certificate is not signed by the authority that was pinned at sign-in. If the portal was "
            "set up anew, compare fingerprints and sign in again with 'portico login'."
        )
    place = re.search(r"host='([^']+)', port=(\d+)", said)
    where = f" at {place[1]}:{place[2]}" if place else ""
    return f"The portal{where} cannot be reached. Is it running? 'portico account show' has its address."


def fields_text(said: str, given: object = None) -> str:
    """The fields that are wrong, one a line, without the SDK's advice on editors; `given` is what it has read."""
    plain = COLOURS.sub("", said).strip()
    schema = re.search(r"Validation for \w+ failed:\s*(\{.*\n\})", plain, re.DOTALL)
    if schema:
        try:
            lines = "\n".join(_wrong_fields(json.loads(schema[1]), ""))
        except ValueError:
            return plain
        name = given.get("name") if isinstance(given, Mapping) else None
        return lines.replace(f"name: {PATTERN_TEXT}", f"name: {refusal('endpoint', name)}")
    found = re.search(r"Details:\s*(.*?)\s*Resolutions:", plain, re.DOTALL)
    text = found[1] if found else plain
    return "\n".join(line for line in text.splitlines() if line.strip())


def _wrong_fields(told: Any, place: str) -> Iterator[str]:
    """`a.b: what is wrong` for each, however deep."""
    if isinstance(told, Mapping):
        for key, inner in told.items():
            yield from _wrong_fields(inner, f"{place}.{key}" if place else str(key))
    elif isinstance(told, list):
        for inner in told:
            yield from _wrong_fields(inner, place)
    else:
        yield f"{place}: {told}"


def envelope(error: HttpResponseError) -> Mapping[str, Any]:
    """The `error` object of the answer, be it to the request or to a poll of its operation."""
    try:
        body = error.response.text() if error.response is not None else ""
        told = json.loads(body)["error"]
        return told if isinstance(told, dict) else {}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _details(told: Mapping[str, Any]) -> Iterator[str]:
    details = [one for one in told.get("details") or [] if isinstance(one, dict)]
    by_code: dict[str, list[str]] = {}
    for one in details:
        by_code.setdefault(str(one.get("code")), []).append(str(one.get("message")))
    if PHASE in by_code:
        yield f"  Phase: {by_code.pop(PHASE)[0]}"
    for text in by_code.pop(EVIDENCE, []):
        yield "  Evidence:"
        yield from (f"    | {line}" for line in text.splitlines())
    fixes = by_code.pop(FIX, [])
    if fixes:
        yield "  What helps:"
        yield from (f"    - {fix}" for fix in fixes)
    for code, messages in by_code.items():
        yield from (f"  ({code}) {message}" for message in messages)
