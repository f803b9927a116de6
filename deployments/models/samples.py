"""The wish for the sample endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from django.db import models

from workspaces.lifecycle import Lifecycle, LifecycleQuerySet
from workspaces.models import User, Workspace


class SampleLoad(Lifecycle):
    """The wish to have the sample endpoint in a workspace, worked off like any other."""

    class State(models.TextChoices):
        WANTED = "Wanted"
        DEPLOYING = "Deploying"
        DONE = "Done"
        FAILED = "Failed"

    MOVES: ClassVar[Mapping[str, set[str]]] = {
        State.WANTED: {State.DEPLOYING, State.FAILED},
        State.DEPLOYING: {State.DONE, State.FAILED},
        State.DONE: {State.WANTED},
        State.FAILED: {State.WANTED},
    }

    workspace = models.OneToOneField(
        Workspace, on_delete=models.CASCADE, related_name="sample_load"
    )
    wanted_by = models.ForeignKey(
        User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    message = models.TextField(blank=True)
    """What it does, or why it failed."""

    objects = LifecycleQuerySet["SampleLoad"].as_manager()

    class Meta:
        verbose_name = "sample"

    def __str__(self) -> str:
        return f"sample of {self.workspace}"
