"""Monthly partitions of the audit log, created in advance, and a default partition."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from audit.events import Event
from audit.recorder import record
from audit.requests.client_info import ClientInfo
from config.tests.support.environment import DATABASE, ROLES, server

INSERT = "INSERT INTO audit_logs (id, creator_id, at, type, request_id, detail) VALUES (%s, %s, now(), 'x', '', '{}')"


@pytest.fixture
def database() -> Iterator[psycopg.Connection]:
    """A superuser's connection, whose transaction is rolled back after the test."""
    with psycopg.connect(server.superuser_url(DATABASE)) as connection:
        yield connection
        connection.rollback()


def become(connection: psycopg.Connection, role: str) -> None:
    connection.execute(f"SET LOCAL SESSION AUTHORIZATION {role}".encode())


def id_at(at: datetime) -> UUID:
    """The lowest UUIDv7 of that millisecond."""
    return UUID(int=(round(at.timestamp() * 1000) << 80) | (7 << 76) | (2 << 62))


def partition_at(connection: psycopg.Connection, at: datetime) -> str:
    event_id = id_at(at)
    connection.execute(INSERT, [event_id, uuid4()])
    (partition,) = fetch(
        connection, "SELECT tableoid::regclass::text FROM audit_logs WHERE id = %s", event_id
    )
    return str(partition)


def fetch(connection: psycopg.Connection, query: str, *values: Any) -> Any:
    return connection.execute(query.encode(), values or None).fetchone()


def month_start(months_ahead: int) -> datetime:
    now = datetime.now(UTC)
    months = now.year * 12 + now.month - 1 + months_ahead
    return datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)


def partitions(connection: psycopg.Connection) -> set[str]:
    query = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'audit_logs'::regclass"
    return {name for (name,) in connection.execute(query.encode())}


def test_event_is_in_the_partition_of_its_month(database: psycopg.Connection) -> None:
    event_id = record(Event.LOGIN_FAILED, client=ClientInfo())
    partition = fetch(database, "SELECT tableoid::regclass::text FROM audit_logs WHERE id = %s", event_id)
    assert partition == (f"audit_logs_{datetime.now(UTC):%Y%m}",)


def test_month_begins_and_ends_to_the_millisecond(database: psycopg.Connection) -> None:
    start, millisecond = month_start(1), timedelta(milliseconds=1)
    assert partition_at(database, start) == f"audit_logs_{start:%Y%m}"
    assert partition_at(database, start - millisecond) == f"audit_logs_{month_start(0):%Y%m}"


def test_event_without_a_partition_is_in_the_default_one(database: psycopg.Connection) -> None:
    assert partition_at(database, month_start(40)) == "audit_logs_other"
    assert partition_at(database, datetime(2001, 1, 1, tzinfo=UTC)) == "audit_logs_other"


def test_partitions_are_created_once_and_protected(database: psycopg.Connection) -> None:
    before = partitions(database)
    become(database, ROLES.operator)
    assert fetch(database, "SELECT audit_ensure_partitions(6)") == (3,)
    assert fetch(database, "SELECT audit_ensure_partitions(6)") == (0,)
    database.execute("RESET SESSION AUTHORIZATION")
    created = partitions(database) - before
    assert created == {f"audit_logs_{month_start(ahead):%Y%m}" for ahead in (4, 5, 6)}
    for partition in created:
        row = fetch(
            database,
            """SELECT relrowsecurity, relforcerowsecurity, relacl IS NULL, pg_get_userbyid(relowner),
                ARRAY(SELECT tgname::text FROM pg_trigger WHERE tgrelid = pg_class.oid AND tgenabled = 'A'
                      ORDER BY 1)
            FROM pg_class WHERE relname = %s""",
            partition,
        )
        assert row == (True, True, True, ROLES.owner, ["audit_logs_append_only", "audit_logs_no_truncate"])


def test_only_the_operator_creates_partitions_and_few(database: psycopg.Connection) -> None:
    become(database, ROLES.operator)
    assert fetch(database, "SELECT audit_ensure_partitions(1000000)") == (21,)
    database.execute("RESET SESSION AUTHORIZATION")
    become(database, ROLES.app)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        database.execute("SELECT audit_ensure_partitions(1)")


def test_month_without_a_partition_does_not_block_later_ones(database: psycopg.Connection) -> None:
    """Its events are in audit_logs_other, and stay there."""
    assert partition_at(database, month_start(5)) == "audit_logs_other"
    before = partitions(database)
    assert fetch(database, "SELECT audit_ensure_partitions(6)") == (2,)
    assert partitions(database) - before == {f"audit_logs_{month_start(ahead):%Y%m}" for ahead in (4, 6)}


def test_functions_have_a_fixed_search_path(database: psycopg.Connection) -> None:
    """A SECURITY DEFINER function must not use objects in the caller's schemas."""
    query = "SELECT proname, proconfig FROM pg_proc WHERE proname LIKE 'audit%' AND proname <> 'audit_refuse_change'"
    for name, config in database.execute(query.encode()).fetchall():
        assert config == ["search_path=pg_catalog, pg_temp"], name
