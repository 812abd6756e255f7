"""A table that is partitioned by the time in its UUIDv7 key, a page for each month."""

from datetime import UTC, date, datetime
from functools import cache
from typing import Any
from uuid import UUID

from django.db.migrations.operations import CreateModel


class CreatePartitionedModel(CreateModel):
    """CreateModel with PARTITION BY RANGE (id); the partitions come from `audit_ensure_partitions()`."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        plain = schema_editor.sql_create_table
        schema_editor.sql_create_table = f"{plain} PARTITION BY RANGE (id)"
        try:
            super().database_forwards(app_label, schema_editor, from_state, to_state)
        finally:
            schema_editor.sql_create_table = plain


def lowest_id(at: datetime) -> UUID:
    """The least UUIDv7 of a moment."""
    milliseconds = min(max(0, int(at.timestamp() * 1000)), 2**48 - 1)
    return UUID(int=milliseconds << 80)


def partition_name(month: date) -> str:
    return f"audit_logs_{month:%Y%m}"


def month_of(page: str) -> date:
    """Its first day.

    Raises:
        ValueError: the page is none of a month.

    """
    return datetime.strptime(page, "audit_logs_%Y%m").replace(tzinfo=UTC).date()


@cache
def id_bounds(page: str) -> tuple[UUID, UUID]:
    """The least id that it may hold, and the least that it may not."""
    start = month_of(page)
    return lowest_id(_midnight(start)), lowest_id(_midnight(months_after(start, 1)))


def months_after(month: date, count: int) -> date:
    months = month.year * 12 + month.month - 1 + count
    return date(months // 12, months % 12 + 1, 1)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
