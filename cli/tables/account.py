"""Signing in and what commands mean without being told: `login`, `account`, `configure`, `config`, `extension`."""

from __future__ import annotations

from cli.table import Command, argument, positional, required, switch
from cli.tables import arguments as a

GROUPS = {
    "account": "The portals you are signed in to.",
    "config": "Settings of these commands.",
    "extension": "Extensions of az: 'ml' is built in.",
}
COLUMNS = {
    "Name": "name",
    "Url": "url",
    "Subscription": "id",
    "Workspace": "workspace",
    "IsDefault": "isDefault",
}
PROFILE = argument("profile", help="This profile, not the one in use.")
LOCAL_CONFIG = switch("local", help="The file in this folder: .portico/config.")
# How scripts sign in to Azure: taken, so that they go on with the profile in use.
AS_WITH_AZ = (
    switch("service_principal", help="As with az: keeps the profile in use."),
    switch("identity", "--identity", "-i", help="As with az: keeps the profile in use."),
    switch("use_device_code", help="As with az: keeps the profile in use."),
    switch("allow_no_subscriptions", help="Ignored."),
    argument("username", "--username", "-u", help="Ignored."),
    argument("password", "--password", "-p", help="Ignored."),
    argument("tenant", "--tenant", "-t", help="Ignored."),
)

COMMANDS = (
    Command(
        "login",
        "Sign in to a portal: its address, its authority, your access token.",
        "cli.account#login",
        (
            argument(
                "url", help="Address of the studio over TLS, such as https://localhost:8443."
            ),
            argument(
                "token",
                help="Access token; '-' reads it from the input, PORTICO_TOKEN holds it for CI.",
            ),
            argument(
                "fingerprint",
                help="SHA-256 fingerprint of the portal's authority, to be sure without being asked.",
            ),
            argument("ca_file", help="PEM file of the authority to trust.", metavar="PATH"),
            argument(
                "name", "--name", "-n", help="Name of the profile; host and port if not given."
            ),
            switch("yes", "--yes", "-y", help="Trust the authority that is found."),
            *AS_WITH_AZ,
        ),
        columns=COLUMNS,
        examples=(
            "On this machine: portico login --url https://localhost:8443",
            "In CI: portico login --url https://portal:8443 --fingerprint AB:CD:… --token -",
        ),
    ),
    Command(
        "logout",
        "Forget the address and the token of a profile.",
        "cli.account#logout",
        (
            argument(
                "name",
                "--name",
                "-n",
                "--username",
                help="The profile; the one in use if not given.",
            ),
            switch("all_profiles", "--all", help="All of them."),
        ),
    ),
    Command(
        "account show", "Show the profile in use.", "cli.account#show", (PROFILE,), columns=COLUMNS
    ),
    Command("account list", "List the profiles.", "cli.account#list_all", columns=COLUMNS),
    Command(
        "account set",
        "Use another profile, or another subscription.",
        "cli.account#use",
        (
            required(
                argument(
                    "subscription",
                    "--subscription",
                    "--name",
                    "-n",
                    "-s",
                    help="Name of a profile, or id of a subscription.",
                )
            ),
        ),
    ),
    Command(
        "account get-access-token",
        "Print the access token, for scripts that call the REST API themselves.",
        "cli.account#access_token",
        (
            argument("resource", help="Taken, and ignored: one token serves all."),
            argument("scope", help="Taken, and ignored."),
            argument("resource_type", help="Taken, and ignored."),
            argument("tenant", "--tenant", "-t", help="Taken, and ignored."),
            argument("subscription", "--subscription", "-s", help="Told back."),
            PROFILE,
        ),
    ),
    Command(
        "configure",
        "Remember a workspace and a resource group: --defaults group=… workspace=…",
        "cli.settings#configure",
        (
            argument(
                "defaults",
                "--defaults",
                "-d",
                help="name=value …; name= takes one away, '' all.",
                nargs="*",
            ),
            switch("list_defaults", "--list-defaults", "-l", help="Show what is remembered."),
            argument(
                "scope",
                help="This folder alone, or everywhere.",
                choices=["global", "local"],
                default="global",
            ),
        ),
        examples=("As in az: portico configure --defaults group=portico workspace=main",),
    ),
    Command(
        "config set",
        "Set values: section.name=value …",
        "cli.settings#config_set",
        (positional("pairs", help="section.name=value", nargs="+"), LOCAL_CONFIG),
    ),
    Command(
        "config get",
        "Show values.",
        "cli.settings#config_get",
        (positional("name", help="section.name or section", nargs="?"), LOCAL_CONFIG),
    ),
    Command(
        "config unset",
        "Take values away.",
        "cli.settings#config_unset",
        (positional("names", help="section.name", nargs="+"), LOCAL_CONFIG),
    ),
    Command(
        "extension add",
        "Nothing to do: the ml commands are built in.",
        "cli.extension#add",
        (
            a.name("extension"),
            argument("version", help="Ignored."),
            switch("upgrade", "--upgrade", help="Ignored."),
            switch("yes", "--yes", "-y", help="Ignored."),
        ),
    ),
    Command("extension update", "Nothing to do.", "cli.extension#add", (a.name("extension"),)),
    Command("extension remove", "Nothing to do.", "cli.extension#add", (a.name("extension"),)),
    Command("extension list", "List what is built in.", "cli.extension#list_all"),
    Command("extension show", "Show one.", "cli.extension#show", (a.name_required("extension"),)),
)
