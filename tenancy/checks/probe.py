"""Tries the walls of the live database, as the runtime role, in a transaction that is rolled back.

A throw-away tenant gets one row in every tenant table; then another tenant, and nobody, reach for it.
"""

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import psycopg
from django.apps import apps
from django.conf import settings
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model
from psycopg import errors

from tenancy.constraints import tenant_column, tenant_models
from tenancy.context import set_tenant
from tenancy.roles import quoted

from .sample_rows import Row, adapted, links, sample_row

REFUSALS = (errors.InsufficientPrivilege,)  # a policy, a grant, or a trigger that says so
Rows = dict[type[Model], Row]


@dataclass
class TableReport:
    """What became of the attempts on one table: verb → who tried."""

    table: str
    shut: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    unproven: list[str] = field(default_factory=list)  # failed, but not at the wall


@dataclass
class Attempt:
    verb: str
    statement: str
    values: list[Any]
    refusals: tuple[type[psycopg.Error], ...] = REFUSALS


def probe(alias: str) -> list[TableReport]:
    """A report for every tenant table, in the order in which their rows hang on each other."""
    connection = connections[alias].copy()  # new: nothing has ever set the tenant on it
    try:
        connection.ensure_connection()
        connection.set_autocommit(False)
        return _Probe(connection).run()
    finally:
        connection.close()  # nothing was committed


