"""Monthly partitions by the time in a UUIDv7 primary key."""

from datetime import UTC, date, datetime, time
from functools import cache
from typing import Any
from uuid import UUID

from django.db.migrations.operations import CreateModel


class CreatePartitionedModel(CreateModel):
    """CreateModel with PARTITION BY RANGE (id). `audit_ensure_partitions()` creates the partitions."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        plain = schema_editor.sql_create_table
        schema_editor.sql_create_table = f"{plain} PARTITION BY RANGE (id)"
        try:
            super().database_forwards(app_label, schema_editor, from_state, to_state)
        finally:
            schema_editor.sql_create_table = plain


def lowest_id(at: datetime) -> UUID:
    """The lowest UUIDv7 of that millisecond."""
    milliseconds = min(max(0, int(at.timestamp() * 1000)), 2**48 - 1)
    return UUID(int=milliseconds << 80)


def month_of(partition: str) -> date:
    """The first day of its month.

    Raises:
        ValueError: it is not a monthly partition.

    """
    return datetime.strptime(partition, "audit_logs_%Y%m").replace(tzinfo=UTC).date()


@cache
def id_bounds(partition: str) -> tuple[UUID, UUID]:
    """Its lowest possible id, and that of the next month."""
    start = month_of(partition)
    first, end = (datetime.combine(day, time.min, UTC) for day in (start, months_after(start, 1)))
    return lowest_id(first), lowest_id(end)


def months_after(month: date, count: int) -> date:
    months = month.year * 12 + month.month - 1 + count
    return date(months // 12, months % 12 + 1, 1)
