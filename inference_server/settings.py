"""Flags, environment and config.json, read once into one frozen value."""

import argparse
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

# The version of the genuine server whose contract this one keeps; clients and scripts may read it.
CONTRACT_VERSION = "1.5.1"
MAX_MILLISECONDS = 0xFFFF_FFFF
EXIT_USAGE = 1
EXIT_CONFIGURATION = 3
MOST_DEPTH = 64
MOST_BATCH = 256
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class SettingsError(Exception):
    """A setting that cannot be used; `exit_code` is the genuine server's for this mistake."""

    def __init__(self, message: str, exit_code: int = EXIT_CONFIGURATION) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Settings:
    """Everything the server can be told. Zero means "no limit" where a limit is named."""

    entry_script: str | None
    app_root: str
    source_dir: str | None
    model_dir: str | None
    mlflow_folder: str | None
    model_repository: str | None
    config_file: str | None
    python: str
    host: str
    port: int
    health_port: int | None
    socket_path: str | None
    worker_count: int
    worker_timeout_seconds: float
    preload: bool
    depth: int
    max_batch: int
    scoring_timeout_ms: int
    request_timeout_ms: int
    max_concurrent_requests: int
    max_queue: int
    max_queue_wait_ms: int
    max_body_bytes: int
    grace_seconds: float
    keep_alive_seconds: float
    slow_request_seconds: float
    status_file: str | None
    cors_origins: tuple[str, ...]
    service_name: str
    service_version: str
    service_path_prefix: str
    server_version: str
    log_level: str
    log_requests: bool
    slow_call_ms: float
    debug_port: int | None
    debug_listen: tuple[str, int] | None
    debug_waits: bool

    @property
    def is_debugged(self) -> bool:
        return bool(self.debug_port or self.debug_listen)


