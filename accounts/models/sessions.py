from typing import ClassVar
from uuid import UUID

from django.db import models
from django.db.models.lookups import LessThanOrEqual
from uuid_utils.compat import uuid7

from tenancy.constraints import CompositeForeignKey

from .base import WRITABLE, TenantModel, creator_table_constraints

METADATA_BYTES = 4096  # of an end user's session, as PostgreSQL's JSON text


class Session(TenantModel):
    """One sign-in on one device: a family of refresh tokens, and their access tokens."""

    class End(models.TextChoices):
        LOGOUT = "logout"
        LOGOUT_ALL = "logout_all"
        REUSE = "reuse"
        PASSWORD = "password"  # changed or reset
        CAP = "cap"  # MAX_SESSIONS_PER_CREATOR
        ENDED = "ended"  # by the creator, from another one
        REVOKED = "revoked"  # by a resource server
        EMAIL = "email"  # a change of address was undone
        SUPPORT = "support"  # by an operator

    created_at = models.DateTimeField()
    last_used_at = models.DateTimeField()  # sign-in or refresh
    expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    end_reason = models.CharField(max_length=16, blank=True)  # an End; no choices, see SecurityNotice.kind
    ip_address = models.GenericIPAddressField(null=True)
    user_agent = models.TextField(blank=True)
    device = models.CharField(max_length=100, blank=True)  # "Firefox on Linux"

    class Meta:
        db_table = "sessions"
        indexes: ClassVar = [
            models.Index(fields=["creator", "-created_at"], name="sessions_newest"),
            models.Index(fields=["expires_at"], name="sessions_expiry"),
        ]
        constraints: ClassVar = creator_table_constraints(
            "sessions", app=["SELECT", "INSERT", "UPDATE (last_used_at, ended_at, end_reason)"]
        )

    def __str__(self) -> str:
        return f"session {self.id}"


class RefreshToken(TenantModel):
    """The state of one refresh token; its id is the `jti`. The token itself is not stored.

    `created_at` and `expires_at` are its `iat` and `exp`, and `kid` names the key, so the same token can
    be signed again.
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
            *creator_table_constraints("refresh_tokens", app=["SELECT", "INSERT", "UPDATE (used_at)"]),
            CompositeForeignKey(
                name="refresh_tokens_session",
                fields=["creator", "session"],
                to="accounts.Session",
                to_fields=["creator", "id"],
            ),
            CompositeForeignKey(
                name="refresh_tokens_parent",
                fields=["creator", "parent"],
                to="accounts.RefreshToken",
                to_fields=["creator", "id"],
            ),
            # a refresh token has at most one successor
            models.UniqueConstraint(fields=["creator", "parent"], name="refresh_tokens_one_successor"),
        ]

    def __str__(self) -> str:
        return f"refresh token {self.id}"


class BlacklistedToken(TenantModel):
    """An access token that was revoked before it expired; its id is the `jti`.

    The primary key includes the tenant, so that one tenant can't block another's id by inserting it.
    """

    pk = models.CompositePrimaryKey("creator_id", "id")
    id = models.UUIDField(default=uuid7, editable=False)
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "jwt_blacklist"
        indexes: ClassVar = [models.Index(fields=["expires_at"], name="jwt_blacklist_expiry")]
        constraints: ClassVar = creator_table_constraints(
            "jwt_blacklist", app=["SELECT", "INSERT"], is_key=True
        )

    def __str__(self) -> str:
        return f"blacklisted {self.id}"


class StoredBytes(models.Func):
    """The length of a JSON value as PostgreSQL's text."""

    function = "octet_length"
    template = "%(function)s((%(expressions)s)::text)"
    output_field = models.IntegerField()


class EndUserSession(TenantModel):
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
        constraints: ClassVar = [
            *creator_table_constraints("user_sessions", app=WRITABLE),
            models.CheckConstraint(
                condition=LessThanOrEqual(StoredBytes("metadata"), METADATA_BYTES),
                name="user_sessions_metadata_size",
            ),
        ]

    def __str__(self) -> str:
        return f"end-user session {self.id}"
