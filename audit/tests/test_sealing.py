"""New rows are sealed after the fact: each one once, whenever it becomes visible, whoever else seals."""

import hashlib
import random
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.db import transaction

from accounts.jobs.worker import SEALING_INTERVAL, Worker
from accounts.tests.support.flows import all_at_once
from audit.events import Event
from audit.exceptions import ChainBrokenError, SealKeyLockedError
from audit.models import Seal
from audit.recorder import erase_personal_data, record
from audit.requests.client_info import ClientInfo
from audit.requests.metrics import UNSEALED_SECONDS
from audit.sealing import chain, sealer, verifier
from audit.sealing.keys import signing_key
from audit.sealing.verifier import Verification
from audit.tests.support.tampering import at_once, record_some, verify
from config.tests.support.accounts import Person
from config.tests.support.environment import DATABASE, ROLES, server
from tenancy.context import OPERATOR, tenant_scope, using_alias

__all__ = ["at_once"]


def seal() -> int:
    with using_alias(OPERATOR):
        return sealer.seal_new_rows()


def counts() -> tuple[int, int, int]:
    """Rows, seals and rows without a seal, in a book that holds."""
    with using_alias(OPERATOR):
        look = Verification()
        assert list(look.findings()) == []
    return look.rows, look.seals, look.unsealed


def asked(database: psycopg.Connection, query: str, *values: Any) -> Any:
    row = database.execute(query.encode(), values or None).fetchone()
    return row[0] if row and len(row) == 1 else row


@pytest.fixture
def empty(transactional_db: None) -> None:
    """What the making of the database wrote is sealed and counted no more."""
    seal()


# --- what is sealed ---------------------------------------------------------------------------


def test_rows_are_sealed_in_batches_and_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealer, "BATCH", 4)
    seal()
    rows, seals, _ = counts()
    record_some(10)
    assert counts() == (rows, seals, 10)
    assert seal() == 10
    assert seal() == 0
    assert counts() == (rows + 10, seals + 3, 0)


def test_no_column_is_left_out(superuser: psycopg.Connection) -> None:
    columns = superuser.execute("SELECT attname FROM pg_attribute WHERE attrelid = 'audit_logs'::regclass "
                                "AND attnum > 0 AND NOT attisdropped")  # fmt: skip
    for (column,) in columns.fetchall():
        assert f"log.{column}" in chain.ROW_HASH


