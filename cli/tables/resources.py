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
ENGINES = "cli.ml.compute_engines#"
COMPUTE_COLUMNS = {
    "Name": "name",
    "Type": "type",
    "Size": "size",
    "Min": "min_instances",
    "Max": "max_instances",
    "State": "provisioning_state",
}
ENGINE_COLUMNS = {
    "Name": "name",
    "Answers": "answers",
    "Schedulable": "isSchedulable",
    "Cores": "cores",
    "TakenCores": "takenCores",
    "Containers": "containers",
    "Reason": "reason",
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
ENGINE_NAME = required(argument("engine", "--engine", "-e", help="Its name in the compute."))
ENGINE_URL = argument("url", help="unix:///path, tcp://host:port or ssh://user@host.")
ENGINE_FACTS = (
    argument(
        "cert_path",
        help="Folder on the portal's machine with ca.pem, cert.pem and key.pem, for tcp behind TLS.",
    ),
    argument(
        "max_cores",
        help="What instances may take there together; more than the host has over-commits it; 0 for what it has.",
        type=float,
    ),
    argument(
        "max_memory_gib", help="The same of memory, in GiB; 0 for what the host has.", type=float
    ),
    argument(
        "schedulable",
        help="true or false: whether new instances go there.",
        choices=("true", "false"),
    ),
)
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
        "ml compute attach",
        "Attach a compute, on which the deployments of endpoints that name it run.",
        f"{RESOURCE}attach_compute",
        (
            a.name("compute"),
            argument("type", "--type", "-t", help="kubernetes, the default."),
            a.FILE,
            argument("resource_id", help="Id of a cluster elsewhere; kept."),
            argument("namespace", help="Namespace of the cluster; kept."),
            argument(
                "runtime",
                help="Portico's own: what deployments run on, where the installation's choice is not right.",
                choices=("process", "docker"),
            ),
            a.DESCRIPTION,
            a.TAGS,
            a.SETS,
            a.NO_WAIT,
        ),
        columns=COMPUTE_COLUMNS,
        examples=(
            "Containers of a machine: portico ml compute attach -n box, then portico ml compute attach-engine -n box "
            "-e first --url ssh://me@10.0.0.7",
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
        "ml compute list-engines",
        "List the Docker engines of an attached compute, with what each has and holds.",
        f"{ENGINES}list_all",
        (a.name_required("compute"),),
        columns=ENGINE_COLUMNS,
    ),
    Command(
        "ml compute attach-engine",
        "Add a Docker engine to an attached compute; for administrators.",
        f"{ENGINES}attach",
        (a.name_required("compute"), ENGINE_NAME, required(ENGINE_URL), *ENGINE_FACTS),
        columns=ENGINE_COLUMNS,
    ),
    Command(
        "ml compute update-engine",
        "Change an engine, or close it for new instances; for administrators.",
        f"{ENGINES}update",
        (a.name_required("compute"), ENGINE_NAME, ENGINE_URL, *ENGINE_FACTS),
        columns=ENGINE_COLUMNS,
    ),
    Command(
        "ml compute check-engine",
        "Ask an engine now whether it is there.",
        f"{ENGINES}check",
        (a.name_required("compute"), ENGINE_NAME),
        columns=ENGINE_COLUMNS,
    ),
    Command(
        "ml compute drain-engine",
        "Close an engine for new instances, and replace those on it elsewhere; for administrators.",
        f"{ENGINES}drain",
        (a.name_required("compute"), ENGINE_NAME),
        columns={"Name": "name", "Instances": "instances"},
        question="Replace all instances on engine {engine} of the compute '{name}'?",
    ),
    Command(
        "ml compute detach-engine",
        "Remove an engine on which nothing runs; for administrators.",
        f"{ENGINES}detach",
        (a.name_required("compute"), ENGINE_NAME),
        question="Remove engine {engine} from the compute '{name}'?",
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
