"""Expired partitions are dropped, and a seal records each one."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from accounts.tests.support.flows import all_at_once
from audit.models import AuditLog, PersonalData
from audit.partitions import id_bounds, months_after
from audit.recorder import personal_digest
from audit.retention import drop_expired_partitions
from audit.sealing import sealer
from audit.sealing.verifier import Summary
from audit.sealing.verifier import verify as verify_into
from audit.tests.support.tampering import TABLES, record_events, verify
from config.tests.support.environment import DATABASE, ROLES, server
from tenancy.context import OPERATOR, using_alias

pytestmark = pytest.mark.usefixtures("seal_immediately")
THIS_MONTH = datetime.now(UTC).date().replace(day=1)


class Partitions:
    """Adds partitions of earlier months."""

    def __init__(self, database: psycopg.Connection) -> None:
        self.database = database

    def add(self, months_ago: int, rows: int) -> str:
        name = f"audit_logs_{months_after(THIS_MONTH, -months_ago):%Y%m}"
        first, end = id_bounds(name)
        self.database.execute(
            f"CREATE TABLE {name} PARTITION OF audit_logs FOR VALUES FROM ('{first}') TO ('{end}')".encode()
        )
        self.database.execute(f"ALTER TABLE {name} OWNER TO {ROLES.owner}".encode())
        self.database.execute("SELECT audit_protect_partition(%s)", [name])
        for number in range(rows):
            self.insert(UUID(int=first.int + (7 << 76) + number + 1))
        return name

    def insert(self, event_id: UUID) -> None:
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

    def names(self) -> set[str]:
        query = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'audit_logs'::regclass"
        return {name for (name,) in self.database.execute(query)}


@pytest.fixture
def partitions(superuser: psycopg.Connection, settings: Any) -> Iterator[Partitions]:
    settings.AUDIT_RETENTION_MONTHS = 6
    partitions = Partitions(superuser)
    before = partitions.names()
    yield partitions
    for name in partitions.names() - before:
        superuser.execute(f"DROP TABLE {name}".encode())


def drop() -> list[str]:
    with using_alias(OPERATOR):
        return drop_expired_partitions()


def seal() -> int:
    with using_alias(OPERATOR):
        return sealer.seal_new_rows()


def test_expired_partition_is_dropped_and_the_log_still_matches(partitions: Partitions) -> None:
    old, kept = partitions.add(7, rows=5), partitions.add(6, rows=4)
    seal()
    assert drop() == [old]
    assert old not in partitions.names()
    assert kept in partitions.names()
    record_events(3)
    seal()
    assert verify() == []
    with using_alias(OPERATOR):
        summary = Summary()
        assert list(verify_into(summary)) == []
        (dropped,) = (partition.statement for partition in summary.dropped)
        assert (dropped.partition, dropped.rows) == (old, 5)
        first, end = id_bounds(old)
        assert not PersonalData.objects.filter(id__gte=first, id__lt=end).exists()
        assert AuditLog.objects.filter(id__gte=end, type="login.failed").exists()
    assert drop() == []


def test_nothing_is_dropped_without_the_setting(partitions: Partitions, settings: Any) -> None:
    settings.AUDIT_RETENTION_MONTHS = 0
    partitions.add(70, rows=1)
    seal()
    assert drop() == []


def test_partition_with_unsealed_rows_is_kept(partitions: Partitions) -> None:
    old = partitions.add(8, rows=2)
    assert drop() == []
    seal()
    assert drop() == [old]


def test_partition_in_use_is_dropped_later(partitions: Partitions) -> None:
    old = partitions.add(8, rows=2)
    seal()
    with psycopg.connect(server.url(ROLES.operator, DATABASE)) as reader:
        reader.execute("SELECT count(*) FROM audit_logs")
        assert drop() == []
        assert verify() == []
    assert drop() == [old]
    assert verify() == []


def test_partition_is_not_dropped_during_verification(partitions: Partitions) -> None:
    """The verifier's snapshot would have neither its rows nor the seal that records the drop."""
    partitions.add(8, rows=2)
    seal()
    dropped: list[list[str]] = []
    with using_alias(OPERATOR):
        findings = verify_into(
            Summary(), on_progress=lambda summary: dropped.extend(all_at_once(1, lambda number: drop()))
        )
        assert list(findings) == []
    assert dropped
    assert not any(dropped)


def test_row_deleted_before_the_drop_is_reported(partitions: Partitions) -> None:
    old = partitions.add(8, rows=5)
    seal()
    partitions.database.execute(f"ALTER TABLE {old} DISABLE TRIGGER ALL".encode())
    partitions.database.execute(
        f"DELETE FROM {old} WHERE id = (SELECT max(id::text)::uuid FROM {old})".encode()
    )
    assert drop() == [old]
    assert verify() == [f"{old} was dropped with 4 rows, but 5 of its rows were sealed"]


def test_drop_without_a_seal_is_reported(partitions: Partitions) -> None:
    old = partitions.add(8, rows=2)
    seal()
    partitions.database.execute(f"DROP TABLE {old}".encode())
    findings = verify()
    assert len(findings) == 2
    assert all("was removed after seal" in finding for finding in findings)


def test_row_inserted_into_a_dropped_month_is_reported(partitions: Partitions) -> None:
    old = partitions.add(8, rows=2)
    seal()
    drop()
    partitions.insert(UUID(int=id_bounds(old)[0].int + (7 << 76) + 99))
    (finding,) = verify()
    assert "is backdated" in finding


@pytest.mark.parametrize("months_ago", [-1, 0, 1, 3])
def test_no_role_drops_a_recent_partition(months_ago: int, partitions: Partitions) -> None:
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


@pytest.mark.parametrize("date_format", ["{:%Y-%m-%d} BC", "1{:%Y-%m-%d}", "infinity", "-infinity"])
def test_no_date_format_drops_a_recent_partition(date_format: str, partitions: Partitions) -> None:
    """The function must check the name that it drops, not another form of the date."""
    names = partitions.names()
    with psycopg.connect(server.url(ROLES.operator, DATABASE), autocommit=True) as operator:
        for months_ago in range(-1, 4):
            month = date_format.format(months_after(THIS_MONTH, -months_ago))
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="three months"):
                operator.execute("SELECT audit_drop_partition(%s::date)", [month])
    assert partitions.names() == names


@pytest.mark.parametrize("table", [table for table in TABLES if "seal" in table])
def test_no_role_changes_or_deletes_seals(table: str, superuser: psycopg.Connection) -> None:
    record_events(1)
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
