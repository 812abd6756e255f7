"""Row-level security, policies, grants and composite foreign keys as model constraints.

They are declared in `Meta.constraints`: `makemigrations` detects changes, `migrate` applies and reverses
them, and `check_isolation` compares the live database with them. Role names are logical ("app",
"operator", "lookup"); the SQL contains the names from `settings.TENANT_ROLES`.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.apps.registry import Apps
from django.conf import settings
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.ddl_references import Statement, Table
from django.db.models import BaseConstraint, Model

from .context import TENANT_SETTING

CURRENT_TENANT = f"(SELECT NULLIF(current_setting('{TENANT_SETTING}', true), '')::uuid)"


class SQLConstraint(BaseConstraint):
    """A constraint that one SQL statement creates and another one removes.

    `arguments` names the constructor's arguments beside `name`. In the SQL, `%(table)s` is the table.
    """

    arguments: ClassVar[tuple[str, ...]] = ()

    def creation(self, model: type[Model], editor: BaseDatabaseSchemaEditor) -> str:
        """The SQL that creates the constraint."""
        raise NotImplementedError

    def removal(self, editor: BaseDatabaseSchemaEditor) -> str:
        """The SQL that removes the constraint. It uses no fields, which may have been renamed."""
        raise NotImplementedError

    def create_sql(self, model: Any, schema_editor: Any) -> Statement:  # type: ignore[override]
        return _statement(model, schema_editor, self.creation(model, schema_editor))

    def remove_sql(self, model: Any, schema_editor: Any) -> Statement:  # type: ignore[override]
        return _statement(model, schema_editor, self.removal(schema_editor))

    def constraint_sql(self, model: Any, schema_editor: Any) -> None:  # type: ignore[override]
        """Add nothing to CREATE TABLE; run the statement after the table and its indexes exist."""
        schema_editor.deferred_sql.append(self.create_sql(model, schema_editor))

    def validate(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: PostgreSQL enforces it, and under RLS a query would miss other tenants' rows."""

    def deconstruct(self) -> Any:
        path, args, kwargs = super().deconstruct()
        return path, args, kwargs | {name: getattr(self, name) for name in self.arguments}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SQLConstraint):
            return NotImplemented
        return type(self) is type(other) and self.deconstruct() == other.deconstruct()

    def __hash__(self) -> int:
        return hash((type(self), self.name))


class RowLevelSecurity(SQLConstraint):
    """Enables and forces RLS: only superusers and roles with BYPASSRLS bypass it, the owner does not."""

    def creation(self, model: Any, editor: Any) -> str:
        return "ALTER TABLE %(table)s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"

    def removal(self, editor: Any) -> str:
        return "ALTER TABLE %(table)s DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY"


class Policy(SQLConstraint):
    """An RLS policy for one role; `expression` is both USING and WITH CHECK."""

    arguments: ClassVar[tuple[str, ...]] = ("role", "expression", "restrictive")

    def __init__(self, *, name: str, role: str, expression: str, restrictive: bool = False) -> None:
        super().__init__(name=name)
        self.role = role
        self.expression = expression
        self.restrictive = restrictive

    def condition(self, model: type[Model]) -> str:
        return self.expression

    def creation(self, model: Any, editor: Any) -> str:
        kind = "RESTRICTIVE" if self.restrictive else "PERMISSIVE"
        role = editor.quote_name(role_name(self.role))
        condition = self.condition(model)
        return (
            f"CREATE POLICY {editor.quote_name(self.name)} ON %(table)s AS {kind} TO {role} "
            f"USING ({condition}) WITH CHECK ({condition})"
        )

    def removal(self, editor: Any) -> str:
        return f"DROP POLICY {editor.quote_name(self.name)} ON %(table)s"


class TenantPolicy(Policy):
    """Allows only rows whose `field` is the current tenant. It also marks the model as a tenant table."""

    arguments = ("field", "role")

    def __init__(self, *, name: str, field: str = "creator", role: str = "app") -> None:
        super().__init__(name=name, role=role, expression="")
        self.field = field

    def condition(self, model: type[Model]) -> str:
        return f"{_column(model, self.field)} = {CURRENT_TENANT}"


