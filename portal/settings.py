"""Settings of Portico. Environments differ by variables only; every variable is in docs/settings.md."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path
from typing import Any

from portal import env
from workspaces import keyfile

BASE_DIR = Path(__file__).resolve().parent.parent
VERSION = "0.1.0"

# Where everything lives ---------------------------------------------------------------------------


def _default_home() -> str:
    if os.geteuid() == 0:
        return "/var/lib/portico"
    data = env.string("XDG_DATA_HOME", str(Path.home() / ".local" / "share"))
    return str(Path(data) / "portico")


PORTICO_HOME = Path(env.string("PORTICO_HOME", _default_home())).expanduser().absolute()
INSTALLATION = hashlib.sha256(str(PORTICO_HOME).encode()).hexdigest()[:12]


def _run_dir() -> Path:
    """Sockets live here: their paths must stay well under the kernel's 108 bytes."""
    inside = PORTICO_HOME / "run"
    if len(str(inside)) <= 50:
        return inside
    return Path(f"/tmp/portico-{os.geteuid()}-{INSTALLATION}")


RUN_DIR = _run_dir()
SECRETS_DIR = PORTICO_HOME / "secrets"
LOG_DIR = PORTICO_HOME / "logs"
STORAGE_ROOT = PORTICO_HOME / "storage"
STORAGE_CACHE = PORTICO_HOME / "storage-cache"
DEPLOYMENTS_ROOT = PORTICO_HOME / "deployments"
INSTANCES_ROOT = PORTICO_HOME / "instances"
CONTAINERS_ROOT = PORTICO_HOME / "containers"
ENVIRONMENTS_ROOT = PORTICO_HOME / "environments"
IMAGES_ROOT = PORTICO_HOME / "images"
SEGMENTS_ROOT = PORTICO_HOME / "segments"
STAGED_ROOT = PORTICO_HOME / "staged"
CERTIFICATES_DIR = PORTICO_HOME / "certificates"

# A bucket in place of STORAGE_ROOT: s3://bucket/prefix.
STORAGE_URL = env.string("PORTICO_STORAGE_URL")
STORAGE_OPTIONS = env.bucket(
    endpoint=env.string("PORTICO_STORAGE_ENDPOINT"),
    region=env.string("PORTICO_STORAGE_REGION"),
    key=env.secret("PORTICO_STORAGE_KEY"),
    secret=env.secret("PORTICO_STORAGE_SECRET"),
    ca_bundle=env.string("PORTICO_CA_BUNDLE", env.string("SSL_CERT_FILE")),
)

# Doors --------------------------------------------------------------------------------------------

PORTICO_PORT = env.integer("PORTICO_PORT", 8000, minimum=1, maximum=65535)
PORTICO_TLS_PORT = env.integer("PORTICO_TLS_PORT", 8443, minimum=1, maximum=65535)
PORTICO_GATEWAY_PORT = env.integer("PORTICO_GATEWAY_PORT", 9443, minimum=1, maximum=65535)
PORTICO_GATEWAY_HTTP_PORT = env.integer(
    "PORTICO_GATEWAY_HTTP_PORT", 9080, minimum=1, maximum=65535
)
PORTICO_HOST = env.string("PORTICO_HOST", "localhost")
PORTICO_BIND = env.string("PORTICO_BIND", "0.0.0.0")
WEB_SOCKET = RUN_DIR / "web.sock"
XDS_SOCKET = RUN_DIR / "xds.sock"
ENVOY_ADMIN_SOCKET = RUN_DIR / "envoy-admin.sock"
ACCESS_LOG = LOG_DIR / "access.log"
PORTICO_DOMAIN = env.string("PORTICO_DOMAIN")
TLS_CERTIFICATE = env.string("PORTICO_TLS_CERTIFICATE")
TLS_KEY = env.string("PORTICO_TLS_KEY")

ALLOWED_HOSTS = [
    "localhost",
    "127.0.0.1",
    "[::1]",
    PORTICO_HOST,
    socket.gethostname(),
    *env.words("PORTICO_ALLOWED_HOSTS"),
]
CSRF_TRUSTED_ORIGINS = [f"https://{host}:{PORTICO_TLS_PORT}" for host in ALLOWED_HOSTS] + [
    f"http://{host}:{PORTICO_PORT}" for host in ("localhost", "127.0.0.1", "[::1]")
]

# First start ----------------------------------------------------------------------------------------

