"""Old pages go as a whole, and a seal says so."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from accounts.tests.support.flows import all_at_once
from audit.models import AuditLog, PersonalData
from audit.partitions import id_bounds, months_after, partition_name
from audit.recorder import personal_digest
from audit.retention import drop_expired_partitions
from audit.sealing import sealer
from audit.sealing.verifier import Verification
from audit.tests.support.tampering import TABLES, at_once, record_some, verify
from config.tests.support.environment import DATABASE, ROLES, server
from tenancy.context import OPERATOR, using_alias

__all__ = ["at_once"]
THIS_MONTH = datetime.now(UTC).date().replace(day=1)


class Shelf:
    """Pages of earlier months, as they would be there after some time."""

    def __init__(self, database: psycopg.Connection) -> None:
        self.database = database

    def put(self, months_ago: int, rows: int) -> str:
        page = partition_name(months_after(THIS_MONTH, -months_ago))
        first, end = id_bounds(page)
        self.database.execute(
            f"CREATE TABLE {page} PARTITION OF audit_logs FOR VALUES FROM ('{first}') TO ('{end}')".encode()
        )
        self.database.execute(f"ALTER TABLE {page} OWNER TO {ROLES.owner}".encode())
        self.database.execute("SELECT audit_protect_partition(%s)", [page])
        for number in range(rows):
            self.write(UUID(int=first.int + (7 << 76) + number + 1))
        return page

    def write(self, event_id: UUID) -> None:
        event = [event_id, uuid4()]
        at = datetime.fromtimestamp((event_id.int >> 80) / 1000, UTC)
        self.database.execute(
            "INSERT INTO audit_logs (id, creator_id, at, type, request_id, detail, personal_digest) "
            "VALUES (%s, %s, %s, 'login.failed', '', '{}', %s)",
            [*event, at, personal_digest(b"salt", ip_address=None, user_agent="", email="")],
        )
        self.database.execute(
            "INSERT INTO audit_personal_data (id, creator_id, salt, user_agent, email) "
            "VALUES (%s, %s, 'salt', '', '')", event,
        )  # fmt: skip

    def pages(self) -> set[str]:
        query = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'audit_logs'::regclass"
        return {page for (page,) in self.database.execute(query)}


@pytest.fixture
def shelf(superuser: psycopg.Connection, settings: Any) -> Iterator[Shelf]:
    settings.AUDIT_RETENTION_MONTHS = 6
    shelf = Shelf(superuser)
    before = shelf.pages()
    yield shelf
    for page in shelf.pages() - before:
        superuser.execute(f"DROP TABLE {page}".encode())


def drop() -> list[str]:
    with using_alias(OPERATOR):
        return drop_expired_partitions()


def seal() -> int:
    with using_alias(OPERATOR):
        return sealer.seal_new_rows()


def test_old_page_goes_and_the_book_still_holds(shelf: Shelf) -> None:
    old, kept = shelf.put(7, rows=5), shelf.put(6, rows=4)
    seal()
    assert drop() == [old]
    assert old not in shelf.pages()
    assert kept in shelf.pages()
    record_some(3)
    seal()
    assert verify() == []
    with using_alias(OPERATOR):
        look = Verification()
        assert list(look.findings()) == []
        assert {page: said.rows for page, said in look.dropped.items()} == {old: 5}
        first, end = id_bounds(old)
        assert not PersonalData.objects.filter(id__gte=first, id__lt=end).exists()
        assert AuditLog.objects.filter(id__gte=end, type="login.failed").exists()
    assert drop() == []


def test_pages_stay_without_the_setting(shelf: Shelf, settings: Any) -> None:
    settings.AUDIT_RETENTION_MONTHS = 0
    shelf.put(70, rows=1)
    seal()
    assert drop() == []


def test_page_with_rows_that_are_not_sealed_stays(shelf: Shelf) -> None:
    old = shelf.put(8, rows=2)
    assert drop() == []
    seal()
    assert drop() == [old]


def test_page_that_somebody_reads_stays_until_later(shelf: Shelf) -> None:
    old = shelf.put(8, rows=2)
    seal()
    with psycopg.connect(server.url(ROLES.operator, DATABASE)) as reader:
        reader.execute("SELECT count(*) FROM audit_logs")
        assert drop() == []
        assert verify() == []
    assert drop() == [old]
    assert verify() == []


def test_no_page_goes_while_somebody_verifies(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows would be missed: the note of them is younger than what the verifier sees."""
    shelf.put(8, rows=2)
    seal()
    read_ahead, gone = Verification._read_ahead, []

    def meanwhile(self: Verification) -> None:
        read_ahead(self)
        gone.extend(all_at_once(1, lambda number: drop()))

    monkeypatch.setattr(Verification, "_read_ahead", meanwhile)
    assert verify() == []
    assert gone == [[]]


