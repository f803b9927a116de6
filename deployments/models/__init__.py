"""Deployments, their revisions, the operations on them, and the instances that run them."""

from __future__ import annotations

from deployments.models.batch import BatchDeployment
from deployments.models.builds import EnvironmentBuild
from deployments.models.debugging import DebugSession
from deployments.models.instances import Instance, InstanceSpan
from deployments.models.online import (
    PROBE_DEFAULTS,
    DeploymentState,
    OnlineDeployment,
    OnlineDeploymentQuerySet,
    Revision,
)
from deployments.models.operations import Operation, Phase
from deployments.models.samples import SampleLoad

__all__ = [
    "PROBE_DEFAULTS",
    "BatchDeployment",
    "DebugSession",
    "DeploymentState",
    "EnvironmentBuild",
    "Instance",
    "InstanceSpan",
    "OnlineDeployment",
    "OnlineDeploymentQuerySet",
    "Operation",
    "Phase",
    "Revision",
    "SampleLoad",
]
