"""The database backend: health checks, connection settings, errors and calls of database functions."""

import time
from collections.abc import Iterator

import psycopg
import pytest
from django.db import InternalError, OperationalError, connection, transaction
from django.db.backends.postgresql import base

from config.tests.support.accounts import Person
from config.tests.support.database import superuser_of
from config.tests.support.environment import DATABASE, ROLES, server
from tenancy.context import TENANT_SETTING
from tenancy.postgresql.base import CONNECTION_SETTINGS, HEALTH_CHECK_INTERVAL


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Records each `SELECT 1` of Django's health check."""
    statements: list[str] = []
    is_usable = base.DatabaseWrapper.is_usable

    def record(self: base.DatabaseWrapper) -> bool:
        statements.append("SELECT 1")
        return is_usable(self)

    monkeypatch.setattr(base.DatabaseWrapper, "is_usable", record)
    monkeypatch.setattr(connection, "_last_checked", float("-inf"), raising=False)
    return statements


def end_request() -> None:
    connection.close_if_unusable_or_obsolete()


def test_recently_checked_connection_is_not_checked_again(checks: list[str]) -> None:
    connection.ensure_connection()
    for _ in range(3):
        end_request()
        connection.fetch_rows("SELECT 1", {})[0]
    assert checks == ["SELECT 1"]


def test_idle_connection_is_checked(checks: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    connection.ensure_connection()
    assert connection.is_usable()
    checks.clear()
    later = time.monotonic() + HEALTH_CHECK_INTERVAL + 0.1
    monkeypatch.setattr("tenancy.postgresql.base.time.monotonic", lambda: later)
    assert connection.is_usable()
    assert checks == ["SELECT 1"]


def test_connection_closed_by_the_server_is_replaced(superuser: psycopg.Connection) -> None:
    connection.ensure_connection()
    (pid,) = connection.fetch_rows("SELECT pg_backend_pid()", {})[0]
    end_request()
    superuser.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    (other,) = connection.fetch_rows("SELECT pg_backend_pid()", {})[0]
    assert other != pid


def test_connection_with_unread_data_is_checked(checks: list[str], superuser: psycopg.Connection) -> None:
    """A notification makes the socket readable although the connection is usable."""
    connection.ensure_connection()
    assert connection.is_usable()
    checks.clear()
    with connection.cursor() as cursor:
        cursor.execute("LISTEN channel")
    superuser.execute("NOTIFY channel")
    for _ in range(100):
        if connection.is_usable() and checks:
            break
        time.sleep(0.01)
    assert checks


@pytest.fixture
def mallory() -> Iterator[psycopg.Connection]:
    with psycopg.connect(server.url(ROLES.app, DATABASE), autocommit=True) as mallory:
        yield mallory
    with superuser_of(DATABASE) as superuser:
        superuser.execute(f"ALTER ROLE {ROLES.app} IN DATABASE {DATABASE} RESET ALL".encode())
    connection.close()


def set_default(session: psycopg.Connection, name: str, value: str) -> None:
    session.execute(f"ALTER ROLE {ROLES.app} IN DATABASE {DATABASE} SET {name} = '{value}'".encode())


def test_connection_overrides_the_defaults_of_its_role(
    mallory: psycopg.Connection, superuser: psycopg.Connection, ada: Person
) -> None:
    """A role can change its own defaults, except for the tenant's: that requires a superuser."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        set_default(mallory, TENANT_SETTING, str(ada.id))
    set_default(superuser, TENANT_SETTING, str(ada.id))
    for name, value in {
        "default_transaction_isolation": "serializable",
        "idle_in_transaction_session_timeout": "0",
        "lock_timeout": "0",
        "search_path": "nowhere",
    }.items():
        set_default(mallory, name, value)
    connection.close()
    names = list(CONNECTION_SETTINGS)
    columns = ", ".join(f"current_setting({name!r})" for name in names)
    (values,) = connection.fetch_rows(f"SELECT {columns}", {})
    assert dict(zip(names, values, strict=True)) == CONNECTION_SETTINGS


def test_errors_are_django_errors() -> None:
    with pytest.raises(OperationalError):
        connection.fetch_rows("SELECT pg_terminate_backend(pg_backend_pid())", {})[0]
    connection.close()
    with pytest.raises(InternalError):
        connection.fetch_rows("DO $$ BEGIN RAISE SQLSTATE 'XX000'; END $$", {})[0]


def test_session_ended_by_the_server_is_an_operational_error() -> None:
    """psycopg raises InternalError. The request gets a 503, and the next one a new connection."""
    with transaction.atomic():
        connection.fetch_rows("SELECT set_config('idle_in_transaction_session_timeout', '50', true)", {})[0]
        time.sleep(0.3)
        with pytest.raises(OperationalError, match="idle-in-transaction"):
            connection.fetch_rows("SELECT 1", {})[0]
        transaction.set_rollback(True)
    end_request()
    assert connection.fetch_rows("SELECT 1", {})[0] == (1,)


def test_results_out_of_order_are_an_operational_error(checks: list[str]) -> None:
    connection.ensure_connection()
    assert connection.is_usable()
    with pytest.raises(OperationalError), connection.wrap_database_errors:
        raise psycopg.InternalError("received 2 results from command 'BEGIN'")
    checks.clear()
    end_request()
    assert checks == ["SELECT 1"]
