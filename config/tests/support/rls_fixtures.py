"""The cast behind the walls.

Ada owns; Bob is another tenant; Mallory has got hold of a connection of the app role on which the
tenant is Ada, and sends whatever SQL she likes. Olga is staff.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from django.apps import apps
from django.db import connection

from tenancy.checks.sample_rows import adapted, sample_row
from tenancy.constraints import tenant_column, tenant_models
from tenancy.context import TENANT_SETTING

from .environment import DATABASE, ROLES, server

MODELS = {model._meta.db_table: model for model in tenant_models(apps)}
REFUSED = "InsufficientPrivilege"
Rows = dict[Any, dict[str, Any]]


@dataclass
class TwoTenants:
    """Ada and Bob have a row in every tenant table, Olga has one among the creators."""

    ada: UUID
    bob: UUID
    olga: UUID
    rows: dict[UUID, Rows]  # person → model → row
    superuser: psycopg.Connection

    def __getitem__(self, name: str) -> UUID:
        """`ada_sessions`: the key of Ada's row in that table; `bob`: Bob's id."""
        person, _, table = name.partition("_")
        owner: UUID = getattr(self, person)
        return self.rows[owner][MODELS[table]]["id"] if table else owner

    def filled(self, template: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda name: str(self[name[1]]), template)

    def others(self) -> dict[str, list[str]]:
        """Every row that is not Ada's."""
        found = {}
        for table, model in MODELS.items():
            query = f"SELECT to_jsonb(t)::text FROM {table} t WHERE {tenant_column(model)} <> %s ORDER BY 1"
            found[table] = [text for (text,) in self.superuser.execute(query.encode(), [self.ada])]
        return found

    def told_by(self, answer: str, *, asked: str) -> list[str]:
        """Values of Bob's and Olga's rows that are in the answer and were not in the question."""
        theirs, adas = (self._values(self.bob, self.olga), self._values(self.ada))
        secrets = [value for value in theirs - adas if len(value) > 7 and value not in asked]
        return [secret for secret in secrets if secret in answer]

    def _values(self, *people: UUID) -> set[str]:
        rows = [row for person in people for row in self.rows[person].values()]
        return {str(value) for row in rows for value in row.values()}


@pytest.fixture
def two_tenants(superuser: psycopg.Connection) -> TwoTenants:
    ada, bob, olga = uuid4(), uuid4(), uuid4()
    rows = {ada: settle(superuser, ada, "ada"), bob: settle(superuser, bob, "bob")}
    rows[olga] = {MODELS["creators"]: account(olga, "olga", is_staff=True, is_superuser=True)}
    put(superuser, MODELS["creators"], rows[olga][MODELS["creators"]])
    return TwoTenants(ada, bob, olga, rows, superuser)


@pytest.fixture
def mallory(two_tenants: TwoTenants) -> Iterator[psycopg.Connection]:
    with psycopg.connect(server.url(ROLES.app, DATABASE), autocommit=True) as app:
        become(app, two_tenants.ada)
        yield app


def account(tenant: UUID, name: str, **fields: Any) -> dict[str, Any]:
    row = sample_row(MODELS["creators"], tenant, {})
    return row | {"email": f"{name}@example.com", "holds_email": True, **fields}


def settle(superuser: psycopg.Connection, tenant: UUID, name: str) -> Rows:
    rows: Rows = {}
    for model in tenant_models(apps):
        is_account = model is MODELS["creators"]
        rows[model] = account(tenant, name) if is_account else sample_row(model, tenant, rows)
        put(superuser, model, rows[model])
    return rows


def put(superuser: psycopg.Connection, model: Any, row: dict[str, Any]) -> None:
    superuser.execute(insertion(model, row).encode(), adapted(model, row, connection))


def insertion(model: Any, row: dict[str, Any]) -> str:
    return f"INSERT INTO {model._meta.db_table} ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})"


def become(app: psycopg.Connection, tenant: UUID | str) -> None:
    app.execute("SELECT set_config(%s, %s, false)", [TENANT_SETTING, str(tenant)])


def outcome(app: psycopg.Connection, statement: str, values: list[Any] | None = None) -> Any:
    """The rows that come back, else how many were touched, else the name of the error."""
    try:
        with app.transaction():
            cursor = app.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else cursor.rowcount
    except psycopg.Error as error:
        return type(error).__name__


def try_all(app: psycopg.Connection, two_tenants: TwoTenants, statements: dict[str, Any]) -> None:
    """Each has its outcome; none tells of another tenant's rows, and none changes one."""
    before, heard, wrong = two_tenants.others(), [], []
    app.add_notice_handler(lambda notice: heard.append(str(notice.message_primary)))
    for template, expected in statements.items():
        statement = two_tenants.filled(template)
        heard.clear()
        result = outcome(app, statement)
        told = two_tenants.told_by(f"{result} {heard}", asked=statement)
        if result != expected or told:
            wrong.append((statement, result, told))
    assert not wrong, "\n".join(map(str, wrong))
    assert two_tenants.others() == before, "a row has changed"