class _Probe:
    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self.driver = cast("psycopg.Connection", connection.connection)  # past Django's execute wrappers
        self.models = tenant_models(apps)
        self.reports = {model: TableReport(model._meta.db_table) for model in self.models}
        self.victim, self.intruder = uuid.uuid4(), uuid.uuid4()
        self.victim_rows: Rows = {}
        self.attacker_rows: Rows = {}

    def run(self) -> list[TableReport]:
        self._try("with no setting", self._without_tenant)
        self.victim_rows = self._insert_rows(self.victim)
        set_tenant(self.connection, self.intruder)
        self._try("as another tenant", self._cross_tenant_reads)
        self.attacker_rows = self._insert_rows(self.intruder)
        self._try("as another tenant", self._cross_tenant_writes)
        set_tenant(self.connection, None)
        self._try("with an empty setting", self._cross_tenant_reads)
        self._try("with an empty setting", self._without_tenant)
        return list(self.reports.values())

    # --- what is tried ------------------------------------------------------------------------

    def _without_tenant(self, model: type[Model]) -> Iterator[Attempt]:
        yield _count(model)
        yield self._insert("insert", model, sample_row(model, self.victim, self.victim_rows))

    def _cross_tenant_reads(self, model: type[Model]) -> Iterator[Attempt]:
        """Count, read, lock, change and delete the victim's row."""
        table, key, its_key = _table(model), _key(model), [self._key_value(model, self.victim_rows)]
        yield _count(model)
        yield Attempt("read", f"SELECT FROM {table} WHERE {key} = %s", its_key)
        yield Attempt("lock", f"SELECT FROM {table} WHERE {key} = %s FOR UPDATE", its_key)
        for one in map(quoted, self._changeable(model)):
            yield Attempt("update", f"UPDATE {table} SET {one} = {one} WHERE {key} = %s", its_key)
        yield Attempt("delete", f"DELETE FROM {table} WHERE {key} = %s", its_key)

    def _cross_tenant_writes(self, model: type[Model]) -> Iterator[Attempt]:
        """As a tenant with rows of its attacker_rows: insert for others, take, plant, overwrite, link."""
        own_key, tenant = _key(model), quoted(tenant_column(model))
        other = uuid.uuid4() if tenant == own_key else self.victim  # the victim itself exists already
        yield self._insert("insert", model, sample_row(model, other, self.victim_rows))
        move = f"UPDATE {_table(model)} SET {tenant} = %s WHERE {own_key} = %s"
        yield Attempt("move", move, [self.intruder, self._key_value(model, self.victim_rows)])
        yield Attempt("move", move, [other, self._key_value(model, self.attacker_rows)])
        if len(model._meta.pk_fields) == 1:  # else the tenant is part of the key, and there is no conflict
            rival = sample_row(model, self.intruder, self.attacker_rows) | {
                _column(model): self._key_value(model, self.victim_rows)
            }
            for action in ("NOTHING", f"UPDATE SET {tenant} = EXCLUDED.{tenant}"):
                yield self._insert("conflict", model, rival, f"ON CONFLICT ({own_key}) DO {action}")
        yield from self._links(model)

    def _links(self, model: type[Model]) -> Iterator[Attempt]:
        """A row of one's attacker_rows that hangs on the victim's."""
        for link in links(model, self.models):
            target = self.victim_rows[link.related_model][str(link.target_field.column)]
            row = sample_row(model, self.intruder, self.attacker_rows) | {link.column: target}
            attempt = self._insert(f"link {link.column}", model, row)
            attempt.refusals = (*REFUSALS, errors.ForeignKeyViolation)
            yield attempt

    # --- how ----------------------------------------------------------------------------------

    def _insert_rows(self, tenant: uuid.UUID) -> Rows:
        """A row of `tenant` in every table where the role may insert one."""
        set_tenant(self.connection, tenant)
        made: Rows = {}
        for model in self.models:
            row = sample_row(model, tenant, made)
            if self._may("INSERT", model):
                self._make(model, row)
            elif model._meta.label in settings.TENANT_WRITERS:
                row[_column(model)] = self._write(model, tenant)
            made[model] = row
        return made

    def _make(self, model: type[Model], row: Row) -> None:
        insert = self._insert("insert", model, row)
        try:
            with self.driver.transaction():
                self.driver.execute(insert.statement.encode(), insert.values)
                if self._may("SELECT", model) and not self._run(_count(model)):
                    self.reports[model].unproven.append("a tenant doesn't see its own row")
        except psycopg.Error as error:
            self.reports[model].unproven.append(f"a tenant can't insert a row of its own: {_line(error)}")

    def _write(self, model: type[Model], tenant: uuid.UUID) -> Any:
        """The key of a row that a function has written."""
        statement = settings.TENANT_WRITERS[model._meta.label]
        written = self.driver.execute(statement.encode(), {"tenant": tenant}).fetchone()
        if not written or not self._run(_count(model)):
            self.reports[model].unproven.append("a tenant doesn't see its own row")
        return written and written[0]

    def _try(self, who: str, attempts: Any) -> None:
        """Open is what touched a row; shut what touched none, or was refused at the wall."""
        for model, report in self.reports.items():
            for attempt in attempts(model):
                try:
                    verdict = report.open if self._run(attempt) else report.shut
                except attempt.refusals:
                    verdict = report.shut
                except errors.ForeignKeyViolation:  # checked after the walls: they let it pass
                    verdict = report.open
                except psycopg.Error as error:
                    report.unproven.append(f"{attempt.verb} {who}: {_line(error)}")
                    continue
                verdict.append(f"{attempt.verb} {who}")

    def _run(self, attempt: Attempt) -> int:
        """Rows it touched; whatever it did is undone."""
        touched = 0
        with self.driver.transaction() as transaction:
            touched = self.driver.execute(attempt.statement.encode(), attempt.values).rowcount
            raise psycopg.Rollback(transaction)
        return touched

    def _insert(self, verb: str, model: type[Model], row: Row, conflict: str = "") -> Attempt:
        columns, holders = ", ".join(map(quoted, row)), ", ".join(["%s"] * len(row))
        statement = f"INSERT INTO {_table(model)} ({columns}) VALUES ({holders}) {conflict}"
        return Attempt(verb, statement, adapted(model, row, self.connection))

    def _key_value(self, model: type[Model], rows: Rows) -> Any:
        return rows[model][_column(model)]

    def _may(self, privilege: str, model: type[Model]) -> bool:
        query = "SELECT has_any_column_privilege(%s, %s)"
        row = self.driver.execute(query, [_table(model), privilege]).fetchone()
        return bool(row and row[0])

    def _changeable(self, model: type[Model]) -> Iterable[str]:
        """Columns that the role may update; the first, if it may none, to hear so."""
        columns = [one.column for one in model._meta.concrete_fields if one.column]
        query = "SELECT c FROM unnest(%s::text[]) AS c WHERE has_column_privilege(%s, c, 'UPDATE')"
        granted = [column for (column,) in self.driver.execute(query, [columns, _table(model)])]
        return granted[:1] or columns[:1]


def _table(model: type[Model]) -> str:
    return quoted(model._meta.db_table)


def _column(model: type[Model]) -> str:
    """The column that tells its rows apart; in a composite key, the last."""
    return str(model._meta.pk_fields[-1].column)


def _key(model: type[Model]) -> str:
    return quoted(_column(model))


def _count(model: type[Model]) -> Attempt:
    return Attempt("count", f"SELECT count(*) FROM {_table(model)} HAVING count(*) > 0", [])


def _line(error: psycopg.Error) -> str:
    return str(error).partition("\n")[0]