def test_row_that_was_taken_from_a_page_before_it_went_is_missed(shelf: Shelf) -> None:
    old = shelf.put(8, rows=5)
    seal()
    shelf.database.execute(f"ALTER TABLE {old} DISABLE TRIGGER ALL".encode())
    shelf.database.execute(f"DELETE FROM {old} WHERE id = (SELECT max(id::text)::uuid FROM {old})".encode())
    assert drop() == [old]
    assert verify() == [f"{old} was let go with 4 rows, and 5 of its rows were sealed"]


def test_page_that_went_without_a_note_is_missed(shelf: Shelf) -> None:
    old = shelf.put(8, rows=2)
    seal()
    shelf.database.execute(f"DROP TABLE {old}".encode())
    found = verify()
    assert len(found) == 2
    assert all("was removed after seal" in one for one in found)


def test_row_of_a_page_that_went_does_not_come_back(shelf: Shelf) -> None:
    old = shelf.put(8, rows=2)
    seal()
    drop()
    shelf.write(UUID(int=id_bounds(old)[0].int + (7 << 76) + 99))
    (found,) = verify()
    assert "was put in later than it says" in found


@pytest.mark.parametrize("months_ago", [-1, 0, 1, 3])
def test_nobody_lets_a_young_page_go(months_ago: int, shelf: Shelf) -> None:
    month = months_after(THIS_MONTH, -months_ago)
    with psycopg.connect(server.url(ROLES.operator, DATABASE)) as operator:
        with (
            pytest.raises(psycopg.errors.InsufficientPrivilege, match="three months"),
            operator.transaction(),
        ):
            operator.execute("SELECT audit_drop_partition(%s)", [month])
        with pytest.raises(psycopg.Error):
            operator.execute("SELECT audit_drop_partition('-infinity')")
    with (
        psycopg.connect(server.url(ROLES.app, DATABASE)) as app,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        app.execute("SELECT audit_drop_partition(%s)", [date(2001, 1, 1)])


@pytest.mark.parametrize("spelling", ["{:%Y-%m-%d} BC", "1{:%Y-%m-%d}", "infinity", "-infinity"])
def test_no_spelling_of_a_month_drops_a_young_page(spelling: str, shelf: Shelf) -> None:
    """The guard would judge one form of the date, and the statement name the page after another."""
    pages = shelf.pages()
    with psycopg.connect(server.url(ROLES.operator, DATABASE), autocommit=True) as operator:
        for months_ago in range(-1, 4):
            month = spelling.format(months_after(THIS_MONTH, -months_ago))
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="three months"):
                operator.execute("SELECT audit_drop_partition(%s::date)", [month])
    assert shelf.pages() == pages


@pytest.mark.parametrize("table", [table for table in TABLES if "seal" in table])
def test_operator_adds_seals_and_takes_none_back(table: str, superuser: psycopg.Connection) -> None:
    record_some(1)
    seal()
    changes = [
        f"UPDATE {table} SET {'signature' if table == 'audit_seals' else 'private_key'} = 'x'",
        f"DELETE FROM {table}",
        f"TRUNCATE {table}",
        f"MERGE INTO {table} USING (SELECT 1) m ON true WHEN MATCHED THEN DELETE",
    ]
    for role in (ROLES.app, ROLES.operator, ROLES.owner, "postgres"):
        with psycopg.connect(server.url(role, DATABASE), autocommit=True) as connection:
            for change in changes:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(change.encode())
            if role == "postgres":
                connection.execute("SET session_replication_role = replica")
                for change in changes:
                    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
                        connection.execute(change.encode())
    with (
        psycopg.connect(server.url(ROLES.app, DATABASE)) as app,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        app.execute(f"SELECT FROM {table}".encode())
