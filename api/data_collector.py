"""The data collector of a deployment, between Azure's words and ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.arm import Json, word_of
from api.bodies import Body

MODES: dict[str, str] = {"Enabled": "enabled", "Disabled": "disabled"}
RATES: dict[str, str] = {word: word.lower() for word in ("Minute", "Hour", "Day", "Month", "Year")}


def parse_collector(properties: Body, default: Mapping[str, Any]) -> dict[str, Any]:
    """Empty when the body says nothing of it and `default` is empty."""
    if not properties.has("dataCollector"):
        return dict(default)
    body = properties.section("dataCollector")
    collections = body.section("collections")
    wanted: dict[str, Any] = {
        "collections": {
            name: _parse_collection(collections.section(name)) for name in collections.values
        },
        "rolling_rate": body.choice("rollingRate", RATES, "hour"),
    }
    headers = body.section("requestLogging").texts_list("captureHeaders")
    if headers:
        wanted["request_logging"] = {"capture_headers": headers}
    return wanted


def present_collector(collector: Mapping[str, Any]) -> Json:
    told: Json = {
        "collections": {
            name: _present_collection(item)
            for name, item in collector.get("collections", {}).items()
        },
        "rollingRate": word_of(RATES, collector.get("rolling_rate", "hour")),
    }
    headers = collector.get("request_logging", {}).get("capture_headers", [])
    if headers:
        told["requestLogging"] = {"captureHeaders": headers}
    return told


def _parse_collection(body: Body) -> dict[str, Any]:
    wanted: dict[str, Any] = {
        "enabled": body.choice("dataCollectionMode", MODES, "disabled") == "enabled",
        "sampling_rate": body.share("samplingRate", 1.0),
    }
    data = body.text("dataId", longest=2000)
    if data:
        wanted["data"] = data
    return wanted


def _present_collection(collection: Mapping[str, Any]) -> Json:
    told: Json = {
        "dataCollectionMode": "Enabled" if collection.get("enabled") else "Disabled",
        "samplingRate": collection.get("sampling_rate", 1.0),
    }
    if collection.get("data"):
        told["dataId"] = collection["data"]
    return told
