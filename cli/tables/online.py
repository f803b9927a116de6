"""`ml online-endpoint` and `ml online-deployment`."""

from __future__ import annotations

from cli.table import Command, argument, required, switch
from cli.tables import arguments as a

GROUPS = {
    "ml": "Azure Machine Learning's commands, against your own portal.",
    "ml online-endpoint": "Online endpoints: one URL, keys and traffic.",
    "ml online-deployment": "Online deployments: a model, a script and an environment behind an endpoint.",
}
ENDPOINT, DEPLOYMENT = "cli.ml.online_endpoints#", "cli.ml.online_deployments#"
LOCAL_ENDPOINT, LOCAL_DEPLOYMENT = "cli.local.endpoints#", "cli.local.deployments#"
INSTANCE = "cli.ml.instances#"
DEBUG = "cli.ml.debug_sessions#"
ENDPOINT_COLUMNS = {
    "Name": "name",
    "AuthMode": "auth_mode",
    "State": "provisioning_state",
    "Traffic": "traffic",
    "ScoringUri": "scoring_uri",
}
DEPLOYMENT_COLUMNS = {
    "Name": "name",
    "Endpoint": "endpoint_name",
    "State": "provisioning_state",
    "InstanceType": "instance_type",
    "Instances": "instance_count",
    "Model": "model",
}
INSTANCE_COLUMNS = {
    "Number": "number",
    "Revision": "revision",
    "State": "state",
    "Restarts": "restarts",
    "Cpu%": "cpuPercent",
    "Memory%": "memoryPercent",
    "Node": "node",
    "Reason": "reason",
}
DEBUG_COLUMNS = {
    "State": "state",
    "Header": "deploymentHeader",
    "Expires": "expiresAt",
    "Tunnel": "tunnel",
}
WHICH = (a.name_required("deployment"), required(a.ENDPOINT))
HERE = (a.LOCAL, a.VSCODE, a.LOCAL_GPU)
"""Without a portal, in a container or a process of this machine."""
NUMBER = required(
    argument("instance", "--instance", "-i", help="Its number, as list-instances tells it.")
)
TRAFFIC = argument(
    "traffic",
    "--traffic",
    "-r",
    help='Percent of the live traffic for each deployment: "blue=90 green=10".',
    nargs="+",
    action=a.Percents,
)
MIRROR = argument(
    "mirror_traffic",
    help='Percent of the traffic to copy to a deployment: "green=10".',
    nargs="+",
    action=a.Percents,
)
REQUEST_FILE = required(
    argument("request_file", "--request-file", "-r", help="JSON file to send.", metavar="PATH")
)

