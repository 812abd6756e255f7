from typing import ClassVar

from django.db import models
from django_otp.models import Device

from tenancy.constraints import CompositeForeignKey, Grant

from .base import WRITABLE
from .creators import Creator


class Authenticator(Device):  # type: ignore[misc]
    """An operator's authenticator app (TOTP, RFC 6238). The app role has no access."""

    name = None  # an operator has only one
    user = models.OneToOneField(Creator, models.DO_NOTHING, db_constraint=False, related_name="+")
    secret = models.BinaryField()  # encrypted under SECRET_KEY
    last_step = models.BigIntegerField()  # time step of the newest used code; older codes are refused
    created_at = models.DateTimeField()

    class Meta:
        db_table = "authenticators"
        constraints: ClassVar = [
            CompositeForeignKey(
                name="authenticators_user", fields=["user"], to="accounts.Creator", to_fields=["id"]
            ),
            Grant(name="authenticators_grant", role="operator", privileges=WRITABLE),
        ]

    def __str__(self) -> str:
        return f"authenticator {self.pk}"


class RecoveryCode(models.Model):
    """Replaces a code of the app, once. It was shown once; only its digest is stored."""

    authenticator = models.ForeignKey(
        Authenticator, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="recovery_codes"
    )
    digest = models.BinaryField(max_length=32)
    used_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "recovery_codes"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["authenticator", "digest"], name="recovery_codes_once"),
            CompositeForeignKey(
                name="recovery_codes_authenticator",
                fields=["authenticator"],
                to="accounts.Authenticator",
                to_fields=["id"],
            ),
            Grant(name="recovery_codes_grant", role="operator", privileges=WRITABLE),
        ]

    def __str__(self) -> str:
        return f"recovery code {self.pk}"
