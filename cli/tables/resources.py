"""`ml compute`, `ml datastore`, `ml job` and `ml workspace`."""

from __future__ import annotations

from cli.table import Command, argument, required, switch
from cli.tables import arguments as a

GROUPS = {
    "ml compute": "Computes: what jobs run on.",
    "ml datastore": "Datastores: where files are kept.",
    "ml job": "Jobs: what batch endpoints and pipelines run.",
    "ml workspace": "Workspaces: what you are a member of.",
}
RESOURCE, JOB = "cli.ml.resources#", "cli.ml.jobs#"
COMPUTE_COLUMNS = {
    "Name": "name",
    "Type": "type",
    "Size": "size",
    "Min": "min_instances",
    "Max": "max_instances",
    "State": "provisioning_state",
}
DATASTORE_COLUMNS = {"Name": "name", "Type": "type", "Container": "container_name"}
JOB_COLUMNS = {
    "Name": "name",
    "Type": "type",
    "Status": "status",
    "Experiment": "experiment_name",
    "Created": "creation_context.created_at",
}
WORKSPACE_COLUMNS = {"Name": "name", "ResourceGroup": "resource_group", "Location": "location"}
SECRETS = switch("include_secrets", help="Keys, too.")
LOCATION = argument("location", "--location", "-l", help="Location; the workspace's if not given.")
MIN = argument("min_instances", help="Fewest nodes.", type=int)
MAX = argument("max_instances", help="Most nodes.", type=int)
IDLE = argument("idle_time_before_scale_down", help="Seconds before an idle node goes.", type=int)
FILE = required(a.FILE)
JOB_NAME = a.name_required("job")

COMMANDS = (
    Command(
        "ml compute create",
        "Create a compute.",
        f"{RESOURCE}create_compute",
        (
            a.name("compute"),
            argument("type", "--type", "-t", help="amlcompute or kubernetes."),
            a.FILE,
            argument("size", help="Size of a node, such as Standard_DS3_v2."),
            MIN,
            MAX,
            IDLE,
            a.DESCRIPTION,
            a.TAGS,
            a.SETS,
            a.NO_WAIT,
        ),
        columns=COMPUTE_COLUMNS,
        examples=(
            "A cluster: portico ml compute create -n my-cluster --type amlcompute --min-instances 0 --max-instances 2",
        ),
    ),
    Command(
        "ml compute update",
        "Change a compute.",
        f"{RESOURCE}update_compute",
        (a.name_required("compute"), MIN, MAX, IDLE, *a.CHANGES, a.NO_WAIT),
        columns=COMPUTE_COLUMNS,
    ),
    Command(
        "ml compute show",
        "Show a compute.",
        f"{RESOURCE}show_compute",
        (a.name_required("compute"),),
        columns=COMPUTE_COLUMNS,
    ),
    Command(
        "ml compute list",
        "List the computes of the workspace.",
        f"{RESOURCE}list_computes",
        (argument("type", "--type", "-t", help="Of this type alone."), a.MAX_RESULTS),
        columns=COMPUTE_COLUMNS,
    ),
    Command(
        "ml compute delete",
        "Delete a compute.",
        f"{RESOURCE}delete_compute",
        (a.name_required("compute"), a.NO_WAIT),
        question="Delete the compute '{name}'?",
    ),
    Command(
        "ml compute list-nodes",
        "List the nodes of a compute.",
        f"{RESOURCE}list_nodes",
        (a.name_required("compute"),),
    ),
    Command(
        "ml compute list-sizes",
        "List the sizes that nodes may have.",
        f"{RESOURCE}list_sizes",
        (LOCATION, argument("type", "--type", "-t", help="For this type of compute.")),
    ),
    Command(
        "ml compute list-usage",
        "Show quotas and what is used of them.",
        f"{RESOURCE}list_usage",
        (LOCATION,),
    ),
    Command(
        "ml datastore create",
        "Attach a datastore.",
        f"{RESOURCE}create_datastore",
        (a.name("datastore"), FILE, a.SETS),
        columns=DATASTORE_COLUMNS,
    ),
    Command(
        "ml datastore update",
        "Change a datastore.",
        f"{RESOURCE}update_datastore",
        (a.name_required("datastore"), a.FILE, *a.CHANGES),
        columns=DATASTORE_COLUMNS,
    ),
    Command(
        "ml datastore show",
        "Show a datastore.",
        f"{RESOURCE}show_datastore",
        (a.name("datastore"), switch("default", help="The workspace's default."), SECRETS),
        columns=DATASTORE_COLUMNS,
    ),
    Command(
        "ml datastore list",
        "List the datastores of the workspace.",
        f"{RESOURCE}list_datastores",
        (a.MAX_RESULTS, SECRETS),
        columns=DATASTORE_COLUMNS,
    ),
    Command(
        "ml datastore delete",
        "Detach a datastore; its files stay.",
        f"{RESOURCE}delete_datastore",
        (a.name_required("datastore"),),
    ),
    Command(
        "ml job create",
        "Start a job from a YAML file.",
        f"{JOB}create",
        (a.name("job"), FILE, a.SETS, switch("stream", "--stream", "-s", help="Follow its log.")),
        columns=JOB_COLUMNS,
    ),
    Command("ml job show", "Show a job.", f"{JOB}show", (JOB_NAME,), columns=JOB_COLUMNS),
    Command(
        "ml job list",
        "List the jobs of the workspace.",
        f"{JOB}list_all",
        (
            a.MAX_RESULTS,
            argument("parent_job_name", "--parent-job-name", "-p", help="Children of this job."),
            a.ARCHIVED_ONLY,
            a.INCLUDE_ARCHIVED,
        ),
        columns=JOB_COLUMNS,
    ),
    Command(
        "ml job stream", "Follow the log of a job until it ends.", f"{JOB}stream", (JOB_NAME,)
    ),
    Command("ml job cancel", "Cancel a job.", f"{JOB}cancel", (JOB_NAME, a.NO_WAIT)),
    Command(
        "ml job download",
        "Download outputs of a job.",
        f"{JOB}download",
        (
            JOB_NAME,
            argument("output_name", help="This output alone; 'score' is that of a batch job."),
            a.DOWNLOAD_PATH,
            switch("all", "--all", help="Logs and all outputs."),
        ),
    ),
    Command(
        "ml job update",
        "Change name, description and tags of a job.",
        f"{JOB}update",
        (JOB_NAME, argument("display_name", help="Name to show."), a.DESCRIPTION, a.TAGS),
        columns=JOB_COLUMNS,
    ),
    Command(
        "ml job archive",
        "Hide a job in lists.",
        f"{JOB}set_archived",
        (JOB_NAME,),
        {"is_archived": True},
    ),
    Command(
        "ml job restore",
        "Show a job again.",
        f"{JOB}set_archived",
        (JOB_NAME,),
        {"is_archived": False},
    ),
    Command(
        "ml workspace show",
        "Show a workspace.",
        f"{RESOURCE}show_workspace",
        (a.name("workspace"),),
        columns=WORKSPACE_COLUMNS,
    ),
    Command(
        "ml workspace list",
        "List your workspaces.",
        f"{RESOURCE}list_workspaces",
        (a.MAX_RESULTS,),
        columns=WORKSPACE_COLUMNS,
    ),
    Command(
        "ml workspace list-keys",
        "Show the keys of a workspace's services.",
        f"{RESOURCE}list_keys",
        (a.name("workspace"),),
    ),
)
