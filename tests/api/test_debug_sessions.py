"""Debug sessions over REST; who may is in `test_access`."""

from __future__ import annotations

from deployments.models import DebugSession
from tests.api.conftest import Api
from tests.factories import Cast, make_deployment, make_online_endpoint

SESSION = "onlineEndpoints/churn/deployments/blue/debugSession"


def test_a_session_is_started_told_and_stopped(alice: Api, cast: Cast) -> None:
    deployment = make_deployment(make_online_endpoint(cast.workspace, "churn"))
    assert alice.get(SESSION).status == 404
    begun = alice.put(SESSION, {})
    assert (begun.status, begun.json["state"], begun.json["createdBy"]) == (
        202,
        "Starting",
        "alice",
    )
    assert begun.json["deploymentHeader"] == "blue.debug"
    assert "launch" not in begun.json
    DebugSession.objects.update(
        state="Running", debug_host="127.0.0.1", debug_port=41000, address="unix:/x.sock"
    )
    told = alice.get(SESSION).json
    assert "5678:127.0.0.1:41000" in told["tunnel"]
    assert told["launch"]["connect"] == {"host": "127.0.0.1", "port": 5678}
    (mapping,) = told["launch"]["pathMappings"]
    assert mapping["remoteRoot"].endswith("/code")
    for minutes in (0, 481):
        assert alice.put(SESSION, {"minutes": minutes}).error["target"] == "minutes"
    for _ in range(2):
        assert alice.delete(SESSION).status == 204
    assert alice.get(SESSION).json["state"] == "Stopping"
    assert DebugSession.objects.due().count() == 1
    assert deployment.instances.count() == 1
