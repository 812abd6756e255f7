from typing import Any

from django.db.migrations.operations import RunSQL

from .constraints import role_name

LOGICAL_ROLES = ("owner", "app", "operator", "lookup")


class RunRoleSQL(RunSQL):
    """RunSQL that knows the roles: `{app}` becomes the quoted name that the role has here."""

    def _run_sql(self, schema_editor: Any, sqls: Any) -> None:
        for role in LOGICAL_ROLES:
            sqls = sqls.replace(f"{{{role}}}", schema_editor.quote_name(role_name(role)))
        super()._run_sql(schema_editor, sqls)  # type: ignore[misc]