class Grant(SQLConstraint):
    """The privileges of a role on the table, e.g. `["SELECT", "UPDATE (used_at)"]`."""

    arguments = ("role", "privileges")

    def __init__(self, *, name: str, role: str, privileges: Sequence[str]) -> None:
        super().__init__(name=name)
        self.role = role
        self.privileges = list(privileges)

    def creation(self, model: Any, editor: Any) -> str:
        return f"GRANT {', '.join(self.privileges)} ON %(table)s TO {editor.quote_name(role_name(self.role))}"

    def removal(self, editor: Any) -> str:
        role = editor.quote_name(role_name(self.role))
        return f"REVOKE {', '.join(self.privileges)} ON %(table)s FROM {role}"


class CompositeForeignKey(SQLConstraint):
    """A foreign key over several columns, starting with the tenant's, that cascades in the database.

    PostgreSQL does not apply RLS to foreign key checks: a single-column key could reference another
    tenant's row. The Django field needs `db_constraint=False`.
    """

    arguments = ("fields", "to", "to_fields")

    def __init__(self, *, name: str, fields: Sequence[str], to: str, to_fields: Sequence[str]) -> None:
        super().__init__(name=name)
        self.fields = list(fields)
        self.to = to
        self.to_fields = list(to_fields)

    def creation(self, model: Any, editor: Any) -> str:
        target = model._meta.apps.get_model(self.to)
        name, table = editor.quote_name(self.name), editor.quote_name(target._meta.db_table)
        columns, keys = _columns(model, self.fields, editor), _columns(target, self.to_fields, editor)
        return (
            f"ALTER TABLE %(table)s ADD CONSTRAINT {name} FOREIGN KEY ({columns}) "
            f"REFERENCES {table} ({keys}) ON DELETE CASCADE"
        )

    def removal(self, editor: Any) -> str:
        return f"ALTER TABLE %(table)s DROP CONSTRAINT {editor.quote_name(self.name)}"


def _statement(model: type[Model], editor: BaseDatabaseSchemaEditor, sql: str) -> Statement:
    return Statement(sql, table=Table(model._meta.db_table, editor.quote_name))


def _columns(model: type[Model], names: Sequence[str], editor: BaseDatabaseSchemaEditor) -> str:
    return ", ".join(editor.quote_name(_column(model, name)) for name in names)


def _column(model: type[Model], field: str) -> str:
    column: str = model._meta.get_field(field).column  # type: ignore[union-attr, assignment]
    return column


def tenant_constraints(
    table: str, *, app: Sequence[str], operator: Sequence[str], field: str = "creator"
) -> list[BaseConstraint]:
    """The constraints of a tenant table: forced RLS, the policies of app and operator, and their grants."""
    return [
        RowLevelSecurity(name=f"{table}_rls"),
        TenantPolicy(name=f"{table}_tenant", field=field),
        Policy(name=f"{table}_operator", role="operator", expression="true"),
        Grant(name=f"{table}_app_grant", role="app", privileges=app),
        Grant(name=f"{table}_operator_grant", role="operator", privileges=operator),
    ]


def role_name(logical: str) -> str:
    """The PostgreSQL name of "app", "operator", "owner" or "lookup"; other names are returned unchanged."""
    name: str = getattr(settings.TENANT_ROLES, logical, logical)
    return name


def tenant_models(registry: Apps) -> list[type[Model]]:
    """All models with a TenantPolicy, referenced models first."""
    remaining = [model for model in registry.get_models() if _tenant_policies(model)]
    ordered: list[type[Model]] = []
    while remaining:
        labels = {model._meta.label for model in remaining}
        ready = [model for model in remaining if not (_references(model) & labels)] or remaining  # a cycle
        ordered += ready
        remaining = [model for model in remaining if model not in ready]
    return ordered


def tenant_column(model: type[Model]) -> str:
    """The column that holds the tenant's id."""
    return _column(model, _tenant_policies(model)[0].field)


def _tenant_policies(model: type[Model]) -> list[TenantPolicy]:
    return [policy for policy in model._meta.constraints if isinstance(policy, TenantPolicy)]


def _references(model: type[Model]) -> set[str]:
    """Labels of the other models that the model references."""
    keys = [key for key in model._meta.constraints if isinstance(key, CompositeForeignKey)]
    return {key.to for key in keys} - {model._meta.label}
