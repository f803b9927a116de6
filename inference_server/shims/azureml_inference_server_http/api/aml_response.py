"""The response with which a run() chooses its own status, headers and body."""

from __future__ import annotations

import json
from typing import Any

from flask import Response


class AMLResponse(Response):
    """`json_str` encodes the message as JSON; a comma in a header value makes several headers."""

    def __init__(
        self,
        message: Any,
        status_code: int,
        response_headers: dict[str, str] | None = None,
        json_str: bool = False,
        run_function_failed: bool = False,
    ) -> None:
        headers = response_headers or {}
        if message is None or json_str:
            text = json.dumps({} if message is None else message)
            super().__init__(text, status=status_code, mimetype="application/json")
        else:
            super().__init__(message, status=status_code)
            if "Content-Type" in headers:
                self.headers.remove("Content-Type")
        self.headers["x-ms-run-function-failed"] = str(run_function_failed)
        for name, value in headers.items():
            for part in value.split(","):
                self.headers.add(name, part.strip())
