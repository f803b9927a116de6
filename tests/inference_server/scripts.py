"""The scoring scripts that the contract's checks deploy."""

ECHO = """
def init():
    pass

def run(data):
    return data
"""

# `do` in the body says what to do: one server answers for many checks.
PLAIN = """
import json, logging, os, sys, threading, time

def init():
    print("init was here")

def run(data):
    what = json.loads(data)
    do = what["do"]
    if do == "return":
        return what["value"]
    if do == "none":
        return None
    if do == "set":
        return {1, 2}
    if do == "bytes":
        return b"x"
    if do == "nan":
        return float("nan")
    if do == "object":
        return object()
    if do == "raise":
        raise ValueError("a secret reason")
    if do == "timeout-error":
        raise TimeoutError("of their own")
    if do == "sleep":
        time.sleep(what["seconds"])
        return "slept"
    if do == "thread":
        return threading.current_thread() is threading.main_thread()
    if do == "environment":
        return {name: os.environ.get(name) for name in what["names"]}
    if do == "path":
        return sys.path
    if do == "print":
        print("one", "two", sep="-")
        print("to stderr", file=sys.stderr)
        return "printed"
    if do == "log":
        logging.getLogger("azmlinfsrv").info("a line of the script")
        return "logged"
    if do == "not-utf8-answer":
        return "\\ud800"
    if do == "pid":
        return os.getpid()
"""

HEADERS = """
def init():
    pass

def run(data, request_headers, spare="unfilled"):
    return {"data": data, "headers": request_headers, "spare": spare, "type": type(request_headers).__name__}
"""

SCHEMA = """
from inference_schema.schema_decorators import input_schema, output_schema
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType

def init():
    pass

@input_schema("a", StandardPythonParameterType(1))
@input_schema("b", StandardPythonParameterType("text"))
@output_schema(StandardPythonParameterType({"sum": 1.5}))
def run(a, b="given", request_headers=None, plain=7):
    return {"a": a, "b": b, "plain": plain, "has_headers": "Host" in (request_headers or {})}
"""

NUMPY = """
import numpy as np
from inference_schema.schema_decorators import input_schema, output_schema
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType

def init():
    pass

@input_schema("data", NumpyParameterType(np.array([[1.0, 2.0]])))
@output_schema(NumpyParameterType(np.array([1.0])))
def run(data):
    if data.shape[0] == 0:
        return data
    return data.sum(axis=1).tolist()
"""

RAW = """
from azureml_inference_server_http.api.aml_request import AMLRequest, rawhttp
from azureml_inference_server_http.api.aml_response import AMLResponse
from flask import Response, jsonify, request as current
import json, os

def init():
    pass

@rawhttp
def run(request):
    do = request.args.get("do")
    if do == "request":
        return {
            "method": request.method,
            "path": request.path,
            "args": request.args.to_dict(flat=False),
            "form": request.form.to_dict(flat=False),
            "files": {name: file.read().decode() for name, file in request.files.items()},
            "type": request.content_type,
            "length": request.content_length,
            "json": request.get_json(silent=True),
            "x-own": request.headers.get("X-Own"),
            "current": current.method,
        }
    if do == "body":
        return request.get_data(as_text=True)
    if do == "size":
        return len(request.get_data())
    if do == "response":
        return AMLResponse(b"\\x00\\xff", 201, {"Content-Type": "image/png", "X-Many": "a, b"})
    if do == "status":
        return AMLResponse("no", int(request.args["status"]))
    if do == "headers":
        return AMLResponse("two", 200, json.loads(request.get_data()))
    if do == "none":
        return AMLResponse(None, 202)
    if do == "json":
        return AMLResponse({"a": [1, 2]}, 200, json_str=True)
    if do == "failed":
        return AMLResponse("x", 200, run_function_failed=True)
    if do == "id":
        return AMLResponse("x", 200, {"x-request-id": "mine"})
    if do == "jsonify":
        return jsonify(a=1)
    if do == "stream":
        def parts():
            for number in range(3):
                yield f"part {number}\\n"
        return Response(parts(), mimetype="text/plain")
    if do == "endless":
        def parts():
            try:
                while True:
                    yield "x" * 65536
            finally:
                open(os.environ["ENDED"], "w").close()
        return Response(parts(), mimetype="text/plain")
    if do == "broken":
        def parts():
            yield "begun\\n"
            raise ValueError("half-way")
        return Response(parts(), mimetype="text/plain")
    if do == "raise":
        raise ValueError("no")
    if do == "abort":
        from flask import abort
        abort(404)
    return {"method": request.method}
"""

OLD_NAMES = """
from azureml.contrib.services.aml_request import AMLRequest, rawhttp
from azureml.contrib.services.aml_response import AMLResponse

def init():
    pass

@rawhttp
def run(request):
    return AMLResponse(request.method, 200)
"""

RESPONSE = """
from azureml_inference_server_http.api.aml_response import AMLResponse

def init():
    pass

def run(data):
    return AMLResponse(data.upper(), 203, {"X-Own": "yes"})
"""

DRIVER = """
import types

def init():
    driver_module.value = "from the outer init"

def run(data):
    return "outer"

driver_module = types.ModuleType("inner")
driver_module.__file__ = __file__
driver_module.run = lambda data: driver_module.value
"""

BROKEN = {
    "import": ("import a_package_that_is_not_there", "UserScriptImportError"),
    "syntax": ("def init(:", "UserScriptImportError"),
    "raises": ("raise RuntimeError('at import')", "UserScriptImportError"),
    "exits": ("import sys; sys.exit(0)", "UserScriptImportError"),
    "no-init": ("def run(data): pass", "UserScriptFunctionNotFound"),
    "no-run": ("def init(): pass", "UserScriptFunctionNotFound"),
    "no-argument": ("def init(): pass\ndef run(): pass", "UserScriptFunctionNotFound"),
    "star": ("def init(): pass\ndef run(*data): pass", "UserScriptFunctionNotFound"),
    "only-headers": (
        "def init(): pass\ndef run(request_headers): pass",
        "UserScriptFunctionNotFound",
    ),
    "init-raises": ("def init(): open('model.pkl')\ndef run(data): pass", "UserScriptInitFailed"),
    "init-exits": ("def init(): exit(0)\ndef run(data): pass", "UserScriptInitFailed"),
    "both": (
        "from azureml_inference_server_http.api.aml_request import rawhttp\n"
        + SCHEMA.replace('@input_schema("a"', '@rawhttp\n@input_schema("a"'),
        "UserScriptFunctionNotFound",
    ),
}
