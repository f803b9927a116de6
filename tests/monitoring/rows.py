"""Rows as the gateway writes them."""

from __future__ import annotations

from typing import Any

import orjson


def row(**changes: Any) -> bytes:
    """One line of the access log; name only what matters."""
    fields = {
        "ts": "2026-03-04T05:06:07.891Z",
        "method": "POST",
        "path": "/iris/score",
        "protocol": "HTTP/1.1",
        "endpoint": "iris",
        "route": "iris/blue/split",
        "cluster": "iris__blue",
        "host": "/run/portico/i/1.sock",
        "code": 200,
        "details": "via_upstream",
        "flags": None,
        "model_code": None,
        "req_bytes": 10,
        "resp_bytes": 20,
        "ua": "python-requests/2.32",
        "request_id": "e8a0a7a4-6b0f-4a57-8d0a-0d4b6d8a2f11",
        "client_request_id": None,
        "attempts": 1,
        "total_us": 1500,
        "req_us": 100,
        "queue_us": 200,
        "upstream_us": 1000,
        "resp_us": 300,
    }
    return orjson.dumps(fields | changes) + b"\n"
