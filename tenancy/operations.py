from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
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


class SQLFunction(RunRoleSQL):
    """The function whose text is `<app>/sql/<name>.sql`, with its triggers.

    Version 1 also makes `roles` the only ones that may execute it, and `owner` its owner (the role that
    migrates, unless given). A later version replaces the text: its predecessor moves to
    `<app>/sql/history/<name>.v<version>.sql`, where older migrations find it. A function whose parameters
    or columns change gets a new name, since the release before it goes on calling the old one.
    """

    def __init__(
        self, app: str, name: str, version: int = 1, *, roles: Sequence[str] = (), owner: str | None = None
    ) -> None:
        self.app, self.name, self.version = app, name, version
        if version > 1:
            super().__init__(self._text(version), self._text(version - 1))
        else:
            made = self._text(version) + self._grants(roles) + (self._hand_over(owner) if owner else "")
            super().__init__(made, f"DROP FUNCTION {name} CASCADE")

    def _text(self, version: int) -> str:
        folder = Path(str(import_module(self.app).__file__)).parent / "sql"
        earlier = folder / "history" / f"{self.name}.v{version}.sql"
        return (earlier if earlier.exists() else folder / f"{self.name}.sql").read_text()

    def _grants(self, roles: Sequence[str]) -> str:
        granted = "".join(f"GRANT EXECUTE ON FUNCTION {self.name} TO {{{role}}};\n" for role in roles)
        return f"REVOKE ALL ON FUNCTION {self.name} FROM PUBLIC;\n{granted}"

    def _hand_over(self, owner: str) -> str:
        """The new owner of a function needs CREATE on its schema, for the moment."""
        return (
            f"GRANT CREATE ON SCHEMA public TO {{{owner}}};\n"
            f"ALTER FUNCTION {self.name} OWNER TO {{{owner}}};\n"
            f"REVOKE CREATE ON SCHEMA public FROM {{{owner}}};\n"
        )


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