def read_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Flags win over the environment, that over the config file, that over the defaults."""
    flags = _parser().parse_args(arguments)
    app_root = environment.get("AML_APP_ROOT") or os.getcwd()
    config_file = _config_file(flags, environment, app_root)
    values = _Values(environment, _read_config(config_file))
    entry_script = values.text("AZUREML_ENTRY_SCRIPT")
    if flags.entry_script:
        entry_script = os.path.realpath(flags.entry_script)
    model_dir = flags.model_dir or values.text("AZUREML_MODEL_DIR")
    mlflow_folder = None
    if not entry_script and model_dir and values.text("MLFLOW_MODEL_FOLDER"):
        mlflow_folder = os.path.join(model_dir, values.text("MLFLOW_MODEL_FOLDER") or "")
    if not (entry_script or config_file or mlflow_folder or flags.model_repository):
        raise SettingsError(
            "Either provide an entry_script using --entry_script or provide a path to the "
            "configuration file using --config_file",
            EXIT_USAGE,
        )
    health_port = None
    if values.text("SEPERATE_HEALTH_ENDPOINT") == "true":
        health_port = flags.health_port or 5000
    shows_version = (
        values.text("SERVER_VERSION_LOG_RESPONSE_ENABLED") or "true"
    ).lower() == "true"
    origins = flags.access_control_allow_origins or values.text("AML_CORS_ORIGINS") or ""
    worker_count = flags.worker_count or values.integer("WORKER_COUNT", 1)
    if worker_count < 1:
        raise SettingsError(f"WORKER_COUNT is {worker_count}; it must be at least 1.")
    log_requests = values.text("PORTICO_LOG_REQUESTS") or str(not flags.socket)
    settings = Settings(
        entry_script=entry_script,
        app_root=values.text("AML_APP_ROOT") or app_root,
        source_dir=values.text("AZUREML_SOURCE_DIRECTORY"),
        model_dir=model_dir,
        mlflow_folder=mlflow_folder,
        model_repository=flags.model_repository,
        config_file=config_file,
        python=flags.python,
        host=flags.host,
        port=flags.port or 5001,
        health_port=health_port,
        socket_path=flags.socket,
        worker_count=worker_count,
        worker_timeout_seconds=values.integer("WORKER_TIMEOUT", 300),
        # The threads of a model runtime do not survive a fork.
        preload=(values.text("WORKER_PRELOAD") or "false").lower() == "true"
        and not flags.model_repository,
        depth=_within("PORTICO_DEPTH", flags.depth, values, 0, 0, MOST_DEPTH),
        # Sums over more rows may differ in the last digit: who wants that for a model without code says so.
        max_batch=_within(
            "PORTICO_MAX_BATCH", flags.max_batch, values, 1 if mlflow_folder else 32, 1, MOST_BATCH
        ),
        scoring_timeout_ms=_scoring_timeout(values.integer("SCORING_TIMEOUT_MS", 3_600_000)),
        request_timeout_ms=flags.request_timeout_ms,
        max_concurrent_requests=flags.max_concurrent_requests,
        max_queue=flags.max_queue,
        max_queue_wait_ms=flags.max_queue_wait_ms,
        max_body_bytes=flags.max_body_bytes,
        grace_seconds=flags.grace_seconds,
        keep_alive_seconds=values.integer("PORTICO_KEEP_ALIVE_SECONDS", 3_660),
        slow_request_seconds=values.integer("PORTICO_SLOW_REQUEST_SECONDS", 30),
        status_file=flags.status_file,
        cors_origins=tuple(origin.strip() for origin in origins.split(",") if origin.strip()),
        service_name=values.text("SERVICE_NAME") or "ML service",
        service_version=values.text("SERVICE_VERSION") or "1.0",
        service_path_prefix=values.text("SERVICE_PATH_PREFIX") or "",
        server_version=f"azmlinfsrv/{CONTRACT_VERSION}" if shows_version else "",
        log_level=_log_level(values.text("AZUREML_LOG_LEVEL") or "INFO"),
        log_requests=log_requests.lower() == "true",
        slow_call_ms=values.integer("PORTICO_SLOW_CALL_MS", 1_000),
        debug_port=values.integer("AZUREML_DEBUG_PORT", 0) or None,
        debug_listen=_address(values.text("PORTICO_DEBUG_LISTEN")),
        debug_waits=(values.text("PORTICO_DEBUG_WAIT") or "false").lower() == "true",
    )
    if settings.debug_port and settings.debug_listen:
        raise SettingsError(
            "AZUREML_DEBUG_PORT and PORTICO_DEBUG_LISTEN are both set: a worker has one debugger."
        )
    return _for_debugging(settings) if settings.is_debugged else settings


def _for_debugging(settings: Settings) -> Settings:
    """One worker, and no clock that would end it while somebody looks at a breakpoint."""
    return replace(
        settings,
        worker_count=1,
        preload=False,
        worker_timeout_seconds=0,
        scoring_timeout_ms=MAX_MILLISECONDS,
        request_timeout_ms=0,
        max_queue_wait_ms=0,
    )


def worker_environment(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """What scripts find in their environment: the genuine server sets these for them."""
    found = dict(environment)
    found["AML_APP_ROOT"] = settings.app_root
    found["WORKER_COUNT"] = str(settings.worker_count)
    found["SERVER_PORT"] = str(settings.port)
    found["HEALTH_PORT"] = str(settings.health_port or settings.port)
    # Azure's name for what stands in for a script, which code of a model may look at.
    mlflow_script = "mlflow_score_script.py" if settings.mlflow_folder else None
    for name, value in (
        ("AZUREML_ENTRY_SCRIPT", settings.entry_script or mlflow_script),
        ("AZUREML_MODEL_DIR", settings.model_dir),
        ("AZUREML_CONFIG_FILE", settings.config_file),
        ("HTTP_X_MS_SERVER_VERSION", settings.server_version),
        ("AML_CORS_ORIGINS", ",".join(settings.cors_origins)),
    ):
        if value:
            found[name] = value
    return found


def banner(settings: Settings, environment: Mapping[str, str]) -> str:
    """The start-up text of the genuine server, which people and their tools look for."""
    insights = environment.get("AML_APP_INSIGHTS_ENABLED") == "true"
    key = environment.get("AML_APP_INSIGHTS_KEY")
    lines = [""]
    if not settings.model_dir:
        lines.append("The environment variable 'AZUREML_MODEL_DIR' has not been set.")
        lines.append("Use the --model_dir command line argument to set it.")
    if insights and key and UUID.fullmatch(key):
        lines.append("Valid Application Insights instrumentation key provided.")
    elif insights and key:
        lines.append("Invalid Application Insights instrumentation key provided.")
        lines.append("Application Insights has been disabled.")
        insights = False
    address = settings.socket_path or f"{settings.host}:{settings.port}"
    health = f"{settings.host}:{settings.health_port}" if settings.health_port else address
    return "\n".join(
        [
            *lines,
            f"Azure ML Inferencing HTTP server v{CONTRACT_VERSION} (contract), served by Portico",
            "",
            "Server Settings",
            "---------------",
            f"Entry Script Name: {settings.entry_script}",
            f"Model Directory: {settings.model_dir}",
            f"Config File: {settings.config_file}",
            f"Worker Count: {settings.worker_count}",
            f"Worker Timeout (seconds): {settings.worker_timeout_seconds:g}",
            f"Server Port: {settings.port}",
            f"Health Port: {settings.health_port or settings.port}",
            f"Application Insights Enabled: {str(insights and key is not None).lower()}",
            f"Application Insights Key: {'AppInsights key provided' if key else None}",
            f"Inferencing HTTP server version: {settings.server_version or None}",
            f"CORS for the specified origins: {', '.join(settings.cors_origins) or None}",
            f"Create dedicated endpoint for health: {'true' if settings.health_port else None}",
            "",
            "Server Routes",
            "---------------",
            f"Liveness Probe: GET   {health}/",
            f"Score:          POST  {address}/score",
            "",
        ]
    )


class _Values:
    """A setting by its name: from the environment, else from the config file."""

    def __init__(self, environment: Mapping[str, str], config: Mapping[str, Any]) -> None:
        self._environment = environment
        self._config = config

    def text(self, name: str) -> str | None:
        value = self._environment.get(name)
        if value is None and self._config.get(name) is not None:
            found = self._config[name]
            value = str(found).lower() if isinstance(found, bool) else str(found)
        return value or None

    def integer(self, name: str, default: int) -> int:
        value = self.text(name)
        if value is None:
            return default
        try:
            return int(value)
        except ValueError:
            raise SettingsError(f"{name} is {value!r}; it must be a whole number.") from None


def _within(
    name: str, flag: int | None, values: _Values, default: int, least: int, most: int
) -> int:
    number = values.integer(name, default) if flag is None else flag
    if not least <= number <= most:
        raise SettingsError(f"{name} is {number}; it must be from {least} to {most}.")
    return number


def _scoring_timeout(milliseconds: int) -> int:
    if milliseconds < 0:
        raise SettingsError(f"SCORING_TIMEOUT_MS is {milliseconds}; it must not be negative.")
    # Zero is no limit; the wire to the workers carries at most seven weeks.
    return min(milliseconds or MAX_MILLISECONDS, MAX_MILLISECONDS)


def _address(text: str | None) -> tuple[str, int] | None:
    if text is None:
        return None
    host, _, port = text.rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) < 65_536):
        raise SettingsError(
            f"PORTICO_DEBUG_LISTEN is {text!r}; it must be an address and a port, such as 127.0.0.1:5678."
        )
    return host, int(port)


def _log_level(name: str) -> str:
    levels = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
    if name.upper() not in levels:
        raise SettingsError(
            f"AZUREML_LOG_LEVEL is {name!r}; it must be one of {', '.join(levels)}."
        )
    return name.upper()


def _config_file(
    flags: argparse.Namespace, environment: Mapping[str, str], app_root: str
) -> str | None:
    named = flags.config_file or environment.get("AZUREML_CONFIG_FILE")
    if named:
        return os.path.realpath(named)
    script = flags.entry_script or environment.get("AZUREML_ENTRY_SCRIPT") or ""
    script_folder = os.path.dirname(os.path.abspath(os.path.join(app_root, script)))
    for folder in (app_root, script_folder):
        path = os.path.join(folder, "config.json")
        if os.path.isfile(path) and os.path.getsize(path):
            return path
    return None


def _read_config(path: str | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError) as error:
        raise SettingsError(f"Invalid config file {path}: {error}") from error
    if not isinstance(found, dict):
        raise SettingsError(f"Invalid config file {path}: it must hold a JSON object.")
    return found


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_help(sys.stderr)
        self.exit(EXIT_USAGE, f"\n{self.prog}: error: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="inference_server", description="Serves an Azure ML scoring script.")
    genuine = parser.add_argument_group("as the genuine server")
    genuine.add_argument("--entry_script", help="the scoring script")
    genuine.add_argument("--model_dir", help="handed to the script as AZUREML_MODEL_DIR")
    genuine.add_argument("--port", type=_port, help="default 5001")
    genuine.add_argument("--health_port", type=_port, help="default 5000")
    genuine.add_argument("--worker_count", type=_positive, help="worker processes, default 1")
    genuine.add_argument("--access_control_allow_origins", help="CORS: origins, comma-separated")
    genuine.add_argument("--config_file", help="a JSON file with settings")
    genuine.add_argument("--appinsights_instrumentation_key", help="accepted; nothing is sent")
    genuine.add_argument("--rest", action="store_true", help=argparse.SUPPRESS)
    own = parser.add_argument_group("own")
    own.add_argument("--python", default=sys.executable, help="the workers' interpreter")
    own.add_argument(
        "--model_repository", help="serve this Triton model repository instead of a script"
    )
    own.add_argument("--host", default="127.0.0.1", help="default 127.0.0.1")
    own.add_argument("--socket", help="listen on this Unix socket (mode 0660) instead of a port")
    own.add_argument("--max_concurrent_requests", type=_count, default=0, help="0: all workers")
    own.add_argument("--max_queue", type=_count, default=100, help="waiting requests, default 100")
    own.add_argument("--max_queue_wait_ms", type=_count, default=5_000, help="0: no limit")
    own.add_argument("--request_timeout_ms", type=_count, default=0, help="0: no limit")
    own.add_argument("--depth", type=_count, help="requests in a worker's hands; default 0: auto")
    own.add_argument(
        "--max_batch",
        type=_positive,
        help="inputs of one run_batch(), default 32 (MLflow models: 1); 1: off",
    )
    own.add_argument("--max_body_bytes", type=_count, default=1 << 30, help="0: no limit")
    own.add_argument("--status_file", help="a JSON file rewritten at each change of state")
    own.add_argument("--grace_seconds", type=float, default=30.0, help="to drain on SIGTERM")
    return parser


def _port(text: str) -> int:
    port = int(text)
    if not 1 <= port <= 65_535:
        raise argparse.ArgumentTypeError(f"{port} is not in the range 1 to 65535")
    return port


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not greater than zero")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is negative")
    return number
