"""One-time links that are sent by email, and the changes of address that they confirm or undo."""

from typing import Any, ClassVar, Self
from uuid import UUID

from django.db import models
from django.db.models import F
from django.utils import timezone

from accounts import link_tokens
from tenancy.constraints import CompositeForeignKey, Grant, Policy

from .base import TenantModel, creator_table_constraints


class LinkTokenQuerySet(models.QuerySet["LinkToken"]):
    def matching(self, link: link_tokens.Link) -> Self:
        """The token of the link, if it has not expired and its account is active. It may be used."""
        return self.filter(
            creator_id=link.creator_id,
            digest=link.digest,
            expires_at__gt=timezone.now(),
            creator__is_active=True,
        )

    def valid(self, link: link_tokens.Link) -> Self:
        """`matching`, if the account still has the address and the recovery generation of the token."""
        return self.matching(link).filter(
            email=F("creator__email"), recovery_generation=F("creator__recovery_generation")
        )

    def issue(self, creator_id: UUID, **columns: Any) -> link_tokens.Link:
        """A new link; only the digest of its token is stored."""
        link = link_tokens.new(creator_id)
        self.create(creator_id=creator_id, digest=link.digest, created_at=timezone.now(), **columns)
        return link


class LinkToken(TenantModel):
    """A token sent by email, of which only the SHA-256 digest is stored.

    `email` and `recovery_generation` are the account's when the link was issued. If either changes, the
    link is invalid, except a link that undoes a change of address (docs/one-time-links.md).
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
        return f"email verification {self.id}"


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
        """The changes that can still be undone, which would need this address again."""
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
            # for the triggers creators_email_reserved and creators_erase_personal_data
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
        return f"email change {self.id}"


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
        return f"email change link {self.id}"
