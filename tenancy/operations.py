from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from django.db.migrations.operations import CreateModel, RunSQL

from .constraints import role_name

LOGICAL_ROLES = ("owner", "app", "operator", "lookup")


class RunRoleSQL(RunSQL):
    """RunSQL with role names: `{app}` is replaced by the quoted name of the app role."""

    def _run_sql(self, schema_editor: Any, sqls: Any) -> None:
        for role in LOGICAL_ROLES:
            sqls = sqls.replace(f"{{{role}}}", schema_editor.quote_name(role_name(role)))
        super()._run_sql(schema_editor, sqls)  # type: ignore[misc]


class SQLFunction(RunRoleSQL):
    """Creates the function in `<app>/sql/<name>.sql`, with the triggers in that file.

    Version 1 also grants EXECUTE to `roles` only and makes `owner` the owner (default: the migrating role).
    To change the text, move the current file to `<app>/sql/history/<name>.v<version>.sql`, where older
    migrations find it, and add a migration with the next version. If parameters or columns change, use a
    new name: the previous release still calls the old function during an upgrade.
    """

    def __init__(
        self, app: str, name: str, version: int = 1, *, roles: Sequence[str] = (), owner: str | None = None
    ) -> None:
        self.app, self.name, self.version = app, name, version
        if version > 1:
            super().__init__(self._text(version), self._text(version - 1))
        else:
            create = self._text(version) + self._grants(roles) + (self._set_owner(owner) if owner else "")
            super().__init__(create, f"DROP FUNCTION {name} CASCADE")

    def _text(self, version: int) -> str:
        folder = Path(str(import_module(self.app).__file__)).parent / "sql"
        old = folder / "history" / f"{self.name}.v{version}.sql"
        return (old if old.exists() else folder / f"{self.name}.sql").read_text()

    def _grants(self, roles: Sequence[str]) -> str:
        grants = "".join(f"GRANT EXECUTE ON FUNCTION {self.name} TO {{{role}}};\n" for role in roles)
        return f"REVOKE ALL ON FUNCTION {self.name} FROM PUBLIC;\n{grants}"

    def _set_owner(self, owner: str) -> str:
        """ALTER FUNCTION requires that the new owner has CREATE on the schema."""
        return (
            f"GRANT CREATE ON SCHEMA public TO {{{owner}}};\n"
            f"ALTER FUNCTION {self.name} OWNER TO {{{owner}}};\n"
            f"REVOKE CREATE ON SCHEMA public FROM {{{owner}}};\n"
        )


class CreateUnloggedModel(CreateModel):
    """CreateModel with an UNLOGGED table, which is faster and empty after a crash."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        logged = schema_editor.sql_create_table
        schema_editor.sql_create_table = logged.replace("CREATE TABLE", "CREATE UNLOGGED TABLE", 1)
        try:
            super().database_forwards(app_label, schema_editor, from_state, to_state)
        finally:
            schema_editor.sql_create_table = logged


@contextmanager
def without_forced_rls(schema_editor: Any, *tables: str) -> Iterator[None]:
    """Lets a data migration, which runs as the owner, see all rows of these tables.

    The migration must be atomic: ALTER TABLE locks out all other sessions until the transaction ends.
    """
    for table in tables:
        schema_editor.execute(f"ALTER TABLE {schema_editor.quote_name(table)} NO FORCE ROW LEVEL SECURITY")
    yield
    for table in tables:
        schema_editor.execute(f"ALTER TABLE {schema_editor.quote_name(table)} FORCE ROW LEVEL SECURITY")
