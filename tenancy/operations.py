from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db.migrations.operations import CreateModel, RunSQL

from .constraints import role_name

LOGICAL_ROLES = ("owner", "app", "operator", "lookup")


class RunRoleSQL(RunSQL):
    """RunSQL that knows the roles: `{app}` becomes the quoted name that the role has here."""

    def _run_sql(self, schema_editor: Any, sqls: Any) -> None:
        for role in LOGICAL_ROLES:
            sqls = sqls.replace(f"{{{role}}}", schema_editor.quote_name(role_name(role)))
        super()._run_sql(schema_editor, sqls)  # type: ignore[misc]


class CreateUnloggedModel(CreateModel):
    """CreateModel with an UNLOGGED table: fast, and empty after a crash. For counters that may be lost."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        plain = schema_editor.sql_create_table
        schema_editor.sql_create_table = plain.replace("CREATE TABLE", "CREATE UNLOGGED TABLE", 1)
        try:
            super().database_forwards(app_label, schema_editor, from_state, to_state)
        finally:
            schema_editor.sql_create_table = plain


@contextmanager
def without_forced_rls(schema_editor: Any, *tables: str) -> Iterator[None]:
    """For a data migration: the owner sees all rows of these tables, in spite of FORCE ROW LEVEL SECURITY.

    Inside the migration's transaction: ALTER TABLE's lock keeps every other session out until its end.
    """
    for table in tables:
        schema_editor.execute(f"ALTER TABLE {schema_editor.quote_name(table)} NO FORCE ROW LEVEL SECURITY")
    yield
    for table in tables:
        schema_editor.execute(f"ALTER TABLE {schema_editor.quote_name(table)} FORCE ROW LEVEL SECURITY")
