from typing import ClassVar

from django.db import models
from django.db.models.functions import Now
from uuid_utils.compat import uuid7

from tenancy.constraints import Grant, Policy, tenant_constraints

_INSERT_EVENT = "INSERT (id, creator_id, at, type, request_id, detail, personal_digest)"


class CurrentTransaction(models.Func):
    """The 64-bit number of the current transaction."""

    template = "pg_current_xact_id()::text::bigint"
    output_field = models.BigIntegerField()


class AuditLog(models.Model):
    """An event. Append-only: grants and triggers refuse UPDATE, DELETE and TRUNCATE.

    The table is partitioned by month, by the time in the UUIDv7. Events outlive their creator, so there is
    no foreign key; an event without a tenant has the nil UUID. Sealing needs `written_at` and `written_xid`:
    the database sets them, and only the owner can set others. Only the SQL function `record_event`, owned
    by the lookup role, inserts rows.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    creator_id = models.UUIDField()
    at = models.DateTimeField()
    type = models.CharField(max_length=64)  # an events.Event
    request_id = models.CharField(max_length=64)
    detail = models.JSONField()
    personal_digest = models.BinaryField(null=True)  # SHA-256 of salt and personal data
    written_at = models.DateTimeField(db_default=Now(), editable=False)
    written_xid = models.BigIntegerField(db_default=CurrentTransaction(), editable=False)

    class Meta:
        db_table = "audit_logs"
        verbose_name = verbose_name_plural = "audit log"
        permissions: ClassVar = [("export_auditlog", "Can export the audit log")]
        indexes: ClassVar = [
            models.Index(fields=["type", "id"], name="audit_logs_type"),
            models.Index(fields=["written_xid", "id"], name="audit_logs_sealing"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["creator_id", "id"], name="audit_logs_tenant_key"),
            *tenant_constraints("audit_logs", field="creator_id", app=["SELECT"], operator=["SELECT"]),
            Policy(name="audit_logs_lookup", role="lookup", expression="true"),
            Grant(name="audit_logs_lookup_grant", role="lookup", privileges=["SELECT", _INSERT_EVENT]),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.at:%Y-%m-%d %H:%M:%S}"


class PersonalData(models.Model):
    """The erasable part of an event. Without it, the event and its digest stay as they are.

    No foreign key: events are never deleted, and `record_event` inserts both rows.
    """

    id = models.UUIDField(primary_key=True, editable=False)  # the event's
    creator_id = models.UUIDField()
    salt = models.BinaryField()
    ip_address = models.GenericIPAddressField(null=True)
    user_agent = models.TextField()
    email = models.TextField()

    class Meta:
        db_table = "audit_personal_data"
        indexes: ClassVar = [
            models.Index(fields=["ip_address", "id"], name="audit_personal_data_address"),
            # to erase what was recorded about an address before it had an account
            models.Index(fields=["email"], condition=~models.Q(email=""), name="audit_personal_data_email"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["creator_id", "id"], name="audit_personal_data_tenant_key"),
            *tenant_constraints(
                "audit_personal_data", field="creator_id", app=["SELECT"], operator=["SELECT", "DELETE"]
            ),
            Policy(name="audit_personal_data_lookup", role="lookup", expression="true"),
            Grant(
                name="audit_personal_data_lookup_grant",
                role="lookup",
                privileges=["SELECT", "INSERT", "DELETE"],
            ),
        ]

    def __str__(self) -> str:
        return f"personal data of {self.id}"


class Seal(models.Model):
    """A signed statement about rows of the audit log; the next one contains its digest. Append-only."""

    number = models.BigIntegerField(primary_key=True)  # from 1, without gaps
    statement = models.TextField()  # the text of a chain.Statement, as it was signed
    signature = models.BinaryField()  # Ed25519
    leaves = models.BinaryField()  # of each row, in order: its id (16 bytes) and its hash (32)

    class Meta:
        db_table = "audit_seals"
        constraints: ClassVar = [
            Grant(name="audit_seals_operator_grant", role="operator", privileges=["SELECT", "INSERT"])
        ]

    def __str__(self) -> str:
        return f"seal {self.number}"


class SealKey(models.Model):
    """A key that signs seals. The newest one is in use; the others still verify."""

    public_key = models.CharField(primary_key=True, max_length=64)  # Ed25519, hex
    private_key = models.BinaryField()  # encrypted under SECRET_KEY
    created_at = models.DateTimeField()

    class Meta:
        db_table = "audit_seal_keys"
        constraints: ClassVar = [
            Grant(name="audit_seal_keys_operator_grant", role="operator", privileges=["SELECT", "INSERT"])
        ]

    def __str__(self) -> str:
        return self.public_key
