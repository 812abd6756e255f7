"""What is sent by mail, and waits for an answer."""

from typing import Any, ClassVar, Self
from uuid import UUID

from django.db import models
from django.db.models import F
from django.utils import timezone
from uuid_utils.compat import uuid7

from accounts import link_tokens
from tenancy.constraints import CompositeForeignKey, Grant, Policy

from .base import WRITABLE, TenantModel, creator_table_constraints
from .creators import Creator


class LinkTokenQuerySet(models.QuerySet["LinkToken"]):
    def matching(self, link: link_tokens.Link) -> Self:
        """The token of this link, if it has not expired and its account is active."""
        return self.filter(
            creator_id=link.creator_id,
            digest=link.digest,
            expires_at__gt=timezone.now(),
            creator__is_active=True,
        )

    def alive(self, link: link_tokens.Link) -> Self:
        """The same, if the account still has the address and the recovery generation of the token."""
        return self.matching(link).filter(
            email=F("creator__email"), recovery_generation=F("creator__recovery_generation")
        )

    def issue(self, creator_id: UUID, **columns: Any) -> link_tokens.Link:
        """A new link; only the digest of its token is stored."""
        link = link_tokens.new(creator_id)
        self.create(creator_id=creator_id, digest=link.digest, created_at=timezone.now(), **columns)
        return link


class LinkToken(TenantModel):
    """A token sent by mail, of which only the SHA-256 digest is stored.

    `email` and `recovery_generation` are those of the account when the link was made. If either
    changes, the link is dead; only a link that undoes a change of address stays alive
    (docs/one-time-links.md).
    """

    digest = models.BinaryField(max_length=32)
    email = models.CharField(max_length=254)
    recovery_generation = models.PositiveIntegerField()
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    objects: ClassVar = LinkTokenQuerySet.as_manager()

    class Meta:
        abstract = True


class EmailVerificationToken(LinkToken):
    attempts = models.PositiveSmallIntegerField(default=0)  # passwords tried with the link

    class Meta:
        db_table = "email_verification_tokens"
        indexes: ClassVar = [models.Index(fields=["expires_at"], name="email_verification_expiry")]
        constraints: ClassVar = creator_table_constraints(
            "email_verification_tokens", app=["SELECT", "INSERT", "UPDATE (used_at, attempts)"]
        )

    def __str__(self) -> str:
        return f"e-mail verification {self.id}"


class PasswordResetToken(LinkToken):
    class Meta:
        db_table = "password_reset_tokens"
        indexes: ClassVar = [models.Index(fields=["expires_at"], name="password_reset_tokens_expiry")]
        constraints: ClassVar = creator_table_constraints(
            "password_reset_tokens", app=["SELECT", "INSERT", "UPDATE (used_at)"]
        )

    def __str__(self) -> str:
        return f"password reset {self.id}"


class EmailChangeQuerySet(models.QuerySet["EmailChange"]):
    def reserving(self, email: str) -> Self:
        """The changes whose undo could still need this address back."""
        return self.filter(
            old_email=email, confirmed_at__isnull=False, undone_at=None, undo_expires_at__gt=timezone.now()
        )


class EmailChange(TenantModel):
    """A change of address: confirmed by a link to the new address, undone by a link to the old one.

    `number` orders the changes of one account. At most the newest one can be confirmed; undoing one
    undoes all later ones.
    """

    number = models.PositiveIntegerField()
    old_email = models.CharField(max_length=254)
    new_email = models.CharField(max_length=254)
    recovery_generation = models.PositiveIntegerField()  # of the account when the change was requested
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()  # of the confirmation
    undo_expires_at = models.DateTimeField()
    confirmed_at = models.DateTimeField(null=True)
    superseded_at = models.DateTimeField(null=True)  # by a newer request
    undone_at = models.DateTimeField(null=True)

    objects: ClassVar = EmailChangeQuerySet.as_manager()

    class Meta:
        db_table = "email_changes"
        indexes: ClassVar = [
            models.Index(fields=["undo_expires_at"], name="email_changes_expiry"),
            models.Index(
                fields=["old_email"],
                name="email_changes_reserved",
                condition=models.Q(confirmed_at__isnull=False, undone_at=None),
            ),
        ]
        constraints: ClassVar = [
            *creator_table_constraints(
                "email_changes",
                app=["SELECT", "INSERT", "UPDATE (confirmed_at, superseded_at, undone_at)"],
            ),
            models.UniqueConstraint(fields=["creator", "number"], name="email_changes_in_order"),
            # for the triggers that keep an old address reserved while its change can be undone, and that
            # erase what was recorded at the addresses of an account with its row
            Policy(name="email_changes_lookup", role="lookup", expression="true"),
            Grant(
                name="email_changes_lookup_grant",
                role="lookup",
                privileges=[
                    "SELECT (creator_id, old_email, new_email, confirmed_at, undone_at, undo_expires_at)"
                ],
            ),
        ]

    def __str__(self) -> str:
        return f"e-mail change {self.id}"


class EmailChangeToken(LinkToken):
    """A link that confirms or undoes a change of address."""

    class Purpose(models.TextChoices):
        CONFIRM = "confirm"
        UNDO = "undo"

    change = models.ForeignKey(
        EmailChange, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="tokens"
    )
    purpose = models.CharField(max_length=8, choices=Purpose.choices)

    class Meta:
        db_table = "email_change_tokens"
        indexes: ClassVar = [models.Index(fields=["expires_at"], name="email_change_tokens_expiry")]
        constraints: ClassVar = [
            *creator_table_constraints("email_change_tokens", app=["SELECT", "INSERT", "UPDATE (used_at)"]),
            CompositeForeignKey(
                name="email_change_tokens_change",
                fields=["creator", "change"],
                to="accounts.EmailChange",
                to_fields=["creator", "id"],
            ),
        ]

    def __str__(self) -> str:
        return f"e-mail change link {self.id}"


class SecurityNotice(TenantModel):
    """Something that the owner should learn by mail, at the address that the account had at that time."""

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
        # to operators
        SECOND_FACTOR_SET_UP = "second_factor_set_up"
        SECOND_FACTOR_RESET = "second_factor_reset"
        SECOND_FACTOR_LOCKED = "second_factor_locked"
        RECOVERY_CODE_USED = "recovery_code_used"
        RECOVERY_CODES_RENEWED = "recovery_codes_renewed"
        RIGHTS_CHANGED = "rights_changed"

    kind = models.CharField(max_length=32, choices=Kind.choices)
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
    """A mail that the server refused for good; for operators. It goes with the account that it was for."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    account = models.ForeignKey(Creator, models.DO_NOTHING, null=True, db_constraint=False, related_name="+")
    email = models.CharField(max_length=254)
    kind = models.CharField(max_length=32)  # of templates/mails/
    stage = models.CharField(max_length=16)
    code = models.PositiveSmallIntegerField()  # of the reply (RFC 5321)
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
