"""Columns, constraints and predicates. The rules are in `services/`."""

from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django_otp.models import Device
from uuid_utils.compat import uuid7

from audit.book import record
from audit.clients import Client
from audit.events import Event
from tenancy.constraints import Grant, Policy, Reference, tenant_walls
from tenancy.context import tenant_scope

from .addresses import AddressParts, canonical_email
from .hashers import normal

_WRITABLE = ["SELECT", "INSERT", "UPDATE", "DELETE"]


class CreatorManager(BaseUserManager["Creator"]):
    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "Creator":
        """An operator with every right, for `createsuperuser`; never reachable through the API."""
        creator = self.model(
            email=canonical_email(email), holds_email=True, is_staff=True, is_superuser=True, **fields
        )
        creator.set_password(password)
        with tenant_scope(creator.pk):
            creator.save(force_insert=True)
            record(Event.OPERATOR_CREATED, client=Client(), creator_id=creator.pk, role="superuser")
        return creator

    def tenants(self) -> models.QuerySet["Creator"]:
        """Without the operators."""
        return self.filter(is_staff=False, is_superuser=False)

    def get_by_natural_key(self, username: str | None) -> "Creator":
        return self.get(email=canonical_email(username or ""), holds_email=True)


class Creator(AbstractBaseUser, PermissionsMixin):
    """The tenant; also, with `is_staff`, an operator, whom no policy shows to the app role.

    Several rows may bear one e-mail address while nobody has confirmed it: each sign-up keeps its
    own password. The one that `holds_email` is the account.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    email = models.CharField(max_length=254)  # canonical, see addresses.py
    holds_email = models.BooleanField(default=False)
    email_verified_at = models.DateTimeField(null=True, blank=True)
    display_name = models.CharField(max_length=100, blank=True)
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    objects: ClassVar[CreatorManager] = CreatorManager()

    class Meta:
        db_table = "creators"
        permissions: ClassVar = [  # beside Django's own; accounts/roles.py says whose they are
            ("lift_lock", "Can lift a lock of the sign-in"),
            ("end_sessions", "Can end sessions"),
            ("send_reset", "Can send a mail to reset the password"),
            ("deactivate_creator", "Can deactivate and reactivate"),
            ("mark_verified", "Can mark an e-mail address as verified"),
        ]
        indexes: ClassVar = [
            # no pending list: a sign-up pays for itself, and none waits until everybody's is worked off
            GinIndex(AddressParts("email"), name="creators_address_parts", fastupdate=False)
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["email"], condition=models.Q(holds_email=True), name="creators_email_held_once"
            ),
            *tenant_walls(
                "creators",
                field="id",
                app=[
                    "SELECT",
                    "INSERT",
                    "UPDATE (password, last_login, email, holds_email, email_verified_at, display_name)",
                    "DELETE",
                ],
                operator=_WRITABLE,
            ),
            Policy(
                name="creators_no_staff",
                role="app",
                expression="NOT is_staff AND NOT is_superuser",
                restrictive=True,
            ),
            Policy(name="creators_lookup", role="lookup", expression="true"),
            Grant(
                name="creators_lookup_grant", role="lookup", privileges=["SELECT (id, email, holds_email)"]
            ),
        ]

    def __str__(self) -> str:
        return self.email

    def set_password(self, raw_password: str | None) -> None:
        """For Django's own commands; everything else hashes outside of transactions, in services."""
        super().set_password(raw_password if raw_password is None else normal(raw_password))

    def check_password(self, raw_password: str | None) -> bool:
        return super().check_password(raw_password if raw_password is None else normal(raw_password))


