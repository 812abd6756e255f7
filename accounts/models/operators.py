from typing import ClassVar

from django.db import models
from django_otp.models import Device

from tenancy.constraints import CompositeForeignKey, Grant

from .base import WRITABLE
from .creators import Creator


class Authenticator(Device):  # type: ignore[misc]
    """An operator's app that shows codes (TOTP, RFC 6238). The app role has no business here."""

    name = None  # there is one
    user = models.OneToOneField(Creator, models.DO_NOTHING, db_constraint=False, related_name="+")
    secret = models.BinaryField()  # encrypted under SECRET_KEY
    last_step = models.BigIntegerField()  # time step of the newest code that was used; no older one counts
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
    """Stands in for the app once; it was shown once, and only its digest is here."""

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
