"""Two tenants with rows in every tenant table, and an attacker's connection.

Ada and Bob are tenants, and Olga is staff. Mallory has a connection of the app role whose tenant is Ada, and
sends arbitrary SQL.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tenancy.context import TENANT_SETTING

from .environment import DATABASE, ROLES, server
from .rls_rows import TABLES, Row, Rows, insert_statement, new_row, tenant_column

REFUSED = "InsufficientPrivilege"


@dataclass
class TwoTenants:
    ada: UUID
    bob: UUID
    olga: UUID
    rows: dict[UUID, Rows]
    superuser: psycopg.Connection

    def __getitem__(self, name: str) -> UUID:
        """`bob` is Bob's id, `bob_sessions` the id of his row in that table."""
        person, _, table = name.partition("_")
        tenant: UUID = getattr(self, person)
        return self.rows[tenant][table]["id"] if table else tenant

    def fill_in(self, template: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda name: str(self[name[1]]), template)

    def rows_of_others(self) -> dict[str, list[str]]:
        """All rows that are not Ada's, by table."""
        rows = {}
        for table in TABLES:
            query = f"SELECT to_jsonb(t)::text FROM {table} t WHERE {tenant_column(table)} <> %s ORDER BY 1"
            rows[table] = [text for (text,) in self.superuser.execute(query.encode(), [self.ada])]
        return rows

    def leaks(self, output: str, *, statement: str) -> list[str]:
        """Values of Bob's and Olga's rows that are in the output but not in the statement."""
        secrets = self._values(self.bob, self.olga) - self._values(self.ada)
        return [value for value in secrets if len(value) > 7 and value in output and value not in statement]

    def _values(self, *people: UUID) -> set[str]:
        rows = [row for person in people for row in self.rows[person].values()]
        return {str(value) for row in rows for value in row.values()}


@pytest.fixture
def two_tenants(superuser: psycopg.Connection) -> TwoTenants:
    ada, bob, olga = uuid4(), uuid4(), uuid4()
    operator = account(olga, "olga", is_staff=True, is_superuser=True)
    insert(superuser, "creators", operator)
    rows = {ada: insert_rows(superuser, ada, "ada"), bob: insert_rows(superuser, bob, "bob")}
    return TwoTenants(ada, bob, olga, rows | {olga: {"creators": operator}}, superuser)


@pytest.fixture
def mallory(two_tenants: TwoTenants) -> Iterator[psycopg.Connection]:
    with psycopg.connect(server.url(ROLES.app, DATABASE), autocommit=True) as app:
        set_tenant(app, two_tenants.ada)
        yield app


def account(tenant: UUID, name: str, **columns: Any) -> Row:
    return new_row("creators", tenant, {}) | {"email": f"{name}@example.com", "holds_email": True, **columns}


def insert_rows(superuser: psycopg.Connection, tenant: UUID, name: str) -> Rows:
    rows: Rows = {}
    for table in TABLES:
        rows[table] = account(tenant, name) if table == "creators" else new_row(table, tenant, rows)
        insert(superuser, table, rows[table])
    return rows


def insert(superuser: psycopg.Connection, table: str, row: Row) -> None:
    superuser.execute(insert_statement(table, row).encode(), list(row.values()))


def set_tenant(app: psycopg.Connection, tenant: UUID | str) -> None:
    app.execute("SELECT set_config(%s, %s, false)", [TENANT_SETTING, str(tenant)])


def outcome(app: psycopg.Connection, statement: str, values: list[Any] | None = None) -> Any:
    """The returned rows, the number of affected rows, or the name of the error."""
    try:
        with app.transaction():
            cursor = app.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else cursor.rowcount
    except psycopg.Error as error:
        return type(error).__name__


def assert_outcomes(app: psycopg.Connection, two_tenants: TwoTenants, statements: dict[str, Any]) -> None:
    """Each statement has its outcome, reveals no value of another tenant and changes none of its rows."""
    before, notices, failures = two_tenants.rows_of_others(), [], []
    app.add_notice_handler(lambda notice: notices.append(str(notice.message_primary)))
    for template, expected in statements.items():
        statement = two_tenants.fill_in(template)
        notices.clear()
        result = outcome(app, statement)
        leaks = two_tenants.leaks(f"{result} {notices}", statement=statement)
        if result != expected or leaks:
            failures.append((statement, result, leaks))
    assert not failures, "\n".join(map(str, failures))
    assert two_tenants.rows_of_others() == before
