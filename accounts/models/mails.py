"""What is sent by mail, and waits for an answer."""

from typing import ClassVar

from django.db import models

from tenancy.constraints import Grant, Policy

from .tenants import TenantModel, walls


class LinkToken(TenantModel):
    """A token sent by mail, of which only the SHA-256 digest stays here."""

    digest = models.BinaryField(max_length=32)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    class Meta:
        abstract = True


class EmailVerificationToken(LinkToken):
    attempts = models.PositiveSmallIntegerField(default=0)  # passwords tried with the link

    class Meta:
        db_table = "email_verification_tokens"
        indexes: ClassVar = [models.Index(fields=["expires_at"], name="email_verification_expiry")]
        constraints: ClassVar = walls(
            "email_verification_tokens", app=["SELECT", "INSERT", "UPDATE (used_at, attempts)"]
        )

    def __str__(self) -> str:
        return f"e-mail verification {self.id}"


class PasswordResetToken(LinkToken):
    class Meta:
        db_table = "password_reset_tokens"
        indexes: ClassVar = [models.Index(fields=["expires_at"], name="password_reset_tokens_expiry")]
        constraints: ClassVar = walls("password_reset_tokens", app=["SELECT", "INSERT", "UPDATE (used_at)"])

    def __str__(self) -> str:
        return f"password reset {self.id}"


class EmailChange(TenantModel):
    """A change of address on its way: confirmed from the new one, undone from the old one."""

    old_email = models.CharField(max_length=254)
    new_email = models.CharField(max_length=254)
    confirm_digest = models.BinaryField(max_length=32, null=True)  # both set when the mails are written
    undo_digest = models.BinaryField(max_length=32, null=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()  # of the confirmation
    undo_expires_at = models.DateTimeField()
    confirmed_at = models.DateTimeField(null=True)
    undone_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "email_changes"
        indexes: ClassVar = [models.Index(fields=["undo_expires_at"], name="email_changes_expiry")]
        constraints: ClassVar = [
            *walls("email_changes", app=["SELECT", "INSERT", "UPDATE (confirmed_at, undone_at)"]),
            # the deletion of an account erases what was recorded at its earlier addresses, too
            Policy(name="email_changes_lookup", role="lookup", expression="true"),
            Grant(
                name="email_changes_lookup_grant",
                role="lookup",
                privileges=["SELECT (creator_id, old_email, new_email, confirmed_at)"],
            ),
        ]

    def __str__(self) -> str:
        return f"e-mail change {self.id}"


class SecurityNotice(TenantModel):
    """Something the owner should hear about by mail, with what else happened around then."""

    class Kind(models.TextChoices):
        PASSWORD_CHANGED = "password_changed"
        PASSWORD_RESET = "password_reset"
        ACCOUNT_LOCKED = "account_locked"
        NEW_DEVICE = "new_device"
        TOKEN_REUSED = "token_reused"
        EMAIL_CHANGED = "email_changed"
        SUPPORT_ENDED_SESSIONS = "support_ended_sessions"
        SUPPORT_DEACTIVATED = "support_deactivated"
        SUPPORT_REACTIVATED = "support_reactivated"
        SUPPORT_VERIFIED = "support_verified"
        # to operators
        SECOND_FACTOR_SET_UP = "second_factor_set_up"
        SECOND_FACTOR_RESET = "second_factor_reset"
        SECOND_FACTOR_LOCKED = "second_factor_locked"
        RECOVERY_CODE_USED = "recovery_code_used"
        RECOVERY_CODES_RENEWED = "recovery_codes_renewed"
        RIGHTS_CHANGED = "rights_changed"

    kind = models.CharField(max_length=32, choices=Kind.choices)
    at = models.DateTimeField()
    until = models.DateTimeField(null=True)  # of a lock
    ip_address = models.GenericIPAddressField(null=True)
    device = models.CharField(max_length=100, blank=True)
    sent_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "security_notices"
        indexes: ClassVar = [models.Index(fields=["creator", "sent_at"], name="security_notices_unsent")]
        constraints: ClassVar = walls("security_notices", app=["SELECT", "INSERT"])

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"