PORTICO_ADMIN_PASSWORD = env.secret("PORTICO_ADMIN_PASSWORD")
PORTICO_ADMIN_TOKEN = env.secret("PORTICO_ADMIN_TOKEN")
TOKEN_DEFAULT_DAYS = env.integer("PORTICO_TOKEN_DEFAULT_DAYS", 90, minimum=1, maximum=36_500)
TOKEN_MAX_DAYS = env.integer("PORTICO_TOKEN_MAX_DAYS", 365, maximum=36_500)
FIRST_WORKSPACE = {
    "subscription_id": "00000000-0000-0000-0000-000000000001",
    "resource_group": "portico",
    "name": "main",
    "location": "local",
}

# Running models -------------------------------------------------------------------------------------

CURRENCY = env.string("PORTICO_CURRENCY", "USD")  # what prices of instance types are in
TRITON_IMAGE = env.string("PORTICO_TRITON_IMAGE")
DEPLOYMENT_RUNTIME = env.string("PORTICO_RUNTIME", "auto")
INSTANCE_UID_BASE = env.integer("PORTICO_INSTANCE_UID_BASE", 20000, minimum=2000)
INSTANCE_DISK_GB = env.integer("PORTICO_INSTANCE_DISK_GB", 20, minimum=0)
DOCKER_HOST = env.string("DOCKER_HOST")
DOCKER_CERT_PATH = env.string("DOCKER_CERT_PATH")
DOCKER_TLS_VERIFY = env.string("DOCKER_TLS_VERIFY") not in {"", "0", "false"}
DOCKER_ENGINES = env.pairs("PORTICO_DOCKER_ENGINES")
DOCKER_SUBNETS = env.string("PORTICO_DOCKER_SUBNETS", "10.201.0.0/16")
DOCKER_CONFIG_FILE = env.string("PORTICO_DOCKER_CONFIG")
BASE_IMAGE = env.string("PORTICO_BASE_IMAGE")
CONDA = env.choice("PORTICO_CONDA", ("off", "auto"))
# What builds of images may take of their engine's machine; 0 follows from the machine.
BUILD_MEMORY_BYTES = env.integer("PORTICO_BUILD_MEMORY_BYTES", 0, maximum=2**50)
BUILD_CORES = env.integer("PORTICO_BUILD_CORES", 0, maximum=4096)
BUILD_DISK_BYTES = env.integer(
    "PORTICO_BUILD_DISK_BYTES", 20 * 1024**3, minimum=1024**2, maximum=2**50
)
DOCKER_CUSTOM_ROOT_WRITABLE = env.boolean("PORTICO_DOCKER_CUSTOM_ROOT_WRITABLE")
MAX_REQUEST_TIMEOUT_MS = env.integer("PORTICO_MAX_REQUEST_TIMEOUT_MS", 180_000, minimum=1)
MAX_BODY_BYTES = env.integer("PORTICO_MAX_BODY_BYTES", 10 * 1024 * 1024, minimum=1024)
MAX_UPLOAD_BYTES = env.integer(
    "PORTICO_MAX_UPLOAD_BYTES", 5 * 1024**3, minimum=1024, maximum=2**50
)
MAX_UNPACKED_BYTES = env.integer(
    "PORTICO_MAX_UNPACKED_BYTES", 20 * 1024**3, minimum=1024, maximum=2**50
)
PACKAGE_INDEX_URL = env.string("PORTICO_PACKAGE_INDEX_URL")
PACKAGE_EXTRA_INDEX_URLS = env.words("PORTICO_PACKAGE_EXTRA_INDEX_URLS")
PACKAGE_FIND_LINKS = env.words("PORTICO_PACKAGE_FIND_LINKS")
PACKAGE_SOURCE_BUILDS = env.boolean("PORTICO_PACKAGE_SOURCE_BUILDS", True)
PACKAGES_OFFLINE = env.boolean("PORTICO_PACKAGES_OFFLINE")
CA_BUNDLE = env.string("PORTICO_CA_BUNDLE", env.string("SSL_CERT_FILE"))
PYTHON_POLICY = env.choice("PORTICO_PYTHON_POLICY", ("nearest", "refuse"))
PYTHON_MIRROR = env.string("PORTICO_PYTHON_MIRROR")

# Django -----------------------------------------------------------------------------------------------

