"""“View as code” of datastores, archiving, computes, members, principals, tokens and quotas: run as pasted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.house import House
from tests.studio.test_as_code_real import CODE, LANGUAGES, Studio, signed_in, studio_in

pytestmark = [pytest.mark.real, pytest.mark.sdk]

ACCESS = "/w/main/access"
ASSIGNMENTS = "providers/Microsoft.Authorization/roleAssignments"
NEW_USER = "from workspaces.models import User; User.objects.create(username='dora')"


@pytest.fixture(scope="module")
def client(house: House) -> Iterator[httpx.Client]:
    with signed_in(house) as client:
        yield client


@pytest.fixture
def studio(house: House, client: httpx.Client, tmp_path: Path) -> Studio:
    return studio_in(house, client, tmp_path)


def fold_of(studio: Studio, path: str, beginning: str, text: str) -> str:
    """The fold of that beginning whose code holds the text."""
    page = studio.client.get(path).text
    found = {fold for fold, _, code in CODE.findall(page) if text in code}
    return next(str(fold) for fold in found if fold.startswith(beginning))


def role_of(studio: Studio, name: str) -> str | None:
    rows = studio.ask(ASSIGNMENTS)["value"]
    facts = [row["properties"] for row in rows]
    roles = {row["principalName"]: row["roleDefinitionName"] for row in facts}
    return roles.get(name)


def test_datastores_in_every_language(studio: Studio) -> None:
    page = "/w/main/datastores"
    for language in LANGUAGES:
        name = f"box_{language}"
        fields = {
            "type": "azure_blob",
            "account_name": "account",
            "container": "raw",
            "credentials": "sas",
            "description": "It's",
        }
        code = studio.code(f"{page}/register", name=name, secret="hidden", **fields)
        assert "hidden" not in "".join(code.values())
        studio.run(language, code, "portico ml datastore create -f datastore.yml")
        told = studio.ask(f"datastores/{name}")["properties"]
        assert (told["containerName"], told["description"]) == ("raw", "It's")
        assert told["credentials"]["credentialsType"] == "Sas"
        delete = studio.code(page, fold_of(studio, page, "delete-code-", name))
        if language == "cli":
            studio.run("rest", studio.code(page, "default-code"))
            assert studio.ask(f"datastores/{name}")["properties"]["isDefault"] is True
            studio.run("rest", studio.code(page, "default-code"))
            assert studio.ask("datastores/workspaceblobstore")["properties"]["isDefault"] is True
        studio.run("rest" if language == "yaml" else language, delete)
        studio.until_gone(f"datastores/{name}")


def test_an_asset_is_archived_and_comes_back(studio: Studio) -> None:
    code = studio.code("/w/main/models/register", name="code-archive", paths="weights/w.txt")
    studio.run("rest", code)
    archived = False
    for language in ("cli", "python", "rest", "rest"):
        studio.run(language, studio.code("/w/main/models/code-archive", "archive-code"))
        archived = not archived
        listed = [row["name"] for row in studio.ask("models")["value"]]
        assert ("code-archive" not in listed) is archived, language


def test_members_come_change_and_go(studio: Studio) -> None:
    assert studio.house.run("shell", "-c", NEW_USER).returncode == 0
    path = f"{ACCESS}/add"
    code = posted(studio, path, user="dora", role="Reader")
    studio.run("rest", code)
    assert role_of(studio, "dora") == "Reader"
    change = studio.code(ACCESS, "change-code")
    studio.run("rest", {"rest": change["rest"].replace('"Reader"', '"Contributor"')})
    assert role_of(studio, "dora") == "Contributor"
    [row] = [
        row
        for row in studio.ask(ASSIGNMENTS)["value"]
        if row["properties"]["principalName"] == "dora"
    ]
    studio.run("rest", studio.code(ACCESS, fold_of(studio, ACCESS, "remove-code-", row["name"])))
    assert role_of(studio, "dora") is None


def test_a_service_principal_from_its_first_secret_to_its_end(studio: Studio) -> None:
    page = f"{ACCESS}/principals"
    made = answer(studio, posted(studio, f"{page}/add", name="code-ci", days="30"))
    assert made["secret"]["secretText"].startswith("ptcs_")
    client = made["clientId"]
    place = f"{page}/{client}"
    second = answer(studio, posted(studio, f"{place}/secrets", name="second", days="90"))
    keys = {
        "keys": [{"kty": "RSA", "n": "sXchDaQebHnPiGvyDOAT4saGEUetSyo9MKLOoWFsueri", "e": "AQAB"}]
    }
    wish = {"name": "k8s", "issuer": "https://issuer", "subject": "me", "keys": json.dumps(keys)}
    code = posted(studio, f"{place}/federated", **wish)
    assert '"issuer": "https://issuer"' in code["rest"]
    secret = fold_of(studio, page, "remove-secret-code-", f"/secrets/{second['id']}?")
    studio.run("rest", studio.code(page, secret))
    left = studio.ask(f"servicePrincipals/{client}/secrets")["value"]
    assert [row["id"] for row in left] == [made["secret"]["id"]]
    studio.run("rest", studio.code(page, fold_of(studio, page, "delete-code-", client)))
    studio.until_gone(f"servicePrincipals/{client}")


def test_quotas_are_set_by_the_command_of_the_page(studio: Studio) -> None:
    code = studio.code("/w/main/compute", "quota-code")
    text = code["rest"].replace('"limit": 20\n', '"limit": 19\n')
    told = answer(studio, {"rest": text})["value"]
    assert {row["status"] for row in told} == {"Success"}
    limits = {row["id"].rpartition("/")[2]: row["limit"] for row in told}
    assert limits["deploymentsPerEndpoint"] == 19
    answer(studio, code)


def test_computes_in_every_language(studio: Studio) -> None:
    for language in LANGUAGES:
        name = f"code-{language}"
        fields = {"kind": "amlcompute", "instance_type": "Standard_F2s_v2", "max_instances": "3"}
        code = studio.code("/w/main/compute/create", name=name, description="It's", **fields)
        studio.run(language, code, "portico ml compute create -f compute.yml")
        code = studio.code(f"/w/main/compute/{name}/edit", max_instances="5", tags="team=risk")
        studio.run(language, code, "portico ml compute create -f compute.yml")
        told = studio.ask(f"computes/{name}")
        assert told["tags"] == {"team": "risk"}
        assert told["properties"]["properties"]["scaleSettings"]["maxNodeCount"] == 5
        page = studio.client.get("/w/main/compute").text
        folds = {fold for fold, _, text in CODE.findall(page) if name in text}
        code = studio.code("/w/main/compute", folds.pop())
        studio.run("rest" if language == "yaml" else language, code)
        studio.until_gone(f"computes/{name}")


def test_a_token_is_made_by_the_command_of_the_account_page(studio: Studio) -> None:
    account = "/w/main/account"
    code = studio.code(account, "", posts_to=f"{account}/tokens", name="code", days="7")
    made = answer(studio, code)
    assert made["token"].startswith("ptc_")
    fold = fold_of(studio, account, "revoke-code-", f"/api/tokens/{made['id']}")
    studio.run("rest", studio.code(account, fold))
    page = studio.client.get(account).text
    assert f"revoke-code-{made['id']}" not in page


def posted(studio: Studio, path: str, **fields: str) -> dict[str, str]:
    """Language → text of a form that is filled in, of an address that only takes POST."""
    page = ACCESS if path.startswith(f"{ACCESS}/add") else f"{ACCESS}/principals"
    return studio.code(page, "", posts_to=path, **fields)


def answer(studio: Studio, code: dict[str, str]) -> Any:
    return json.loads(studio.run("rest", code))
