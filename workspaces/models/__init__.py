"""Tenancy, assets and compute: the ground floor's facts."""

from workspaces.models.assets import (
    Code,
    CodeVersion,
    Component,
    ComponentVersion,
    Data,
    DataVersion,
    Environment,
    EnvironmentVersion,
    Model,
    ModelVersion,
)
from workspaces.models.compute import Compute, ComputeEngine, InstanceType
from workspaces.models.datastores import Datastore
from workspaces.models.people import Limits, PersonalToken, SignInLink, TokenScope, User
from workspaces.models.principals import FederatedCredential, PrincipalSecret, ServicePrincipal
from workspaces.models.tenancy import Activity, Membership, Quota, Role, Workspace
from workspaces.models.uploads import UploadedFile, UploadedPiece

__all__ = [
    "Activity",
    "Code",
    "CodeVersion",
    "Component",
    "ComponentVersion",
    "Compute",
    "ComputeEngine",
    "Data",
    "DataVersion",
    "Datastore",
    "Environment",
    "EnvironmentVersion",
    "FederatedCredential",
    "InstanceType",
    "Limits",
    "Membership",
    "Model",
    "ModelVersion",
    "PersonalToken",
    "PrincipalSecret",
    "Quota",
    "Role",
    "ServicePrincipal",
    "SignInLink",
    "TokenScope",
    "UploadedFile",
    "UploadedPiece",
    "User",
    "Workspace",
]