COMMANDS = (
    Command(
        "ml online-endpoint create",
        "Create an endpoint.",
        f"{ENDPOINT}create",
        (
            a.name("endpoint"),
            a.FILE,
            argument("auth_mode", help="key, aml_token or aad_token."),
            argument("compute", help="Kubernetes compute, for an endpoint there."),
            a.DESCRIPTION,
            a.TAGS,
            a.SETS,
            a.NO_WAIT,
            a.WEB,
            a.LOCAL,
        ),
        columns=ENDPOINT_COLUMNS,
        local=f"{LOCAL_ENDPOINT}create",
        examples=(
            "From a YAML file: portico ml online-endpoint create -f endpoint.yml",
            "From flags: portico ml online-endpoint create -n my-endpoint --auth-mode key",
        ),
    ),
    Command(
        "ml online-endpoint update",
        "Change an endpoint: traffic, mirrored traffic, tags.",
        f"{ENDPOINT}update",
        (
            a.name("endpoint"),
            a.FILE,
            TRAFFIC,
            MIRROR,
            a.TAGS,
            *a.CHANGES,
            a.NO_WAIT,
            a.WEB,
            a.LOCAL,
        ),
        columns=ENDPOINT_COLUMNS,
        local=f"{LOCAL_ENDPOINT}update",
        examples=(
            'Send a tenth to green: portico ml online-endpoint update -n my-endpoint --traffic "blue=90 green=10"',
            'Copy a tenth to green: portico ml online-endpoint update -n my-endpoint --mirror-traffic "green=10"',
        ),
    ),
    Command(
        "ml online-endpoint show",
        "Show an endpoint.",
        f"{ENDPOINT}show",
        (a.name_required("endpoint"), a.WEB, a.LOCAL),
        columns=ENDPOINT_COLUMNS,
        local=f"{LOCAL_ENDPOINT}show",
    ),
    Command(
        "ml online-endpoint list",
        "List the endpoints of the workspace.",
        f"{ENDPOINT}list_all",
        (a.LOCAL,),
        columns=ENDPOINT_COLUMNS,
        local=f"{LOCAL_ENDPOINT}list_all",
    ),
    Command(
        "ml online-endpoint delete",
        "Delete an endpoint and its deployments.",
        f"{ENDPOINT}delete",
        (a.name_required("endpoint"), a.NO_WAIT, a.LOCAL),
        question="Delete the endpoint '{name}' with all its deployments?",
        local=f"{LOCAL_ENDPOINT}delete",
    ),
    Command(
        "ml online-endpoint invoke",
        "Send a request and print the answer.",
        f"{ENDPOINT}invoke",
        (a.name_required("endpoint"), REQUEST_FILE, a.DEPLOYMENT, a.LOCAL),
        local=f"{LOCAL_ENDPOINT}invoke",
        examples=(
            "Score: portico ml online-endpoint invoke -n my-endpoint -r request.json",
            "Try green alone: portico ml online-endpoint invoke -n my-endpoint -d green -r request.json",
        ),
    ),
    Command(
        "ml online-endpoint get-credentials",
        "Show the keys or a token of an endpoint.",
        f"{ENDPOINT}get_credentials",
        (a.name_required("endpoint"),),
    ),
    Command(
        "ml online-endpoint regenerate-keys",
        "Replace one key of an endpoint.",
        f"{ENDPOINT}regenerate_keys",
        (
            a.name_required("endpoint"),
            argument(
                "key_type", help="Which one.", choices=["primary", "secondary"], default="primary"
            ),
            a.NO_WAIT,
        ),
    ),
    Command(
        "ml online-deployment create",
        "Create a deployment.",
        f"{DEPLOYMENT}create",
        (
            a.name("deployment"),
            a.ENDPOINT,
            a.FILE,
            a.MODEL,
            a.ENVIRONMENT,
            a.CODE,
            a.SCRIPT,
            a.INSTANCE_TYPE,
            a.INSTANCE_COUNT,
            a.DESCRIPTION,
            a.TAGS,
            a.SETS,
            switch("all_traffic", help="Send all live traffic there once it is ready."),
            a.SKIP_SCRIPT,
            a.NO_WAIT,
            a.WEB,
            *HERE,
        ),
        columns=DEPLOYMENT_COLUMNS,
        local=f"{LOCAL_DEPLOYMENT}create",
        examples=(
            "From a YAML file: portico ml online-deployment create -f blue-deployment.yml --all-traffic",
            "From flags: portico ml online-deployment create -n blue -e my-endpoint --model my-model:1 "
            "--scoring-script score.py --environment my-env --instance-type Standard_DS3_v2 --instance-count 1",
        ),
    ),
    Command(
        "ml online-deployment update",
        "Change a deployment: a whole YAML file, or --set.",
        f"{DEPLOYMENT}update",
        (
            a.name("deployment"),
            a.ENDPOINT,
            a.FILE,
            *a.CHANGES,
            a.INSTANCE_COUNT,
            a.SKIP_SCRIPT,
            a.NO_WAIT,
            a.WEB,
            *HERE,
        ),
        columns=DEPLOYMENT_COLUMNS,
        local=f"{LOCAL_DEPLOYMENT}update",
        examples=(
            "Scale: portico ml online-deployment update -n blue -e my-endpoint --set instance_count=2",
        ),
    ),
    Command(
        "ml online-deployment show",
        "Show a deployment.",
        f"{DEPLOYMENT}show",
        (*WHICH, a.WEB, a.LOCAL),
        columns=DEPLOYMENT_COLUMNS,
        local=f"{LOCAL_DEPLOYMENT}show",
    ),
    Command(
        "ml online-deployment list",
        "List the deployments of an endpoint.",
        f"{DEPLOYMENT}list_all",
        (required(a.ENDPOINT), a.LOCAL),
        columns=DEPLOYMENT_COLUMNS,
        local=f"{LOCAL_DEPLOYMENT}list_all",
    ),
    Command(
        "ml online-deployment delete",
        "Delete a deployment, which must not have live traffic.",
        f"{DEPLOYMENT}delete",
        (*WHICH, a.NO_WAIT, a.LOCAL),
        question="Delete the deployment '{name}' of '{endpoint_name}'?",
        local=f"{LOCAL_DEPLOYMENT}delete",
    ),
    Command(
        "ml online-deployment get-logs",
        "Print the end of a deployment's log.",
        f"{DEPLOYMENT}get_logs",
        (
            *WHICH,
            argument("lines", "--lines", "-l", help="How many.", type=int, default=50),
            argument(
                "container", "--container", "-c", help="inference-server or storage-initializer."
            ),
            a.LOCAL,
        ),
        is_text=True,
        local=f"{LOCAL_DEPLOYMENT}get_logs",
    ),
    Command(
        "ml online-deployment list-instances",
        "List what runs of a deployment.",
        f"{INSTANCE}list_all",
        WHICH,
        columns=INSTANCE_COLUMNS,
    ),
    Command(
        "ml online-deployment restart-instance",
        "Stop one instance and start it again, requests in flight first.",
        f"{INSTANCE}restart",
        (*WHICH, NUMBER),
        columns=INSTANCE_COLUMNS,
        question="Restart instance {instance} of the deployment '{name}'?",
    ),
    Command(
        "ml online-deployment drain-instance",
        "Take one instance out of the routes, and put a fresh one in its place.",
        f"{INSTANCE}drain",
        (*WHICH, NUMBER),
        columns=INSTANCE_COLUMNS,
        question="Replace instance {instance} of the deployment '{name}'?",
    ),
    Command(
        "ml online-deployment start-debug",
        "Run one more instance without traffic, to which a debugger can attach.",
        f"{DEBUG}start",
        (
            *WHICH,
            argument(
                "minutes", "--minutes", help="For how long, at most 480.", type=int, default=60
            ),
            a.NO_WAIT,
        ),
        columns=DEBUG_COLUMNS,
    ),
    Command(
        "ml online-deployment show-debug",
        "Show whether a debug session runs, until when, and how to attach.",
        f"{DEBUG}show",
        WHICH,
        columns=DEBUG_COLUMNS,
    ),
    Command(
        "ml online-deployment attach-debug",
        "Bring the debugger's port to this machine, through the portal, until Ctrl-C.",
        "cli.ml.debug_tunnel#attach",
        (
            *WHICH,
            argument("port", "--port", help="The port of this machine.", type=int, default=5678),
        ),
        examples=(
            "Attach VS Code: portico ml online-deployment attach-debug -e my-endpoint -n blue",
        ),
    ),
    Command(
        "ml online-deployment stop-debug",
        "Remove the instance that is debugged.",
        f"{DEBUG}stop",
        WHICH,
    ),
    Command(
        "ml online-deployment get-build-log",
        "Print the log of the build of a deployment's environment.",
        f"{INSTANCE}get_build_log",
        (
            *WHICH,
            argument("revision", help="Of this revision; else the newest build.", type=int),
            argument("lines", "--lines", "-l", help="At most so many.", type=int),
        ),
        is_text=True,
    ),
)
