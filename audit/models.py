from typing import ClassVar

from django.db import models
from uuid_utils.compat import uuid7

from tenancy.constraints import tenant_walls


class AuditLog(models.Model):
    """One line of the book. Append-only: grants and triggers refuse UPDATE, DELETE and TRUNCATE.

    Partitioned by month over the time in its UUIDv7. It outlives its creator and so references
    nobody; an event without a tenant bears the nil UUID.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    creator_id = models.UUIDField()
    at = models.DateTimeField()
    type = models.CharField(max_length=64)  # an events.Event
    request_id = models.CharField(max_length=64)
    detail = models.JSONField()
    personal_digest = models.BinaryField(null=True)  # SHA-256 over salt and personal data

    class Meta:
        db_table = "audit_logs"
        verbose_name = verbose_name_plural = "audit log"
        permissions: ClassVar = [("export_auditlog", "Can export the audit log")]
        indexes: ClassVar = [models.Index(fields=["type", "id"], name="audit_logs_type")]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["creator_id", "id"], name="audit_logs_tenant_key"),
            *tenant_walls(
                "audit_logs", field="creator_id", app=["SELECT", "INSERT"], operator=["SELECT", "INSERT"]
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.at:%Y-%m-%d %H:%M:%S}"


class PersonalData(models.Model):
    """The erasable half of an event; deleting it leaves the event and its digest as they are.

    No foreign key: the event can't be deleted, and both are inserted by one statement.
    """

    id = models.UUIDField(primary_key=True, editable=False)  # of the event
    creator_id = models.UUIDField()
    salt = models.BinaryField()
    ip_address = models.GenericIPAddressField(null=True)
    user_agent = models.TextField()
    email = models.TextField()

    class Meta:
        db_table = "audit_personal_data"
        indexes: ClassVar = [models.Index(fields=["ip_address", "id"], name="audit_personal_data_address")]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["creator_id", "id"], name="audit_personal_data_tenant_key"),
            *tenant_walls(
                "audit_personal_data",
                field="creator_id",
                app=["SELECT", "INSERT", "DELETE"],
                operator=["SELECT", "INSERT", "DELETE"],
            ),
        ]

    def __str__(self) -> str:
        return f"personal data of {self.id}"
