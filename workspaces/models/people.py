"""People, and what they sign in with besides a password."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils import timezone


class TokenScope(models.TextChoices):
    """How much of its user's rights a token carries."""

    FULL = "full", "everything its user may"
    READ = "read", "read only"
    SCORE = "score", "score only"


@dataclass(frozen=True)
class Limits:
    """What a token leaves of its user's rights; `workspaces.access` applies it wherever rights are asked for."""

    scope: str
    workspace_id: int | None = None
    """The one workspace it opens; None for all of the user's."""
    token_id: int | None = None
    expires_at: datetime | None = None

    @property
    def are_none(self) -> bool:
        """Whether the token carries all that its user may."""
        return self.scope == TokenScope.FULL and self.workspace_id is None


class User(AbstractUser):
    class Theme(models.TextChoices):
        SYSTEM = "system"
        LIGHT = "light"
        DARK = "dark"

    theme = models.CharField(max_length=6, choices=Theme.choices, default=Theme.SYSTEM)

    limits: Limits | None = None
    """Set on the user of a request that came with a token; a signed-in person has none."""

    @property
    def is_program(self) -> bool:
        """Whether this is a service principal and no person."""
        return hasattr(self, "service_principal")


class PersonalTokenQuerySet(models.QuerySet["PersonalToken"]):
    def usable(self) -> PersonalTokenQuerySet:
        return self.filter(
            models.Q(expires_at__isnull=True) | models.Q(expires_at__gt=timezone.now()),
            user__is_active=True,
        )


class PersonalToken(models.Model):
    """A bearer token of a user for the API; only its SHA-256 is kept."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="personal_tokens")
    name = models.CharField(max_length=100)
    digest = models.CharField(max_length=64, unique=True)
    scope = models.CharField(max_length=10, choices=TokenScope.choices, default=TokenScope.FULL)
    workspace = models.ForeignKey(
        "workspaces.Workspace",
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="+",
        help_text="The one workspace it opens; empty for all of the user's.",
    )
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    objects = PersonalTokenQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at",)
        constraints = (
            models.UniqueConstraint(fields=("user", "name"), name="personal_token_name"),
        )

    def __str__(self) -> str:
        return self.name


class SignInLink(models.Model):
    """A link that signs its user in once; only its SHA-256 is kept."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="sign_in_links")
    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(default=timezone.now)
    used_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"sign-in link of {self.user}"
