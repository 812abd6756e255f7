"""Migration operation for a table that is partitioned by the time in its UUIDv7 key."""

from typing import Any

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
