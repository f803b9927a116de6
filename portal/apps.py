import django_stubs_ext
from django.apps import AppConfig

from portal import celery, checks

# Before any model or admin class is made: they name what they hold in brackets.
django_stubs_ext.monkeypatch()

__all__ = [
    "PortalConfig",
    "celery",
    "checks",
]  # importing them registers the tasks' app and the checks


class PortalConfig(AppConfig):
    name = "portal"