def test_merkle_root_is_that_of_the_rfc() -> None:
    """The tree heads that Certificate Transparency's implementations are tested with."""
    leaves = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ]
    heads = {
        1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        7: "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    }
    for count, head in heads.items():
        assert chain.merkle_root([bytes.fromhex(leaf) for leaf in leaves[:count]]).hex() == head


def test_hash_can_be_made_by_others(superuser: psycopg.Connection) -> None:
    """As docs/audit-log.md describes it."""
    record_some(3)
    seal()
    described = """
        SELECT jsonb_build_array(id, creator_id, at AT TIME ZONE 'UTC', type, request_id, detail,
            encode(personal_digest, 'hex'), written_at AT TIME ZONE 'UTC', written_xid)::text, uuid_send(id)
        FROM audit_logs ORDER BY written_xid, id
    """
    leaves = asked(superuser, "SELECT string_agg(leaves, '' ORDER BY number) FROM audit_seals")
    rows = superuser.execute(described.encode()).fetchall()
    assert b"".join(id_ + hashlib.sha256(text.encode()).digest() for text, id_ in rows) == leaves


def test_row_waits_for_its_time(empty: None, monkeypatch: pytest.MonkeyPatch) -> None:
    record_some(3)
    monkeypatch.setattr(sealer, "SETTLE", timedelta(seconds=1))
    assert seal() == 0
    time.sleep(1.1)
    record_some(2)
    assert seal() == 3


def test_personal_data_can_be_erased_from_what_is_sealed(ada: Person) -> None:
    record(Event.LOGIN_FAILED, client=ClientInfo("203.0.113.9"), creator_id=ada.id)
    seal()
    with using_alias(OPERATOR):
        erase_personal_data(ada.id)
    assert counts()[2] == 0


# --- rows that come late ----------------------------------------------------------------------


def late() -> tuple[bytes, list[Any]]:
    return b"SELECT record_event(%s, 'x', '', '{}', NULL, '', '')", [uuid4()]


def test_row_that_comes_late_is_neither_missed_nor_taken_for_a_forgery(empty: None) -> None:
    with psycopg.connect(server.url(ROLES.operator, DATABASE)) as slow:
        slow.execute(*late())
        record_some(5)
        assert seal() == 0  # who knows what the open transaction writes yet
        slow.execute(*late())
        assert counts()[2] == 5
        slow.commit()
    assert seal() == 7
    assert counts()[2] == 0


def test_transaction_that_gives_up_holds_nothing_up_for_long(empty: None) -> None:
    with psycopg.connect(server.url(ROLES.operator, DATABASE)) as slow:
        record_some(1)
        slow.execute(*late())
        record_some(5)
        assert seal() == 1
        slow.rollback()
    assert seal() == 5


def test_nobody_but_the_owner_says_when_a_row_was_written() -> None:
    for role in (ROLES.app, ROLES.operator):
        with psycopg.connect(server.url(role, DATABASE)) as connection:
            for column, value in (("written_xid", "1"), ("written_at", "now()")):
                with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                    connection.execute(
                        f"INSERT INTO audit_logs (id, creator_id, at, type, request_id, detail, {column}) "
                        f"VALUES (gen_random_uuid(), gen_random_uuid(), now(), 'x', '', '{{}}', {value})".encode()
                    )


def write_at_random(seconds: float, seed: int) -> int:
    """Transactions of any length, of which some are rolled back; returns how many rows stay."""
    dice, written, end = random.Random(seed), 0, time.monotonic() + seconds
    while time.monotonic() < end:
        tenant, rows = uuid4(), dice.randint(1, 4)
        try:
            with tenant_scope(tenant):
                for number in range(rows):
                    record(Event.LOGIN_FAILED, client=ClientInfo("203.0.113.9"), creator_id=tenant, n=number)
                    time.sleep(dice.choice([0, 0, 0.001, 0.01, 0.15]))
                if dice.random() < 0.2:
                    raise ZeroDivisionError
            written += rows
        except ZeroDivisionError:
            pass
    return written


def test_book_holds_while_twenty_write_three_seal_and_one_looks(
    empty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (sealer, verifier):
        monkeypatch.setattr(module, "SETTLE", timedelta(seconds=1))
    monkeypatch.setattr(sealer, "BATCH", 50)
    before, over, looks = counts()[0], threading.Event(), []

    def act(number: int) -> int:
        if number < 20:
            return write_at_random(4, number)
        while not over.wait(0.02):
            looks.append(verify()) if number == 20 else seal()
        return 0

    def run(number: int) -> int:
        try:
            return act(number)
        finally:
            over.set() if number == 0 else None

    written = sum(all_at_once(24, run))
    time.sleep(1.1)
    while seal():
        pass
    assert looks
    assert [found for found in looks if found] == []
    assert counts()[::2] == (before + written, 0)


def test_clock_that_is_put_back_makes_no_forgeries(empty: None, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = chain.transaction_snapshot

    def snapshot_an_hour_ahead() -> chain.Snapshot:
        seen = snapshot()
        return chain.Snapshot(seen.oldest_open, seen.next, seen.at + timedelta(hours=1))

    record_some(2)
    with monkeypatch.context() as patched:
        patched.setattr(chain, "transaction_snapshot", snapshot_an_hour_ahead)
        seal()
    record_some(2)
    assert counts()[2] == 2
    seal()
    assert counts()[2] == 0


# --- who seals --------------------------------------------------------------------------------


def test_of_workers_that_seal_at_once_one_wins(empty: None, superuser: psycopg.Connection) -> None:
    record_some(20)
    assert sum(all_at_once(6, lambda number: seal())) == 20
    assert counts()[2] == 0


def test_first_key_is_made_once(superuser: psycopg.Connection) -> None:
    record_some(5)
    all_at_once(6, lambda number: seal())
    assert asked(superuser, "SELECT count(*) FROM audit_seal_keys") == 1
    assert counts()[2] == 0


def test_worker_that_dies_leaves_nothing_half_done(
    superuser: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_some(5)
    create = Seal.objects.create

    def die(**fields: Any) -> None:
        create(**fields)
        with transaction.get_connection(OPERATOR).cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            asked(superuser, "SELECT pg_terminate_backend(%s, 5000)", cursor.fetchone()[0])

    with monkeypatch.context() as patched:
        patched.setattr(Seal.objects, "create", die)
        with using_alias(OPERATOR), pytest.raises(Exception, match=r"connection|terminat"):
            sealer.seal_new_rows()
    transaction.get_connection(OPERATOR).close()
    assert asked(
        superuser, "SELECT (SELECT count(*) FROM audit_seals), (SELECT count(*) FROM audit_seal_keys)"
    ) == (0, 0)
    assert seal() >= 5
    assert counts()[2] == 0


@pytest.fixture
def worker(empty: None) -> Iterator[Worker]:
    with using_alias(OPERATOR):
        yield Worker("test")


def test_worker_seals_each_minute(worker: Worker) -> None:
    record_some(3)
    worker._seal_audit_log()
    assert counts()[2] == 0
    record_some(2)
    worker._seal_audit_log()
    assert counts()[2] == 2
    worker._seal_due -= SEALING_INTERVAL
    worker._seal_audit_log()
    assert counts()[2] == 0


def test_worker_that_is_behind_goes_on_at_once(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealer, "BATCH", 2)
    monkeypatch.setattr(sealer, "ROUND", 4)
    record_some(7)
    worker._seal_audit_log()
    assert counts()[2] == 3
    worker._seal_audit_log()
    assert counts()[2] == 0


def test_worker_tells_how_long_rows_wait(worker: Worker) -> None:
    record_some(3)
    time.sleep(0.2)
    worker._update_gauges()
    assert 0.2 <= UNSEALED_SECONDS._value.get() < 5
    seal()
    Worker("another")._update_gauges()
    assert UNSEALED_SECONDS._value.get() == 0


# --- keys -------------------------------------------------------------------------------------


def test_next_key_takes_over_and_the_old_seals_hold(superuser: psycopg.Connection) -> None:
    record_some(3)
    seal()
    with using_alias(OPERATOR):
        name = sealer.rotate_key()
    record_some(3)
    seal()
    keys = "SELECT array_agg(statement::jsonb ->> 'key' ORDER BY number) FROM audit_seals"
    first, *later = asked(superuser, keys)
    assert first != name
    assert later == [name, name]
    assert counts()[1:] == (3, 0)


def test_key_is_locked_under_the_secret_key(
    worker: Worker, settings: Any, superuser: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    record_some(1)
    seal()
    key = signing_key().private_bytes_raw()
    assert key not in bytes(asked(superuser, "SELECT private_key FROM audit_seal_keys"))
    record_some(3)
    settings.SECRET_KEY = "of another house " * 4
    with pytest.raises(SealKeyLockedError):
        seal()
    worker._seal_audit_log()  # goes on with its other work
    assert [line.levelname for line in caplog.records if line.message == "nothing is sealed"] == ["ERROR"]
    (found,) = verify()
    assert "SECRET_KEY does not open" in found
    with using_alias(OPERATOR):
        sealer.rotate_key()
    assert seal() == 3
    assert counts()[2] == 0


def test_seal_that_says_nothing_stops_sealing_and_nothing_else(
    worker: Worker, superuser: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    superuser.execute("INSERT INTO audit_seals VALUES (1000, 'rubbish', '', '')")
    record_some(1)
    with pytest.raises(ChainBrokenError):
        seal()
    worker._update_gauges()
    assert UNSEALED_SECONDS._value.get() == float("inf")
    worker._seal_audit_log()
    assert "nothing is sealed" in [line.message for line in caplog.records]


# --- a database that came from a dump ---------------------------------------------------------


def test_book_goes_on_where_transactions_are_counted_anew(
    superuser: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old house counted a million further than this one."""
    ahead, snapshot = 1_000_000, sealer.transaction_snapshot
    default = "ALTER TABLE audit_logs ALTER written_xid SET DEFAULT pg_current_xact_id()::text::bigint{}"

    def snapshot_of_the_old_server() -> chain.Snapshot:
        seen = snapshot()
        return chain.Snapshot(seen.oldest_open + ahead, seen.next + ahead, seen.at)

    superuser.execute(default.format(f" + {ahead}").encode())
    try:
        with monkeypatch.context() as patched:
            for module in (chain, sealer):
                patched.setattr(module, "transaction_snapshot", snapshot_of_the_old_server)
            record_some(6)
            sealed = seal()
        record_some(2)  # in the dump, and not sealed yet
    finally:
        superuser.execute(default.format("").encode())
    record_some(4)  # before the worker notices
    while seal():
        pass
    record_some(3)
    while seal():
        pass
    kinds = asked(superuser, "SELECT array_agg(statement::jsonb ->> 'kind' ORDER BY number) FROM audit_seals")
    assert kinds == ["rows", "rows", "restored", "rows", "rows"]
    assert counts() == (sealed + 9, 5, 0)
