"""`ml batch-endpoint` and `ml batch-deployment`."""

from __future__ import annotations

from cli.table import Command, argument, required, switch
from cli.tables import arguments as a

GROUPS = {
    "ml batch-endpoint": "Batch endpoints: score files, as jobs.",
    "ml batch-deployment": "Batch deployments: a model, a script and a compute behind a batch endpoint.",
}
ENDPOINT, DEPLOYMENT = "cli.ml.batch_endpoints#", "cli.ml.batch_deployments#"
ENDPOINT_COLUMNS = {
    "Name": "name",
    "State": "provisioning_state",
    "Default": "defaults.deployment_name",
    "ScoringUri": "scoring_uri",
}
DEPLOYMENT_COLUMNS = {
    "Name": "name",
    "Endpoint": "endpoint_name",
    "State": "provisioning_state",
    "Compute": "compute",
    "Model": "model",
}
JOB_COLUMNS = {"Name": "name", "Status": "status"}

COMMANDS = (
    Command(
        "ml batch-endpoint create",
        "Create a batch endpoint.",
        f"{ENDPOINT}create",
        (a.name("endpoint"), a.FILE, a.DESCRIPTION, a.TAGS, a.SETS, a.NO_WAIT, a.WEB),
        columns=ENDPOINT_COLUMNS,
        examples=("From a YAML file: portico ml batch-endpoint create -f endpoint.yml",),
    ),
    Command(
        "ml batch-endpoint update",
        "Change a batch endpoint, such as its default deployment.",
        f"{ENDPOINT}update",
        (
            a.name("endpoint"),
            a.FILE,
            argument(
                "defaults",
                help="deployment_name=<deployment> that jobs go to.",
                nargs="+",
                action=a.Pairs,
                metavar="KEY=VALUE",
            ),
            a.TAGS,
            *a.CHANGES,
            a.NO_WAIT,
            a.WEB,
        ),
        columns=ENDPOINT_COLUMNS,
        examples=(
            "Choose the default: portico ml batch-endpoint update -n my-batch --set defaults.deployment_name=blue",
        ),
    ),
    Command(
        "ml batch-endpoint show",
        "Show a batch endpoint.",
        f"{ENDPOINT}show",
        (a.name_required("endpoint"), a.WEB),
        columns=ENDPOINT_COLUMNS,
    ),
    Command(
        "ml batch-endpoint list",
        "List the batch endpoints of the workspace.",
        f"{ENDPOINT}list_all",
        columns=ENDPOINT_COLUMNS,
    ),
    Command(
        "ml batch-endpoint delete",
        "Delete a batch endpoint and its deployments; jobs and their outputs stay.",
        f"{ENDPOINT}delete",
        (a.name_required("endpoint"), a.NO_WAIT),
        question="Delete the batch endpoint '{name}' with all its deployments?",
    ),
    Command(
        "ml batch-endpoint invoke",
        "Start a job.",
        f"{ENDPOINT}invoke",
        (
            a.name_required("endpoint"),
            a.DEPLOYMENT,
            argument(
                "file", "--file", "-f", help="YAML file with inputs and outputs.", metavar="PATH"
            ),
            argument(
                "input",
                help="File or folder of this machine, azureml:<data>:<version>, azureml:// or https://.",
            ),
            argument(
                "input_type",
                "--input-type",
                "-t",
                help="What the input is.",
                choices=["uri_folder", "uri_file"],
                default="uri_folder",
            ),
            argument(
                "output_path", help="azureml://datastores/<name>/paths/<folder> to write to."
            ),
            argument("job_name", "--job-name", "-j", help="Name of the job."),
            argument("experiment_name", help="Experiment to show it in."),
            argument(
                "mini_batch_size",
                "--mini-batch-size",
                "-m",
                help="Files for each call of run().",
                type=int,
            ),
            argument(
                "instance_count", "--instance-count", "-c", help="Number of instances.", type=int
            ),
            a.SETS,
        ),
        columns=JOB_COLUMNS,
        examples=(
            "A folder: portico ml batch-endpoint invoke -n my-batch --input ./data",
            "Registered data: portico ml batch-endpoint invoke -n my-batch --input azureml:my-data:1 "
            "--set output_file_name=scores.csv",
        ),
    ),
    Command(
        "ml batch-endpoint list-jobs",
        "List the jobs of a batch endpoint.",
        f"{ENDPOINT}list_jobs",
        (a.name_required("endpoint"), a.MAX_RESULTS),
        columns=JOB_COLUMNS,
    ),
    Command(
        "ml batch-deployment create",
        "Create a batch deployment.",
        f"{DEPLOYMENT}create",
        (
            a.name("deployment"),
            a.ENDPOINT,
            a.FILE,
            a.MODEL,
            a.ENVIRONMENT,
            a.CODE,
            a.SCRIPT,
            argument("compute", help="Compute that runs the jobs, such as my-cluster."),
            argument("mini_batch_size", help="Files for each call of run().", type=int),
            a.DESCRIPTION,
            a.TAGS,
            a.SETS,
            switch("set_default", help="Make it the endpoint's default."),
            a.SKIP_SCRIPT,
            a.NO_WAIT,
            a.WEB,
        ),
        columns=DEPLOYMENT_COLUMNS,
        examples=(
            "From a YAML file: portico ml batch-deployment create -f deployment.yml --set-default",
            "From flags: portico ml batch-deployment create -n blue -e my-batch --model my-model:1 "
            "--scoring-script batch_driver.py --environment my-env --compute my-cluster",
        ),
    ),
    Command(
        "ml batch-deployment update",
        "Change a batch deployment.",
        f"{DEPLOYMENT}update",
        (a.name("deployment"), a.ENDPOINT, a.FILE, *a.CHANGES, a.SKIP_SCRIPT, a.NO_WAIT, a.WEB),
        columns=DEPLOYMENT_COLUMNS,
    ),
    Command(
        "ml batch-deployment show",
        "Show a batch deployment.",
        f"{DEPLOYMENT}show",
        (a.name_required("deployment"), required(a.ENDPOINT), a.WEB),
        columns=DEPLOYMENT_COLUMNS,
    ),
    Command(
        "ml batch-deployment list",
        "List the deployments of a batch endpoint.",
        f"{DEPLOYMENT}list_all",
        (required(a.ENDPOINT),),
        columns=DEPLOYMENT_COLUMNS,
    ),
    Command(
        "ml batch-deployment delete",
        "Delete a batch deployment.",
        f"{DEPLOYMENT}delete",
        (a.name_required("deployment"), required(a.ENDPOINT), a.NO_WAIT),
        question="Delete the batch deployment '{name}' of '{endpoint_name}'?",
    ),
    Command(
        "ml batch-deployment list-jobs",
        "List the jobs of a batch deployment.",
        f"{DEPLOYMENT}list_jobs",
        (a.name_required("deployment"), required(a.ENDPOINT), a.MAX_RESULTS),
        columns=JOB_COLUMNS,
    ),
)
