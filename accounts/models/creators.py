from typing import Any, ClassVar
from uuid import UUID

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from uuid_utils.compat import uuid7

from accounts.email_addresses import (
    STORED_FORM,
    AddressField,
    AddressParts,
    InvalidAddressError,
    canonical_email,
    display_email,
)
from accounts.passwords.hashers import normalize, weak_bcrypt_pattern
from accounts.permissions import CREATOR_PERMISSIONS
from audit.events import Event
from audit.recorder import record
from audit.requests.client_info import ClientInfo
from tenancy.constraints import Grant, Policy, tenant_constraints
from tenancy.context import tenant_scope

from .base import WRITABLE

BCRYPT = models.Q(("password__startswith", "bcrypt"))


class CreatorManager(BaseUserManager["Creator"]):
    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "Creator":
        """An operator with every right, for `createsuperuser`; never reachable through the API."""
        creator = self.model(
            email=canonical_email(email), holds_email=True, is_staff=True, is_superuser=True, **fields
        )
        creator.set_password(password)
        with tenant_scope(creator.pk):
            creator.save(force_insert=True)
            # here and not in a service, so that no way to make a superuser goes unrecorded
            record(Event.OPERATOR_CREATED, client=ClientInfo(), creator_id=creator.pk, role="superuser")
        return creator

    def tenants(self) -> models.QuerySet["Creator"]:
        """Without the operators."""
        return self.filter(is_staff=False, is_superuser=False)

    def weak_password_hashes(self) -> models.QuerySet["Creator"]:
        """Accounts with an imported bcrypt hash that costs less than BCRYPT_ROUNDS; uses a partial index."""
        return self.filter(BCRYPT, password__regex=weak_bcrypt_pattern())

    def lock_row(self, creator_id: UUID) -> "Creator | None":
        """Lock the account's row until the transaction ends; returns the account, None if there is none.

        Lock it before any row that belongs to it: a deletion of the account locks in this order.
        """
        return self.select_for_update(no_key=True).filter(pk=creator_id).first()

    def end_links(self, creator_id: UUID) -> None:
        """A recovery step: of earlier one-time links, only those that undo a change of address stay valid.

        While the password must be reset, this changes nothing: an attacker must not end the reset link.
        """
        self.filter(pk=creator_id, must_reset_password=False).update(
            recovery_generation=models.F("recovery_generation") + 1
        )

    def get_by_natural_key(self, username: str | None) -> "Creator":
        try:
            email = canonical_email(username or "")
        except InvalidAddressError as error:
            raise self.model.DoesNotExist from error
        return self.get(email=email, holds_email=True)


class Creator(AbstractBaseUser, PermissionsMixin):
    """The tenant; with `is_staff` an operator, whom an RLS policy hides from the app role.

    Several rows may have the same email address until one of them is verified: each sign-up keeps its
    own password. The row that `holds_email` is the account.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    email = AddressField(max_length=254)
    holds_email = models.BooleanField(default=False)
    email_verified_at = models.DateTimeField(null=True, blank=True)
    email_undeliverable_at = models.DateTimeField(null=True, blank=True)  # refused by the mail server
    display_name = models.CharField(max_length=100, blank=True)
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)
    # counts the recovery steps: a one-time link works only in the generation that it was issued in
    recovery_generation = models.PositiveIntegerField(default=0, db_default=0)
    # set when a change of address is undone: an attacker may know the password, so it allows only a sign-in
    must_reset_password = models.BooleanField(default=False, db_default=False)

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    objects: ClassVar[CreatorManager] = CreatorManager()

    class Meta:
        db_table = "creators"
        permissions: ClassVar = CREATOR_PERMISSIONS
        indexes: ClassVar = [
            # no pending list, or some sign-up would wait while the entries of many are moved to the index
            GinIndex(AddressParts("email"), name="creators_address_parts", fastupdate=False),
            models.Index(fields=["id"], name="creators_bcrypt", condition=BCRYPT),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["email"], condition=models.Q(holds_email=True), name="creators_email_held_once"
            ),
            models.CheckConstraint(
                condition=models.Q(email__regex=STORED_FORM), name="creators_email_stored_form"
            ),
            *tenant_constraints(
                "creators",
                field="id",
                app=[
                    "SELECT",
                    "INSERT",
                    "UPDATE (password, last_login, email, holds_email, email_verified_at, display_name, "
                    "recovery_generation, must_reset_password)",
                    "DELETE",
                ],
                operator=WRITABLE,
            ),
            Policy(
                name="creators_no_staff",
                role="app",
                expression="NOT is_staff AND NOT is_superuser",
                restrictive=True,
            ),
            Policy(name="creators_lookup", role="lookup", expression="true"),
            Grant(
                name="creators_lookup_grant",
                role="lookup",
                privileges=["SELECT (id, email, holds_email, email_verified_at)"],
            ),
        ]

    def __str__(self) -> str:
        return display_email(self.email)

    def get_short_name(self) -> str:
        """Shown in the header of the admin."""
        return str(self)

    @property
    def is_undeliverable(self) -> bool:
        """Mail to the address was refused, and it was not verified since. See identify_caller.sql."""
        since, verified = self.email_undeliverable_at, self.email_verified_at
        return since is not None and (verified is None or since > verified)

    def set_password(self, raw_password: str | None) -> None:
        """For Django's own commands. Services hash with `password_hashing`, outside of transactions."""
        super().set_password(raw_password if raw_password is None else normalize(raw_password))

    def check_password(self, raw_password: str | None) -> bool:
        return super().check_password(raw_password if raw_password is None else normalize(raw_password))


class Operator(Creator):
    """Staff accounts, for the admin page on which superusers manage them."""

    class Meta:
        proxy = True
