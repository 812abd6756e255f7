"""What belongs to the service as a whole, and to no creator."""

from datetime import timedelta
from typing import ClassVar

from django.db import models
from uuid_utils.compat import uuid7

from tenancy.constraints import Grant

from .base import WRITABLE


class SigningKey(models.Model):
    """A key of the store: it is published at once, signs from `activates_at`, verifies until `expires_at`."""

    kid = models.CharField(primary_key=True, max_length=64)
    algorithm = models.CharField(max_length=8)
    private_key = models.BinaryField()  # PEM, encrypted under SECRET_KEY
    public_key = models.TextField()  # PEM
    created_at = models.DateTimeField()
    activates_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True)  # set when a successor is made

    class Meta:
        db_table = "signing_keys"
        constraints: ClassVar = [
            Grant(name="signing_keys_app_grant", role="app", privileges=["SELECT"]),
            Grant(name="signing_keys_operator_grant", role="operator", privileges=WRITABLE),
        ]

    def __str__(self) -> str:
        return self.kid


class ApiKey(models.Model):
    """A resource server's key; the key itself was printed once, and only its digest is here."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=100, unique=True)
    digest = models.BinaryField(max_length=32, unique=True)
    created_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "api_keys"
        permissions: ClassVar = [("revoke_apikey", "Can revoke an API key")]
        verbose_name, verbose_name_plural = "API key", "API keys"
        constraints: ClassVar = [
            Grant(name="api_keys_app_grant", role="app", privileges=["SELECT", "UPDATE (last_used_at)"]),
            Grant(name="api_keys_operator_grant", role="operator", privileges=WRITABLE),
        ]

    def __str__(self) -> str:
        return self.name


class LoginReservation(models.Model):
    """An attempt whose password is being looked at; the functions of migration 0016 keep the count."""

    id = models.UUIDField(primary_key=True)
    scope = models.CharField(max_length=16)
    username = models.CharField(max_length=255)
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "login_reservations"
        indexes: ClassVar = [models.Index(fields=["username", "scope"], name="login_reservations_in_flight")]
        constraints: ClassVar = [
            Grant(name="login_reservations_lookup", role="lookup", privileges=["SELECT", "INSERT", "DELETE"]),
            Grant(name="login_reservations_operator", role="operator", privileges=WRITABLE),
        ]

    def __str__(self) -> str:
        return str(self.id)


class LockoutLimits(models.Model):
    """The one row: MAX_FAILED_LOGIN_ATTEMPTS and ACCOUNT_LOCKOUT_DURATION, which the worker keeps equal.

    The functions that count failures read it, so that the app's role can't ask for laxer limits.
    """

    id = models.SmallIntegerField(primary_key=True, default=1)
    attempts = models.PositiveIntegerField()
    duration = models.DurationField()

    class Meta:
        db_table = "lockout_limits"
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(id=1, attempts__gt=0, duration__gt=timedelta(0)),
                name="lockout_limits_sane",
            ),
            Grant(name="lockout_limits_lookup", role="lookup", privileges=["SELECT"]),
            Grant(name="lockout_limits_operator", role="operator", privileges=WRITABLE),
        ]

    def __str__(self) -> str:
        return f"{self.attempts} in {self.duration}"


class Counter(models.Model):
    """A rate limit's count in its window; see ratelimits/cache.py."""

    key = models.CharField(primary_key=True, max_length=255)
    value = models.BigIntegerField()
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "counters"
        indexes: ClassVar = [models.Index(fields=["expires_at"], name="counters_expiry")]
        constraints: ClassVar = [
            Grant(name="counters_app_grant", role="app", privileges=WRITABLE),
            Grant(name="counters_operator_grant", role="operator", privileges=WRITABLE),
        ]

    def __str__(self) -> str:
        return self.key
