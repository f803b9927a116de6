"""Endpoints that serve model repositories: they take the Open Inference Protocol in place of `/score`."""

from __future__ import annotations

import shlex
from urllib.parse import urlsplit

from deployments import triton
from deployments.models import OnlineDeployment
from endpoints.models import OnlineEndpoint
from workspaces.errors import UserError


def model_to_ask(endpoint: OnlineEndpoint) -> str:
    """A model of the repository that every deployment serves; empty where some take `/score`. One query."""
    rows = OnlineDeployment.objects.filter(endpoint=endpoint).select_related(
        "revision__model_version__model"
    )
    revisions = [row.revision for row in rows if row.revision is not None]
    if not revisions or not all(
        triton.is_repository(one.model_version, has_code=one.code_version_id is not None)
        for one in revisions
    ):
        return ""
    model = revisions[0].model_version
    assert model is not None
    try:
        return triton.repository_of(model).models[0]
    except UserError:
        return ""


def client_code(uri: str, model: str, *, key: str, ca_path: str) -> list[dict[str, str]]:
    """Programs that ask `model` behind the scoring address `uri`, for `<c-code>`."""
    base = uri.removesuffix("/score")
    return [
        {"language": "python", "label": "Python", "text": _python(base, model, key, ca_path)},
        {"language": "curl", "label": "cURL", "text": _curl(base, model, key, ca_path)},
    ]


def _python(base: str, model: str, key: str, ca_path: str) -> str:
    address = urlsplit(base)
    trust = f"cafile={ca_path!r}" if ca_path else ""
    is_tls = address.scheme == "https"
    imports = "import ssl\n\n" if is_tls else ""
    options = (
        f", ssl=True, ssl_context_factory=lambda: ssl.create_default_context({trust})"
        if is_tls
        else ""
    )
    return f"""\
# pip install tritonclient[http]
{imports}import numpy as np
import tritonclient.http as triton
from tritonclient.utils import triton_to_np_dtype

model = {model!r}
client = triton.InferenceServerClient({address.netloc + address.path!r}{options})


def headers():
    # The client adds to them: each call gets its own.
    return {{"Authorization": "Bearer {key}"}}


inputs = []
for told in client.get_model_metadata(model, headers=headers())["inputs"]:
    # Zeros, and one where any size will do: put your own data here.
    shape = [1 if size < 0 else size for size in told["shape"]]
    data = np.zeros(shape, dtype=triton_to_np_dtype(told["datatype"]))
    if told["datatype"] == "BYTES":
        data[...] = b""
    given = triton.InferInput(told["name"], shape, told["datatype"])
    given.set_data_from_numpy(data)
    inputs.append(given)

answer = client.infer(model, inputs, headers=headers())
for output in answer.get_response()["outputs"]:
    print(output["name"], answer.as_numpy(output["name"]))
"""


def _curl(base: str, model: str, key: str, ca_path: str) -> str:
    trust = f" \\\n  --cacert {shlex.quote(ca_path)}" if ca_path else ""
    header = shlex.quote(f"Authorization: Bearer {key}")
    url = f"{base}/v2/models/{model}"
    return (
        f"# Inputs and outputs, then an inference: put your own tensor here.\n"
        f"curl {shlex.quote(url)}{trust} \\\n  --header {header}\n"
        f"curl {shlex.quote(url + '/infer')}{trust} \\\n  --header {header} \\\n"
        '  --data \'{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [0, 0]}]}\'\n'
    )
