"""Attempts to get around tenant isolation on the live database, as the app role.

Two temporary tenants, a victim and an attacker, get a row in every tenant table. Each attempt is undone at
once, and the whole transaction is rolled back.
"""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
from django.apps import apps
from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model
from psycopg import errors

from tenancy.constraints import tenant_column, tenant_models
from tenancy.context import set_tenant
from tenancy.roles import quoted

from .database import temporary_connection
from .sample_rows import Row, adapted, references, sample_row


@dataclass
class TableReport:
    """The attempts on one table, by result."""

    table: str
    blocked: list[str] = field(default_factory=list)  # verbs
    allowed: list[str] = field(default_factory=list)  # e.g. "read as another tenant"
    inconclusive: list[str] = field(default_factory=list)  # failed for an unexpected reason

    def findings(self) -> Iterator[str]:
        if self.allowed:
            yield f"table {self.table} allows {', '.join(dict.fromkeys(self.allowed))}"
        if self.inconclusive:
            yield f"table {self.table} is inconclusive: {'; '.join(self.inconclusive)}"


@dataclass(frozen=True)
class Attempt:
    verb: str
    statement: str
    values: list[Any]


@dataclass(frozen=True)
class _Tenant:
    id: uuid.UUID = field(default_factory=uuid.uuid4)
    rows: dict[type[Model], Row] = field(default_factory=dict)  # its row in each tenant table


@dataclass(frozen=True)
class _Probe:
    connection: BaseDatabaseWrapper
    driver: psycopg.Connection  # without Django's execute wrappers
    reports: dict[type[Model], TableReport]
    victim: _Tenant = field(default_factory=_Tenant)
    attacker: _Tenant = field(default_factory=_Tenant)


def probe(alias: str) -> list[TableReport]:
    """A report for each tenant table."""
    reports = {model: TableReport(model._meta.db_table) for model in tenant_models(apps)}
    with temporary_connection(alias) as connection:
        probe = _Probe(connection, connection.connection, reports)
        _run(probe, "with no setting", _attempts_without_tenant)  # it has never been set on this connection
        _insert_rows(probe, probe.victim)
        set_tenant(connection, probe.attacker.id)
        _run(probe, "as another tenant", _attempts_on_existing_rows)  # before the attacker has rows to count
        _insert_rows(probe, probe.attacker)
        for attempts in (_changes_of_tenant, _upserts, _references_to_victim):
            _run(probe, "as another tenant", attempts)
        set_tenant(connection, None)
        _run(probe, "with an empty setting", _attempts_on_existing_rows)
        _run(probe, "with an empty setting", _attempts_without_tenant)
    return list(reports.values())


def _attempts_without_tenant(probe: _Probe, model: type[Model]) -> Iterator[Attempt]:
    yield _count(model)
    yield _insert(probe, "insert", model, sample_row(model, probe.victim.id, probe.victim.rows))


def _attempts_on_existing_rows(probe: _Probe, model: type[Model]) -> Iterator[Attempt]:
    """Count all rows; read, lock, update and delete the victim's."""
    table, key, values = _table(model), quoted(_key(model)), [_key_value(model, probe.victim)]
    column = quoted(_updatable_column(probe, model))
    yield _count(model)
    yield Attempt("read", f"SELECT FROM {table} WHERE {key} = %s", values)
    yield Attempt("lock", f"SELECT FROM {table} WHERE {key} = %s FOR UPDATE", values)
    yield Attempt("update", f"UPDATE {table} SET {column} = {column} WHERE {key} = %s", values)
    yield Attempt("delete", f"DELETE FROM {table} WHERE {key} = %s", values)


def _changes_of_tenant(probe: _Probe, model: type[Model]) -> Iterator[Attempt]:
    """Insert a row of another tenant, take over the victim's row, give away the attacker's."""
    tenant, key = tenant_column(model), _key(model)
    other = uuid.uuid4() if tenant == key else probe.victim.id  # the victim's key would violate uniqueness
    yield _insert(probe, "insert", model, sample_row(model, other, probe.victim.rows))
    reassign = f"UPDATE {_table(model)} SET {quoted(tenant)} = %s WHERE {quoted(key)} = %s"
    yield Attempt("reassign", reassign, [probe.attacker.id, _key_value(model, probe.victim)])
    yield Attempt("reassign", reassign, [other, _key_value(model, probe.attacker)])


def _upserts(probe: _Probe, model: type[Model]) -> Iterator[Attempt]:
    """Insert a row of the attacker with the key of the victim's row."""
    if len(model._meta.pk_fields) > 1:  # the key contains the tenant: no conflict
        return
    tenant, key = quoted(tenant_column(model)), quoted(_key(model))
    row = sample_row(model, probe.attacker.id, probe.attacker.rows)
    row[_key(model)] = _key_value(model, probe.victim)
    for action in ("NOTHING", f"UPDATE SET {tenant} = EXCLUDED.{tenant}"):
        yield _insert(probe, "upsert", model, row, f"ON CONFLICT ({key}) DO {action}")


