"""Row Level Security, grants and composite references as constraints of the model.

Declared in `Meta.constraints`, so that `makemigrations` finds them, `migrate` makes and unmakes
them, and `check_isolation` holds the live database against them. Role names are logical
("app", "operator", "lookup") and become real ones when the SQL is written.
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
    """A constraint that is one statement after its table exists, and one to take it back."""

    arguments: ClassVar[tuple[str, ...]] = ()

    def creation(self, model: type[Model], editor: BaseDatabaseSchemaEditor) -> str:
        """The SQL that makes it; `%(table)s` stands for the table."""
        raise NotImplementedError

    def removal(self, editor: BaseDatabaseSchemaEditor) -> str:
        """The SQL that takes it back; asks no model, whose fields may have other names by then."""
        raise NotImplementedError

    def create_sql(self, model: Any, schema_editor: Any) -> Statement:  # type: ignore[override]
        return _statement(model, schema_editor, self.creation(model, schema_editor))

    def remove_sql(self, model: Any, schema_editor: Any) -> Statement:  # type: ignore[override]
        return _statement(model, schema_editor, self.removal(schema_editor))

    def constraint_sql(self, model: Any, schema_editor: Any) -> None:  # type: ignore[override]
        """Nothing inside CREATE TABLE: it waits until table and indexes are there."""
        schema_editor.deferred_sql.append(self.create_sql(model, schema_editor))

    def validate(self, *args: Any, **kwargs: Any) -> None:
        """Left to PostgreSQL: under RLS a look from here would miss the other tenants' rows."""

    def deconstruct(self) -> Any:
        path, args, kwargs = super().deconstruct()
        return path, args, kwargs | {name: getattr(self, name) for name in self.arguments}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SQLConstraint):
            return NotImplemented
        return type(self) is type(other) and self.deconstruct() == other.deconstruct()

    def __hash__(self) -> int:
        return hash((type(self), self.name))

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={getattr(self, name)!r}" for name in ("name", *self.arguments))
        return f"<{type(self).__name__}: {given}>"


class RowLevelSecurity(SQLConstraint):
    """ENABLE and FORCE: nobody but a superuser or BYPASSRLS steps over, not even the owner."""

    def creation(self, model: Any, editor: Any) -> str:
        return "ALTER TABLE %(table)s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"

    def removal(self, editor: Any) -> str:
        return "ALTER TABLE %(table)s DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY"


class Policy(SQLConstraint):
    """A row policy for one role; `expression` serves as USING and as WITH CHECK."""

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
    """The wall: rows whose `field` is the current tenant. Marks its model as a tenant table."""

    arguments = ("field", "role")

    def __init__(self, *, name: str, field: str = "creator", role: str = "app") -> None:
        super().__init__(name=name, role=role, expression="")
        self.field = field

    def condition(self, model: type[Model]) -> str:
        return f"{_column(model, self.field)} = {CURRENT_TENANT}"


class Grant(SQLConstraint):
    """What a role may do with the table, e.g. `["SELECT", "UPDATE (used_at)"]`; nothing else."""

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
    """A foreign key over several columns, the tenant's first; its Django field has `db_constraint=False`.

    PostgreSQL checks foreign keys without asking RLS: a single-column one would let a row hang on
    another tenant's row. The cascade is the database's.
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
    """All that a tenant table needs: RLS forced, the tenant's policy, the operator's, and the grants."""
    return [
        RowLevelSecurity(name=f"{table}_rls"),
        TenantPolicy(name=f"{table}_tenant", field=field),
        Policy(name=f"{table}_operator", role="operator", expression="true"),
        Grant(name=f"{table}_app_grant", role="app", privileges=app),
        Grant(name=f"{table}_operator_grant", role="operator", privileges=operator),
    ]


def role_name(logical: str) -> str:
    """The name in PostgreSQL of "app", "operator", "owner" or "lookup"; PUBLIC is itself."""
    name: str = getattr(settings.TENANT_ROLES, logical, logical)
    return name


def tenant_models(registry: Apps) -> list[type[Model]]:
    """Models behind the wall, in an order in which their rows can be inserted."""
    walled = [model for model in registry.get_models() if _tenant_policies(model)]
    ordered: list[type[Model]] = []
    while walled:
        waiting = {model._meta.label for model in walled}
        ready = [model for model in walled if not (_targets(model) & waiting)] or walled  # or a circle
        ordered += ready
        walled = [model for model in walled if model not in ready]
    return ordered


def tenant_column(model: type[Model]) -> str:
    """The column that holds the tenant of a row."""
    return _column(model, _tenant_policies(model)[0].field)


def _tenant_policies(model: type[Model]) -> list[TenantPolicy]:
    return [one for one in model._meta.constraints if isinstance(one, TenantPolicy)]


def _targets(model: type[Model]) -> set[str]:
    """Labels of the other models that its rows hang on."""
    references = [one for one in model._meta.constraints if isinstance(one, CompositeForeignKey)]
    return {reference.to for reference in references} - {model._meta.label}
