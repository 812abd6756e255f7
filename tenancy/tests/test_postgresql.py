"""The database backend: connections are looked after without a statement; a call is the driver's alone."""

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
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Django's own statement, each time that it is sent."""
    sent: list[str] = []
    usable = base.DatabaseWrapper.is_usable

    def noted(self: base.DatabaseWrapper) -> bool:
        sent.append("SELECT 1")
        return usable(self)

    monkeypatch.setattr(base.DatabaseWrapper, "is_usable", noted)
    monkeypatch.setattr(connection, "_last_checked", float("-inf"), raising=False)
    return sent


def end_request() -> None:
    connection.close_if_unusable_or_obsolete()


def test_connection_that_stands_is_asked_nothing(asked: list[str]) -> None:
    connection.ensure_connection()
    for _ in range(3):
        end_request()
        connection.fetch_rows("SELECT 1", {})[0]
    assert asked == ["SELECT 1"]


def test_connection_that_lay_idle_is_asked(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    connection.ensure_connection()
    assert connection.is_usable()
    asked.clear()
    later = time.monotonic() + HEALTH_CHECK_INTERVAL + 0.1
    monkeypatch.setattr("tenancy.postgresql.base.time.monotonic", lambda: later)
    assert connection.is_usable()
    assert asked == ["SELECT 1"]


def test_connection_that_was_closed_over_there_is_replaced(superuser: psycopg.Connection) -> None:
    connection.ensure_connection()
    (pid,) = connection.fetch_rows("SELECT pg_backend_pid()", {})[0]
    end_request()
    superuser.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    (other,) = connection.fetch_rows("SELECT pg_backend_pid()", {})[0]
    assert other != pid


def test_word_from_the_server_makes_it_ask(asked: list[str], superuser: psycopg.Connection) -> None:
    """Something waits on the socket, and the connection stands: the statement tells."""
    connection.ensure_connection()
    assert connection.is_usable()
    asked.clear()
    with connection.cursor() as cursor:
        cursor.execute("LISTEN somebody")
    superuser.execute("NOTIFY somebody")
    for _ in range(100):
        if connection.is_usable() and asked:
            break
        time.sleep(0.01)
    assert asked


@pytest.fixture
def mallory() -> Iterator[psycopg.Connection]:
    with psycopg.connect(server.url(ROLES.app, DATABASE), autocommit=True) as mallory:
        yield mallory
    with superuser_of(DATABASE) as superuser:
        superuser.execute(f"ALTER ROLE {ROLES.app} IN DATABASE {DATABASE} RESET ALL".encode())
    connection.close()


def preset(role: psycopg.Connection, name: str, value: str) -> None:
    role.execute(f"ALTER ROLE {ROLES.app} IN DATABASE {DATABASE} SET {name} = '{value}'".encode())


def test_connection_does_not_take_its_roles_own_defaults(
    mallory: psycopg.Connection, superuser: psycopg.Connection, ada: Person
) -> None:
    """PostgreSQL lets every role change its own, but for the tenant: that takes a superuser."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        preset(mallory, TENANT_SETTING, str(ada.id))
    preset(superuser, TENANT_SETTING, str(ada.id))
    for name, value in {
        "default_transaction_isolation": "serializable",
        "idle_in_transaction_session_timeout": "0",
        "lock_timeout": "0",
        "search_path": "nowhere",
    }.items():
        preset(mallory, name, value)
    connection.close()
    names = list(CONNECTION_SETTINGS)
    found = connection.fetch_rows(f"SELECT {', '.join(f'current_setting({name!r})' for name in names)}", {})[
        0
    ]
    assert dict(zip(names, found, strict=True)) == CONNECTION_SETTINGS


def test_errors_are_djangos() -> None:
    with pytest.raises(OperationalError):
        connection.fetch_rows("SELECT pg_terminate_backend(pg_backend_pid())", {})[0]
    connection.close()
    with pytest.raises(InternalError):
        connection.fetch_rows("DO $$ BEGIN RAISE SQLSTATE 'XX000'; END $$", {})[0]


def test_session_that_the_server_ended_is_a_database_that_is_away() -> None:
    """To psycopg it is an internal error; to whoever asked it is 503, and the next one asks anew."""
    with transaction.atomic():
        connection.fetch_rows("SELECT set_config('idle_in_transaction_session_timeout', '50', true)", {})[0]
        time.sleep(0.3)
        with pytest.raises(OperationalError, match="idle-in-transaction"):
            connection.fetch_rows("SELECT 1", {})[0]
        transaction.set_rollback(True)
    end_request()
    assert connection.fetch_rows("SELECT 1", {})[0] == (1,)


def test_answers_out_of_step_are_a_database_that_is_away(asked: list[str]) -> None:
    connection.ensure_connection()
    assert connection.is_usable()
    with pytest.raises(OperationalError), connection.wrap_database_errors:
        raise psycopg.InternalError("received 2 results from command 'BEGIN'")
    asked.clear()
    end_request()
    assert asked == ["SELECT 1"]
