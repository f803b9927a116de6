"""Signing in and out, and which portal, subscription and workspace commands mean."""

from __future__ import annotations

import getpass
import os
import sys
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from knack.prompting import NoTTYException, prompt_y_n

from cli import profiles, trust
from cli.faults import ClientFault, UsageFault
from cli.profiles import Profile
from cli.trust import Address

URL_VARIABLE = "PORTICO_URL"
TOKEN_VARIABLE = "PORTICO_TOKEN"
TOKEN_SECONDS = 3600
# The portal looks the token up on each call; tools want to hear a time after which to ask again.


def login(
    url: str | None = None,
    token: str | None = None,
    fingerprint: str | None = None,
    ca_file: str | None = None,
    name: str | None = None,
    yes: bool = False,
    **as_with_az: Any,
) -> Any:
    """Keep address and token as a profile, once the portal has shown who it is; the token is sent only then.

    The flags by which scripts sign in to Azure change nothing for who is signed in.
    """
    wanted = url or os.environ.get(URL_VARIABLE)
    if not wanted and any(as_with_az.values()) and profiles.read().all:
        print(f"Signed in to {profiles.current().url}, as before.", file=sys.stderr)
        return list_all()
    if not wanted:
        raise UsageFault(
            "Which portal? 'portico login --url https://<host>:8443 --token …'. A portal of your own needs no "
            "other account: there is no sign-in in a browser here."
        )
    address = Address.parse(wanted)
    pem = _authority(address, fingerprint, ca_file, is_sure=yes)
    secret = token_of(token)
    pinned = trust.fingerprint(pem) if pem else ""
    profile = Profile(name or address.name, address.url, secret, pinned)
    if profile.ca_path is not None:
        profiles.write_private(profile.ca_path, pem)
    profile = _with_workspace(profile, address)
    profiles.write(profiles.read().with_profile(profile))
    return [present(one) for one in profiles.read().all]


def logout(name: str | None = None, all_profiles: bool = False) -> None:
    """Forget tokens; they stay valid until they are revoked in the studio or end by themselves."""
    known = profiles.read()
    every = [profile.name for profile in known.all]
    gone = every if all_profiles else [profiles.current(name or "").name]
    profiles.write(known.without(gone))


def show(profile: str | None = None) -> Any:
    return present(profiles.current(profile or ""))


def list_all() -> Any:
    return [present(profile) for profile in profiles.read().all]


def use(subscription: str) -> None:
    """By the name of a profile, or the id of a subscription that one of them may use."""
    known = profiles.read()
    found = known.find(subscription)
    if found is None:
        owners = [one for one in known.all if subscription.lower() in one.subscriptions]
        if not owners:
            names = ", ".join(
                f"'{one.name}' ({', '.join(one.subscriptions)})" for one in known.all
            )
            raise ClientFault(
                f"The subscription of '{subscription}' doesn't exist in any profile. "
                + (f"There is {names}." if names else "Sign in first: 'portico login'.")
            )
        # The one in use first, when several may use it.
        owner = next((one for one in owners if one.name == known.current), owners[0])
        found = replace(owner, subscription=subscription.lower())
    profiles.write(known.with_profile(found))


def access_token(
    resource: str | None = None,
    scope: str | None = None,
    resource_type: str | None = None,
    tenant: str | None = None,
    subscription: str | None = None,
    profile: str | None = None,
) -> Any:
    """The token for scripts that call the REST API by themselves; one for all resources."""
    found = profiles.current(profile or "")
    ends = int(time.time()) + TOKEN_SECONDS
    return {
        "accessToken": found.token,
        "expiresOn": datetime.fromtimestamp(ends).strftime("%Y-%m-%d %H:%M:%S.000000"),
        "expires_on": ends,
        "subscription": subscription or found.subscription,
        "tenant": tenant or "portico",
        "tokenType": "Bearer",
    }


def present(profile: Profile) -> dict[str, Any]:
    """In the shape of `az account show`, with ours added."""
    return {
        "environmentName": "Portico",
        "id": profile.subscription,
        "isDefault": profile.name == profiles.read().current,
        "name": profile.name,
        "state": "Enabled",
        "tenantId": "portico",
        "url": profile.url,
        "caFingerprint": profile.fingerprint or None,
        "resourceGroup": profile.resource_group or None,
        "workspace": profile.workspace or None,
    }


def _authority(
    address: Address, expected: str | None, ca_file: str | None, *, is_sure: bool
) -> str:
    """The authority to pin, as PEM; empty when the system trusts the portal already."""
    if ca_file:
        try:
            pem = Path(ca_file).read_text()
        except (OSError, ValueError) as error:
            raise UsageFault(f"--ca-file {ca_file} cannot be read: {error}.") from error
        trust.check_authority(address, pem)
        return pem
    if not expected and trust.system_trusts(address):
        return ""
    pem = trust.fetch_authority(address)
    trust.check_authority(address, pem)
    found = trust.fingerprint(pem)
    if expected:
        if not trust.is_same_fingerprint(found, expected):
            raise ClientFault(
                f"The authority of {address.url} has the fingerprint {found}, not the one you gave. "
                "This may be another portal, or somebody in between: nothing was sent to it."
            )
        return pem
    print(
        f"{address.url} shows a certificate of the portal's own authority, SHA-256 fingerprint:\n"
        f"  {found}\n"
        "'portico ca --fingerprint' on the machine that runs the portal prints it, too.",
        file=sys.stderr,
    )
    if not is_sure and not _confirmed():
        raise ClientFault("Not signed in: nothing was sent to it.")
    return pem


def _confirmed() -> bool:
    try:
        return bool(prompt_y_n("Are they the same, so that this portal is to be trusted?"))
    except NoTTYException:
        raise UsageFault(
            "Nobody is there to compare the fingerprints. Name it with --fingerprint, or --yes to trust what "
            "was found."
        ) from None


def token_of(given: str | None) -> str:
    """From the flag, `-` for the first line of the input, the environment, or a prompt."""
    found = given or os.environ.get(TOKEN_VARIABLE, "")
    if given == "-":
        found = sys.stdin.readline()
    elif not found and sys.stdin.isatty():
        found = getpass.getpass("Access token (studio: Account, Access tokens): ")
    found = found.strip()
    if not found:
        raise UsageFault(
            "An access token is missing: --token, '--token -' to read it from the input, or PORTICO_TOKEN. "
            "The studio makes one under Account, Access tokens."
        )
    if not found.isascii() or any(character.isspace() for character in found):
        raise UsageFault(
            "The access token has blanks or letters that no token has. Copy it whole."
        )
    return found


def _with_workspace(profile: Profile, address: Address) -> Profile:
    """The same with its subscriptions, and with the workspace that commands mean if there is but one."""
    context = trust.context_for(profile.ca_path)
    told = trust.get_json(address, "/subscriptions?api-version=2022-12-01", context, profile.token)
    found = [str(one["subscriptionId"]) for one in told["value"]]
    if not found:
        raise ClientFault(
            f"The token is good, but its user is in no workspace of {address.url}. An owner adds members in the "
            "studio."
        )
    path = f"/subscriptions/{found[0]}/providers/Microsoft.MachineLearningServices/workspaces"
    rows = trust.get_json(address, path, context, profile.token)["value"]
    group = name = ""
    if len(rows) == 1:
        name = rows[0]["name"]
        group = rows[0]["id"].split("/")[4]
    return replace(
        profile,
        subscription=found[0],
        subscriptions=tuple(found),
        resource_group=group,
        workspace=name,
    )