DEBUG = env.boolean("PORTICO_DEBUG")
SECRET_KEY = env.secret("PORTICO_SECRET_KEY") or keyfile.read_or_make(SECRETS_DIR / "django.key")
ROOT_URLCONF = "portal.urls"
ASGI_APPLICATION = "portal.asgi.application"
AUTH_USER_MODEL = "workspaces.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
FORMAT_MODULE_PATH = None
LOGIN_URL = "sign_in"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "sign_in"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "axes",
    "channels",
    "django_cotton.apps.SimpleAppConfig",
    "django_filters",
    "django_htmx",
    "django_tables2",
    "drf_spectacular_sidecar",
    "rest_framework",
    "workspaces",
    "endpoints",
    "deployments",
    "monitoring",
    "api",
    "portal",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "portal.middleware.content_security_policy",
    "portal.middleware.secure_cookies",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
]

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "portal.context.shell",
            ],
            "loaders": [
                (
                    "django.template.loaders.cached.Loader",
                    [
                        "django_cotton.cotton_loader.Loader",
                        "django.template.loaders.filesystem.Loader",
                        "django.template.loaders.app_directories.Loader",
                    ],
                )
            ],
            "builtins": ["django_cotton.templatetags.cotton"],
        },
    }
]
COTTON_DIR = "components"

AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
# Throttles guessing by name and address together, so nobody can lock the administrator out.
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = 0.1
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_LOCKOUT_TEMPLATE = "workspaces/sign_in_throttled.html"
AXES_CLIENT_IP_CALLABLE = "api.callers.address_of"

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = PORTICO_HOME / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "portal.static_files.Gzipped"},
}
FILE_UPLOAD_TEMP_DIR = str(PORTICO_HOME / "uploads")
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.TemporaryFileUploadHandler"]
DATA_UPLOAD_MAX_NUMBER_FILES = 5000
DATA_UPLOAD_MAX_NUMBER_FIELDS = 10_000

# Envoy in front terminates TLS and says so.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_NAME = f"portico_{INSTALLATION}"
CSRF_COOKIE_NAME = f"portico_csrf_{INSTALLATION}"
CSRF_FAILURE_VIEW = "portal.views.csrf_failure"
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# State ------------------------------------------------------------------------------------------------

DATABASE_URL = env.secret("DATABASE_URL")
REDIS_URL = env.secret("REDIS_URL")
DATABASE_POOL_SIZE = env.integer("PORTICO_DATABASE_POOL_SIZE", 20, minimum=2)  # in each process
EMBEDDED_POSTGRES = not DATABASE_URL
EMBEDDED_REDIS = not REDIS_URL
if EMBEDDED_POSTGRES:
    DATABASE_URL = f"postgresql://portico@/portico?host={RUN_DIR / 'pg'}"
if EMBEDDED_REDIS:
    REDIS_URL = f"unix://{RUN_DIR / 'redis.sock'}"

DATABASES = {"default": env.database(DATABASE_URL, pool_size=DATABASE_POOL_SIZE)}
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": f"portico.{INSTALLATION}",
    }
}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL], "prefix": f"portico.{INSTALLATION}"},
    }
}
SESSION_ENGINE = "django.contrib.sessions.backends.db"

# Celery -------------------------------------------------------------------------------------------------

CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://", 1)
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "global_keyprefix": f"portico.{INSTALLATION}.",
    "visibility_timeout": 600,
}
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False

# API ----------------------------------------------------------------------------------------------------

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["api.identity.TokenAuthentication"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "EXCEPTION_HANDLER": "api.arm.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "DEFAULT_SCHEMA_CLASS": "api.schemas.document.ArmSchema",
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Portico REST API",
    "DESCRIPTION": "Azure's REST dialect for machine learning, spoken by Portico. docs/api.md tells its rules.",
    "VERSION": VERSION,
    "OAS_VERSION": "3.1.0",
    "DEFAULT_GENERATOR_CLASS": "api.schemas.document.Document",
    "SERVE_URLCONF": "api.urls",
    "SERVE_INCLUDE_SCHEMA": False,
    "POSTPROCESSING_HOOKS": [],  # the schemas name what is to have a name
    "APPEND_COMPONENTS": {
        "securitySchemes": {
            "AccessToken": {
                "type": "http",
                "scheme": "bearer",
                "description": "A personal access token, `ptc_…`: Account, Access tokens.",
            }
        }
    },
}

# Logs ---------------------------------------------------------------------------------------------------

LOG_LEVEL = env.string("PORTICO_LOG_LEVEL", "INFO").upper()
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "%(asctime)s %(levelname).1s [%(process)d] %(name)s - %(message)s"},
    },
    "filters": {"secrets": {"()": "portal.quiet.WithoutSignInLinks"}},
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["secrets"]}
    },
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {
        "axes": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
        "celery.worker.strategy": {"level": "WARNING"},
        "httpx": {"level": "WARNING"},
    },
}