def _references_to_victim(probe: _Probe, model: type[Model]) -> Iterator[Attempt]:
    """Insert a row of the attacker that references a row of the victim."""
    for key in references(model, list(probe.reports)):
        target = probe.victim.rows[key.related_model][str(key.target_field.column)]
        row = sample_row(model, probe.attacker.id, probe.attacker.rows) | {key.column: target}
        yield _insert(probe, f"reference {key.column}", model, row)


def _count(model: type[Model]) -> Attempt:
    return Attempt("count", f"SELECT count(*) FROM {_table(model)} HAVING count(*) > 0", [])


def _insert(probe: _Probe, verb: str, model: type[Model], row: Row, conflict: str = "") -> Attempt:
    columns, placeholders = ", ".join(map(quoted, row)), ", ".join(["%s"] * len(row))
    statement = f"INSERT INTO {_table(model)} ({columns}) VALUES ({placeholders}) {conflict}"
    return Attempt(verb, statement, adapted(model, row, probe.connection))


def _run(probe: _Probe, situation: str, attempts: Callable[[_Probe, type[Model]], Iterator[Attempt]]) -> None:
    for model, report in probe.reports.items():
        for attempt in attempts(probe, model):
            name = f"{attempt.verb} {situation}"
            try:
                if _is_allowed(probe, attempt):
                    report.allowed.append(name)
                else:
                    report.blocked.append(attempt.verb)
            except psycopg.Error as error:
                report.inconclusive.append(f"{name}: {_first_line(error)}")


def _is_allowed(probe: _Probe, attempt: Attempt) -> bool:
    """Whether it affects a row. Policies, grants and triggers raise InsufficientPrivilege."""
    try:
        return _affected_rows(probe, attempt) > 0
    except errors.InsufficientPrivilege:
        return False
    except errors.ForeignKeyViolation:  # PostgreSQL checks foreign keys last: no policy blocked the row
        return not attempt.verb.startswith("reference")


def _affected_rows(probe: _Probe, attempt: Attempt) -> int:
    with probe.driver.transaction(force_rollback=True):
        return probe.driver.execute(attempt.statement.encode(), attempt.values).rowcount


def _insert_rows(probe: _Probe, tenant: _Tenant) -> None:
    set_tenant(probe.connection, tenant.id)
    for model, report in probe.reports.items():
        tenant.rows[model] = sample_row(model, tenant.id, tenant.rows)
        try:
            with probe.driver.transaction():
                if not _insert_row(probe, model, tenant):
                    report.inconclusive.append("a tenant does not see its own row")
        except psycopg.Error as error:
            report.inconclusive.append(f"a tenant cannot insert its own row: {_first_line(error)}")


def _insert_row(probe: _Probe, model: type[Model], tenant: _Tenant) -> bool:
    """Insert the row, or call the function in TENANT_WRITERS. False if the tenant may but does not see it."""
    if _has_privilege(probe, model, "INSERT"):
        insert = _insert(probe, "insert", model, tenant.rows[model])
        probe.driver.execute(insert.statement.encode(), insert.values)
    elif statement := settings.TENANT_WRITERS.get(model._meta.label):
        written = probe.driver.execute(statement.encode(), {"tenant": tenant.id}).fetchone()
        tenant.rows[model][_key(model)] = written and written[0]
    else:
        return True
    return not _has_privilege(probe, model, "SELECT") or _affected_rows(probe, _count(model)) > 0


def _has_privilege(probe: _Probe, model: type[Model], privilege: str) -> bool:
    query = "SELECT has_any_column_privilege(%s, %s)"
    row = probe.driver.execute(query, [_table(model), privilege]).fetchone()
    return bool(row and row[0])


def _updatable_column(probe: _Probe, model: type[Model]) -> str:
    """A column that the role may update; any column if there is none."""
    columns = [column.column for column in model._meta.concrete_fields if column.column]
    query = "SELECT c FROM unnest(%s::text[]) AS c WHERE has_column_privilege(%s, c, 'UPDATE')"
    row = probe.driver.execute(query, [columns, _table(model)]).fetchone()
    return str(row[0] if row else columns[0])


def _table(model: type[Model]) -> str:
    return quoted(model._meta.db_table)


def _key(model: type[Model]) -> str:
    """The column of the primary key; the last column of a composite key."""
    return str(model._meta.pk_fields[-1].column)


def _key_value(model: type[Model], tenant: _Tenant) -> Any:
    return tenant.rows[model][_key(model)]


def _first_line(error: psycopg.Error) -> str:
    return str(error).partition("\n")[0]
