from django.apps import AppConfig

from portal import checks

__all__ = ["PortalConfig", "checks"]  # importing the checks registers them


class PortalConfig(AppConfig):
    name = "portal"
