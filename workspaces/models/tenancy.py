"""Workspaces, who is in them, what they may use, and what happened there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone

from workspaces.models.people import User

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser


class Role(models.TextChoices):
    """Azure's built-in roles, strongest first (facts 13.1)."""

    OWNER = "Owner"
    CONTRIBUTOR = "Contributor"
    DATA_SCIENTIST = "AzureML Data Scientist"
    READER = "Reader"


class WorkspaceQuerySet(models.QuerySet["Workspace"]):
    def visible_to(self, user: User | AnonymousUser) -> WorkspaceQuerySet:
        """The workspaces this user is a member of, as far as their token reaches; a superuser sees all."""
        if not user.is_authenticated or not user.is_active:
            return self.none()
        limits = user.limits
        within = (
            self
            if limits is None or not limits.workspace_id
            else self.filter(pk=limits.workspace_id)
        )
        if user.is_superuser:
            return within
        return within.filter(memberships__user_id=user.pk)


class Workspace(models.Model):
    subscription_id = models.CharField(max_length=36)
    resource_group = models.CharField(max_length=90)
    name = models.CharField(max_length=33)
    location = models.CharField(max_length=40, default="local")
    display_name = models.CharField(max_length=200, blank=True)
    description = models.TextField(blank=True)
    tags = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    objects = WorkspaceQuerySet.as_manager()

    class Meta:
        ordering = ("name",)
        constraints = (
            # Pages address a workspace by its name alone, so it is unique in the installation.
            models.UniqueConstraint(Lower("name"), name="workspace_name"),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def arm_id(self) -> str:
        return (
            f"/subscriptions/{self.subscription_id}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{self.name}"
        )


class Membership(models.Model):
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=30, choices=Role.choices)
    assignment_id = models.UUIDField(
        null=True, blank=True, editable=False, help_text="The id that a client of the API chose."
    )

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("workspace", "user"), name="membership_once"),
            models.UniqueConstraint(
                fields=("workspace", "assignment_id"), name="membership_assignment"
            ),
        )

    def __str__(self) -> str:
        return f"{self.user} is {self.role} of {self.workspace}"


class Quota(models.Model):
    """An administrator's own limit for a workspace; without a row the default of `workspaces.quota` holds."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="quotas")
    resource = models.CharField(max_length=60)
    limit = models.PositiveIntegerField()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("workspace", "resource"), name="quota_once"),
        )

    def __str__(self) -> str:
        return f"{self.workspace}: {self.resource} ≤ {self.limit}"


class Activity(models.Model):
    """One verb that somebody (or the platform, `actor` null) did, with what it changed."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="activities")
    at = models.DateTimeField(default=timezone.now)
    actor = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL)
    verb = models.CharField(max_length=60)
    subject_type = models.CharField(max_length=40)
    subject = models.CharField(max_length=200)
    endpoint_name = models.CharField(max_length=32, blank=True)
    before = models.JSONField(default=dict, blank=True)
    after = models.JSONField(default=dict, blank=True)
    note = models.TextField(blank=True)

    class Meta:
        ordering = ("-at", "-pk")
        verbose_name_plural = "activities"
        indexes = (
            models.Index(fields=("workspace", "-at"), name="activity_recent"),
            models.Index(fields=("workspace", "endpoint_name", "-at"), name="activity_endpoint"),
        )

    def __str__(self) -> str:
        return f"{self.verb} {self.subject_type} {self.subject}"
