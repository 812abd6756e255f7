"""A page of the book for each month, made ahead of time, and one for what nobody foresaw."""

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
    """The superuser in a transaction that is rolled back: what is made here is gone afterwards."""
    with psycopg.connect(server.superuser_url(DATABASE)) as connection:
        yield connection
        connection.rollback()


def become(connection: psycopg.Connection, role: str) -> None:
    connection.execute(f"SET LOCAL SESSION AUTHORIZATION {role}".encode())


def id_at(moment: datetime) -> UUID:
    """A UUIDv7 of that millisecond, and the lowest there is."""
    return UUID(int=(round(moment.timestamp() * 1000) << 80) | (7 << 76) | (2 << 62))


def page_of(connection: psycopg.Connection, moment: datetime) -> str:
    event_id = id_at(moment)
    connection.execute(INSERT, [event_id, uuid4()])
    (page,) = one(connection, "SELECT tableoid::regclass::text FROM audit_logs WHERE id = %s", event_id)
    return str(page)


def one(connection: psycopg.Connection, query: str, *values: Any) -> Any:
    return connection.execute(query.encode(), values or None).fetchone()


def month_start(months_ahead: int) -> datetime:
    now = datetime.now(UTC)
    months = now.year * 12 + now.month - 1 + months_ahead
    return datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)


def pages(connection: psycopg.Connection) -> set[str]:
    query = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'audit_logs'::regclass"
    return {name for (name,) in connection.execute(query.encode())}


def test_event_is_on_the_page_of_its_month(database: psycopg.Connection) -> None:
    event_id = record(Event.LOGIN_FAILED, client=ClientInfo())
    page = one(database, "SELECT tableoid::regclass::text FROM audit_logs WHERE id = %s", event_id)
    assert page == (f"audit_logs_{datetime.now(UTC):%Y%m}",)


def test_month_begins_and_ends_to_the_millisecond(database: psycopg.Connection) -> None:
    start, tick = month_start(1), timedelta(milliseconds=1)
    assert page_of(database, start) == f"audit_logs_{start:%Y%m}"
    assert page_of(database, start - tick) == f"audit_logs_{month_start(0):%Y%m}"


def test_event_without_a_page_is_not_lost(database: psycopg.Connection) -> None:
    assert page_of(database, month_start(40)) == "audit_logs_other"
    assert page_of(database, datetime(2001, 1, 1, tzinfo=UTC)) == "audit_logs_other"


def test_pages_are_made_once_ahead_of_time_and_shut(database: psycopg.Connection) -> None:
    before = pages(database)
    become(database, ROLES.operator)
    assert one(database, "SELECT audit_ensure_partitions(6)") == (3,)
    assert one(database, "SELECT audit_ensure_partitions(6)") == (0,)
    database.execute("RESET SESSION AUTHORIZATION")
    made = pages(database) - before
    assert made == {f"audit_logs_{month_start(ahead):%Y%m}" for ahead in (4, 5, 6)}
    for page in made:
        facts = one(
            database,
            """SELECT relrowsecurity, relforcerowsecurity, relacl IS NULL, pg_get_userbyid(relowner),
                ARRAY(SELECT tgname::text FROM pg_trigger WHERE tgrelid = pg_class.oid AND tgenabled = 'A'
                      ORDER BY 1)
            FROM pg_class WHERE relname = %s""",
            page,
        )
        assert facts == (True, True, True, ROLES.owner, ["audit_logs_append_only", "audit_logs_no_truncate"])


def test_only_the_operator_has_pages_made_and_never_many(database: psycopg.Connection) -> None:
    become(database, ROLES.operator)
    assert one(database, "SELECT audit_ensure_partitions(1000000)") == (21,)
    database.execute("RESET SESSION AUTHORIZATION")
    become(database, ROLES.app)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        database.execute("SELECT audit_ensure_partitions(1)")


def test_month_that_began_without_a_page_stops_no_later_one(database: psycopg.Connection) -> None:
    """Its events are in audit_logs_other already, and stay there."""
    assert page_of(database, month_start(5)) == "audit_logs_other"
    before = pages(database)
    assert one(database, "SELECT audit_ensure_partitions(6)") == (2,)
    assert pages(database) - before == {f"audit_logs_{month_start(ahead):%Y%m}" for ahead in (4, 6)}


def test_nothing_is_found_under_a_path_of_the_callers(database: psycopg.Connection) -> None:
    """A SECURITY DEFINER function that looked things up in the caller's schemas could be led astray."""
    query = "SELECT proname, proconfig FROM pg_proc WHERE proname LIKE 'audit%' AND proname <> 'audit_refuse_change'"
    for name, config in database.execute(query.encode()).fetchall():
        assert config == ["search_path=pg_catalog, pg_temp"], name
