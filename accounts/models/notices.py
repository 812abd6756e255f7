"""Security notices, and emails that were refused."""

from typing import ClassVar

from django.db import models
from uuid_utils.compat import uuid7

from tenancy.constraints import CompositeForeignKey, Grant

from .base import WRITABLE, TenantModel, creator_table_constraints
from .creators import Creator


class SecurityNotice(TenantModel):
    """A security event to report to the owner by email, at the address that the account had at that time."""

    class Kind(models.TextChoices):
        PASSWORD_CHANGED = "password_changed"
        PASSWORD_RESET = "password_reset"
        ACCOUNT_LOCKED = "account_locked"
        NEW_DEVICE = "new_device"
        TOKEN_REUSED = "token_reused"
        EMAIL_CHANGED = "email_changed"
        EMAIL_CHANGE_UNDONE = "email_change_undone"
        SUPPORT_ENDED_SESSIONS = "support_ended_sessions"
        SUPPORT_DEACTIVATED = "support_deactivated"
        SUPPORT_REACTIVATED = "support_reactivated"
        SUPPORT_VERIFIED = "support_verified"
        # to operators, about their own account
        SECOND_FACTOR_SET_UP = "second_factor_set_up"
        SECOND_FACTOR_RESET = "second_factor_reset"
        SECOND_FACTOR_LOCKED = "second_factor_locked"
        RECOVERY_CODE_USED = "recovery_code_used"
        RECOVERY_CODES_RENEWED = "recovery_codes_renewed"
        RIGHTS_CHANGED = "rights_changed"

    kind = models.CharField(max_length=32)  # a Kind; without choices, so that a new one needs no migration
    email = models.CharField(max_length=254)
    at = models.DateTimeField()
    until = models.DateTimeField(null=True)  # of a lock
    ip_address = models.GenericIPAddressField(null=True)
    device = models.CharField(max_length=100, blank=True)
    sent_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "security_notices"
        indexes: ClassVar = [models.Index(fields=["creator", "sent_at"], name="security_notices_unsent")]
        constraints: ClassVar = creator_table_constraints("security_notices", app=["SELECT", "INSERT"])

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"


class RefusedMail(models.Model):
    """An email that the mail server refused permanently, for operators. Deleted with its account."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    account = models.ForeignKey(Creator, models.DO_NOTHING, null=True, db_constraint=False, related_name="+")
    email = models.CharField(max_length=254)
    kind = models.CharField(max_length=32)  # the template in templates/mails/
    stage = models.CharField(max_length=16)
    code = models.PositiveSmallIntegerField()  # of the SMTP reply (RFC 5321)
    reply = models.CharField(max_length=200)  # of the server, without the address
    at = models.DateTimeField()

    class Meta:
        db_table = "refused_mails"
        verbose_name, verbose_name_plural = "refused mail", "refused mails"
        indexes: ClassVar = [models.Index(fields=["at"], name="refused_mails_at")]
        constraints: ClassVar = [
            CompositeForeignKey(
                name="refused_mails_account", fields=["account"], to="accounts.Creator", to_fields=["id"]
            ),
            Grant(name="refused_mails_operator_grant", role="operator", privileges=WRITABLE),
        ]

    def __str__(self) -> str:
        return f"refused mail {self.id}"
