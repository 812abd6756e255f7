from typing import ClassVar

from django.db import models
from django.db.models.functions import Now
from uuid_utils.compat import uuid7

from tenancy.constraints import Grant, Policy, tenant_constraints

_RECORDED = "INSERT (id, creator_id, at, type, request_id, detail, personal_digest)"


class CurrentTransaction(models.Func):
    """PostgreSQL's number of the transaction that is writing, 64 bits wide."""

    template = "pg_current_xact_id()::text::bigint"
    output_field = models.BigIntegerField()


class AuditLog(models.Model):
    """One line of the book. Append-only: grants and triggers refuse UPDATE, DELETE and TRUNCATE.

    Partitioned by month over the time in its UUIDv7. It outlives its creator and so references
    nobody; an event without a tenant bears the nil UUID. `written_at` and `written_xid` are the
    database's, for sealing: no role but the owner can give them. Rows are inserted by the function
    `record_event` alone, which belongs to the lookup role.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    creator_id = models.UUIDField()
    at = models.DateTimeField()
    type = models.CharField(max_length=64)  # an events.Event
    request_id = models.CharField(max_length=64)
    detail = models.JSONField()
    personal_digest = models.BinaryField(null=True)  # SHA-256 over salt and personal data
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
            Grant(name="audit_logs_lookup_grant", role="lookup", privileges=["SELECT", _RECORDED]),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.at:%Y-%m-%d %H:%M:%S}"


class PersonalData(models.Model):
    """The erasable half of an event; deleting it leaves the event and its digest as they are.

    No foreign key: the event can't be deleted, and both are inserted by `record_event`.
    """

    id = models.UUIDField(primary_key=True, editable=False)  # of the event
    creator_id = models.UUIDField()
    salt = models.BinaryField()
    ip_address = models.GenericIPAddressField(null=True)
    user_agent = models.TextField()
    email = models.TextField()

    class Meta:
        db_table = "audit_personal_data"
        indexes: ClassVar = [
            models.Index(fields=["ip_address", "id"], name="audit_personal_data_address"),
            # for the erasure of what was recorded of an address before it had an account
            models.Index(fields=["email"], condition=~models.Q(email=""), name="audit_personal_data_email"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["creator_id", "id"], name="audit_personal_data_tenant_key"),
            *tenant_constraints(
                "audit_personal_data",
                field="creator_id",
                app=["SELECT"],
                operator=["SELECT", "DELETE"],
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
    """A signed statement about rows of the book; the next one names its hash. Append-only like the book."""

    number = models.BigIntegerField(primary_key=True)  # without gaps, from 1
    statement = models.TextField()  # a seals.Statement, as it was signed
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
    """A key that seals, or did: the newest one does. None is ever removed."""

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
