"""What operators see of monitoring besides charts. Rollups are not here: the admin cannot list their composite keys."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest

from monitoring.models import Follower, GatewayRejection, Heartbeat


class ReadOnly(admin.ModelAdmin):  # type: ignore[type-arg]
    """Written by `watch` alone."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(Heartbeat)
class HeartbeatAdmin(ReadOnly):
    list_display = ("name", "at", "faults")
    search_fields = ("name",)


@admin.register(Follower)
class FollowerAdmin(ReadOnly):
    list_display = ("name", "offset", "rows", "unreadable_rows", "updated_at")
    search_fields = ("name",)


@admin.register(GatewayRejection)
class GatewayRejectionAdmin(ReadOnly):
    list_display = ("endpoint_name", "resource", "message", "at")
    list_filter = ("kind",)
    search_fields = ("endpoint_name", "resource", "message")
