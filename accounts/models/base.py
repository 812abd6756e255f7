from uuid import UUID

from django.db import models
from uuid_utils.compat import uuid7

from tenancy.constraints import CompositeForeignKey, tenant_constraints

WRITABLE = ["SELECT", "INSERT", "UPDATE", "DELETE"]


class TenantModel(models.Model):
    """A table of a creator: a UUIDv7 key, and `creator_id` in all its references."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    creator = models.ForeignKey(
        "accounts.Creator", models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    creator_id: UUID

    class Meta:
        abstract = True


def creator_table_constraints(
    table: str, *, app: list[str], is_key: bool = False
) -> list[models.BaseConstraint]:
    """`is_key`: the primary key consists of tenant and id, so they need no unique constraint."""
    key = models.UniqueConstraint(fields=["creator", "id"], name=f"{table}_tenant_key")
    return [
        *([] if is_key else [key]),
        CompositeForeignKey(
            name=f"{table}_creator", fields=["creator"], to="accounts.Creator", to_fields=["id"]
        ),
        *tenant_constraints(table, app=app, operator=WRITABLE),
    ]
