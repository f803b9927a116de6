"""The unmodified azure-identity and `MLClient`, pointed at a running portal by variables alone."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.house import House
from tests.sdk.conftest import NEWEST
from tests.workspaces.test_federation import ISSUER, KEYS, SUBJECT, assertion

pytestmark = pytest.mark.sdk

DRIVE = Path(__file__).with_name("drive_credentials.py")
WORKSPACE = (
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/portico/providers/"
    "Microsoft.MachineLearningServices/workspaces/main"
)


@pytest.mark.parametrize("sdk", [NEWEST], indirect=True)
def test_every_credential_signs_in_by_variables_alone(
    house: House, sdk: Path, tmp_path: Path
) -> None:
    made = ask(house, "POST", f"{WORKSPACE}/servicePrincipals", {"name": "sdk-ci"})
    trust = {"name": "cluster", "issuer": ISSUER, "subject": SUBJECT, "keys": KEYS}
    place = f"{WORKSPACE}/servicePrincipals/{made['clientId']}/federatedCredentials"
    ask(house, "POST", place, trust)
    token_file = tmp_path / "token"
    token_file.write_text(assertion())
    given = {
        "token_file": str(token_file),
        "personal_token": house.admin_token,
        "client_id": made["clientId"],
        "secret": made["secret"]["secretText"],
    }
    metadata = f"{house.tls_url}/metadata/endpoints?api-version=2019-05-01"
    try:
        done = subprocess.run(
            [sdk, "-W", "ignore", DRIVE, house.tls_url],
            input=json.dumps(given),
            env={
                **os.environ,
                "REQUESTS_CA_BUNDLE": str(house.ca_path),
                "ARM_CLOUD_METADATA_URL": metadata,
            },
            capture_output=True,
            text=True,
            timeout=300,
        )
    finally:
        ask(house, "DELETE", f"{WORKSPACE}/servicePrincipals/{made['clientId']}")
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]
    assert done.stdout.strip().splitlines()[-1] == "all done"


def ask(house: House, method: str, path: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        house.tls_url + path, data, headers=house.authorization, method=method
    )
    with urllib.request.urlopen(request, timeout=30, context=house.tls) as answer:
        return json.loads(answer.read() or b"null")