class TenantModel(models.Model):
    """What every table of a creator has: a UUIDv7 key, and `creator_id` in all its references."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    creator = models.ForeignKey(
        Creator, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    creator_id: UUID

    class Meta:
        abstract = True


def _walls(table: str, *, app: list[str]) -> list[models.BaseConstraint]:
    return [
        models.UniqueConstraint(fields=["creator", "id"], name=f"{table}_tenant_key"),
        Reference(name=f"{table}_creator", fields=["creator"], to="accounts.Creator", to_fields=["id"]),
        *tenant_walls(table, app=app, operator=_WRITABLE),
    ]


def _session_reference(table: str) -> Reference:
    return Reference(
        name=f"{table}_session",
        fields=["creator", "session"],
        to="accounts.Session",
        to_fields=["creator", "id"],
    )


class Session(TenantModel):
    """One sign-in on one device: a family of refresh tokens, and the access tokens that go with it."""

    class End(models.TextChoices):
        LOGOUT = "logout"
        LOGOUT_ALL = "logout_all"
        REUSE = "reuse"
        PASSWORD = "password"  # changed or reset
        CAP = "cap"  # of parallel sessions
        ENDED = "ended"  # by the creator, from another one
        REVOKED = "revoked"  # by a resource server
        EMAIL = "email"  # a change of address was undone
        SUPPORT = "support"  # by an operator

    created_at = models.DateTimeField()
    last_used_at = models.DateTimeField()  # sign-in or refresh
    expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    end_reason = models.CharField(max_length=16, choices=End.choices, blank=True)
    ip_address = models.GenericIPAddressField(null=True)
    user_agent = models.TextField(blank=True)
    device = models.CharField(max_length=100, blank=True)  # "Firefox on Linux"

    class Meta:
        db_table = "sessions"
        indexes: ClassVar = [
            models.Index(fields=["creator", "-created_at"], name="sessions_newest"),
            models.Index(fields=["expires_at"], name="sessions_expiry"),
        ]
        constraints: ClassVar = _walls(
            "sessions", app=["SELECT", "INSERT", "UPDATE (last_used_at, ended_at, end_reason)"]
        )

    def __str__(self) -> str:
        return f"session {self.id}"

    def is_alive(self, now: datetime, idle: timedelta) -> bool:
        """Not ended, not over, and used within `idle` (zero: that doesn't matter)."""
        in_use = not idle or now < self.last_used_at + idle
        return self.ended_at is None and now < self.expires_at and in_use


class RefreshToken(TenantModel):
    """The state of one refresh token; its id is the `jti`. The token itself is stored nowhere.

    `created_at` and the session's end are the token's `iat` and `exp`, and `kid` names the key:
    enough to mint the very same token again.
    """

    session = models.ForeignKey(
        Session, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    parent = models.ForeignKey(
        "self", models.DO_NOTHING, null=True, db_constraint=False, db_index=False, related_name="+"
    )
    kid = models.CharField(max_length=64)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    session_id: UUID

    class Meta:
        db_table = "refresh_tokens"
        indexes: ClassVar = [
            models.Index(fields=["creator", "session"], name="refresh_tokens_family"),
            models.Index(fields=["expires_at"], name="refresh_tokens_expiry"),
        ]
        constraints: ClassVar = [
            *_walls("refresh_tokens", app=["SELECT", "INSERT", "UPDATE (used_at)"]),
            _session_reference("refresh_tokens"),
            Reference(
                name="refresh_tokens_parent",
                fields=["creator", "parent"],
                to="accounts.RefreshToken",
                to_fields=["creator", "id"],
            ),
            # one refresh token has one successor, whatever the code above it does
            models.UniqueConstraint(fields=["creator", "parent"], name="refresh_tokens_one_successor"),
        ]

    def __str__(self) -> str:
        return f"refresh token {self.id}"


class BlacklistedToken(TenantModel):
    """An access token that died before its time; its id is the `jti`."""

    expires_at = models.DateTimeField()

    class Meta:
        db_table = "jwt_blacklist"
        indexes: ClassVar = [models.Index(fields=["expires_at"], name="jwt_blacklist_expiry")]
        constraints: ClassVar = _walls("jwt_blacklist", app=["SELECT", "INSERT"])

    def __str__(self) -> str:
        return f"blacklisted {self.id}"


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
        constraints: ClassVar = _walls(
            "email_verification_tokens", app=["SELECT", "INSERT", "UPDATE (used_at, attempts)"]
        )

    def __str__(self) -> str:
        return f"e-mail verification {self.id}"


class PasswordResetToken(LinkToken):
    class Meta:
        db_table = "password_reset_tokens"
        indexes: ClassVar = [models.Index(fields=["expires_at"], name="password_reset_tokens_expiry")]
        constraints: ClassVar = _walls("password_reset_tokens", app=["SELECT", "INSERT", "UPDATE (used_at)"])

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
        constraints: ClassVar = _walls(
            "email_changes", app=["SELECT", "INSERT", "UPDATE (confirmed_at, undone_at)"]
        )

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
        constraints: ClassVar = _walls("security_notices", app=["SELECT", "INSERT"])

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"


class UserSession(TenantModel):
    """The session of an anonymous end user of a creator."""

    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    metadata = models.JSONField(default=dict)

    class Meta:
        db_table = "user_sessions"
        indexes: ClassVar = [
            models.Index(fields=["creator", "-created_at"], name="user_sessions_newest"),
            models.Index(fields=["expires_at"], name="user_sessions_expiry"),
        ]
        constraints: ClassVar = _walls("user_sessions", app=_WRITABLE)

    def __str__(self) -> str:
        return f"end-user session {self.id}"


class Operator(Creator):
    """Staff, as superusers look after them."""

    class Meta:
        proxy = True


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
            Reference(name="authenticators_user", fields=["user"], to="accounts.Creator", to_fields=["id"]),
            Grant(name="authenticators_grant", role="operator", privileges=_WRITABLE),
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
            Reference(
                name="recovery_codes_authenticator",
                fields=["authenticator"],
                to="accounts.Authenticator",
                to_fields=["id"],
            ),
            Grant(name="recovery_codes_grant", role="operator", privileges=_WRITABLE),
        ]

    def __str__(self) -> str:
        return f"recovery code {self.pk}"


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
            Grant(name="signing_keys_operator_grant", role="operator", privileges=_WRITABLE),
        ]

    def __str__(self) -> str:
        return self.kid


class LoginReservation(models.Model):
    """An attempt whose password is being looked at; the functions of migration 0004 keep the count."""

    id = models.UUIDField(primary_key=True)
    door = models.CharField(max_length=16)
    username = models.CharField(max_length=255)
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "login_reservations"
        indexes: ClassVar = [models.Index(fields=["username", "door"], name="login_reservations_in_flight")]
        constraints: ClassVar = [
            Grant(name="login_reservations_lookup", role="lookup", privileges=["SELECT", "INSERT", "DELETE"]),
            Grant(name="login_reservations_operator", role="operator", privileges=_WRITABLE),
        ]

    def __str__(self) -> str:
        return str(self.id)


class Counter(models.Model):
    """A rate limit's count in its window; see counters.py."""

    key = models.CharField(primary_key=True, max_length=255)
    value = models.BigIntegerField()
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "counters"
        indexes: ClassVar = [models.Index(fields=["expires_at"], name="counters_expiry")]
        constraints: ClassVar = [
            Grant(name="counters_app_grant", role="app", privileges=_WRITABLE),
            Grant(name="counters_operator_grant", role="operator", privileges=_WRITABLE),
        ]

    def __str__(self) -> str:
        return self.key


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
            Grant(name="api_keys_operator_grant", role="operator", privileges=_WRITABLE),
        ]

    def __str__(self) -> str:
        return self.name
