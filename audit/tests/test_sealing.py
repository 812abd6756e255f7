"""New rows are sealed once each, after their transaction has ended, also by concurrent workers."""

import hashlib
import random
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.db import transaction
from django.utils import timezone
from prometheus_client import REGISTRY

from accounts.jobs.worker import Worker
from accounts.tests.support.flows import all_at_once
from audit.events import Event
from audit.exceptions import ChainBrokenError, SealKeyLockedError
from audit.models import Seal
from audit.recorder import erase_personal_data, record
from audit.requests.client_info import ClientInfo
from audit.sealing import chain, sealer, verifier
from audit.sealing.keys import signing_key
from audit.tests.support.tampering import record_events, verify
from config.tests.support.accounts import Person
from config.tests.support.environment import DATABASE, ROLES, server
from tenancy.context import OPERATOR, tenant_scope, using_alias

pytestmark = pytest.mark.usefixtures("seal_immediately")
MIN_AGE = sealer.MIN_AGE


def seal() -> int:
    with using_alias(OPERATOR):
        return sealer.seal_new_rows()


def seal_all() -> None:
    while seal():
        pass


def counts() -> tuple[int, int, int]:
    """Sealed rows, seals and unsealed rows of an audit log that matches its seals."""
    summary = verifier.Summary()
    with using_alias(OPERATOR):
        assert list(verifier.verify(summary)) == []
    return summary.rows, summary.seals, summary.unsealed


def unsealed() -> int:
    return counts()[2]


def fetch(database: psycopg.Connection, query: str, *values: Any) -> Any:
    """The first row; of a row of one column, the column."""
    row = database.execute(query.encode(), values or None).fetchone()
    return row[0] if row and len(row) == 1 else row


@pytest.fixture
def nothing_unsealed(seal_immediately: None) -> None:
    seal()


# --- what is sealed ---------------------------------------------------------------------------


def test_rows_are_sealed_in_batches_and_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealer, "BATCH_SIZE", 4)
    seal()
    rows, seals, _ = counts()
    record_events(10)
    assert counts() == (rows, seals, 10)
    assert seal() == 10
    assert seal() == 0
    assert counts() == (rows + 10, seals + 3, 0)


def test_leaves_can_be_computed_as_documented(superuser: psycopg.Connection) -> None:
    record_events(3)
    seal()
    documented = """
        SELECT jsonb_build_array(id, creator_id, at AT TIME ZONE 'UTC', type, request_id, detail,
            encode(personal_digest, 'hex'), written_at AT TIME ZONE 'UTC', written_xid)::text, uuid_send(id)
        FROM audit_logs ORDER BY written_xid, id
    """
    statement, leaves = fetch(superuser, "SELECT statement::jsonb, leaves FROM audit_seals")
    rows = superuser.execute(documented.encode()).fetchall()
    assert b"".join(id_ + hashlib.sha256(text.encode()).digest() for text, id_ in rows) == leaves
    assert hashlib.sha256(leaves).hexdigest() == statement["leaves_digest"]


def test_row_is_sealed_after_the_minimum_age(nothing_unsealed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    record_events(3)
    between = timezone.now()
    record_events(2)
    monkeypatch.setattr(sealer, "MIN_AGE", MIN_AGE)
    assert seal() == 0
    set_clock(monkeypatch, between + MIN_AGE)
    assert seal() == 3


def set_clock(patch: pytest.MonkeyPatch, at: datetime) -> None:
    """Sealing takes `at` for the database's time."""
    snapshot = chain.transaction_snapshot

    def snapshot_at() -> chain.Snapshot:
        taken = snapshot()
        return chain.Snapshot(taken.oldest_open, taken.next, at)

    for module in (chain, sealer):
        patch.setattr(module, "transaction_snapshot", snapshot_at)


def test_personal_data_of_sealed_rows_can_be_erased(ada: Person) -> None:
    record(Event.LOGIN_FAILED, client=ClientInfo("203.0.113.9"), creator_id=ada.id)
    seal()
    with using_alias(OPERATOR):
        erase_personal_data(ada.id)
    assert unsealed() == 0


# --- rows that are committed late -------------------------------------------------------------


def insert_event(connection: psycopg.Connection) -> None:
    connection.execute("SELECT record_event(%s, 'x', '', '{}', NULL, '', '')", [uuid4()])


def test_late_commit_is_sealed_and_no_forgery(nothing_unsealed: None) -> None:
    with psycopg.connect(server.url(ROLES.operator, DATABASE)) as slow:
        insert_event(slow)
        record_events(5)
        assert seal() == 0  # the open transaction may write more
        insert_event(slow)
        assert unsealed() == 5
        slow.commit()
    assert seal() == 7
    assert unsealed() == 0


def test_rollback_lets_sealing_continue(nothing_unsealed: None) -> None:
    with psycopg.connect(server.url(ROLES.operator, DATABASE)) as slow:
        record_events(1)
        insert_event(slow)
        record_events(5)
        assert seal() == 1
        slow.rollback()
    assert seal() == 5


def test_only_the_owner_can_set_when_a_row_was_written() -> None:
    for role in (ROLES.app, ROLES.operator):
        with psycopg.connect(server.url(role, DATABASE)) as connection:
            for column, value in (("written_xid", "1"), ("written_at", "now()")):
                with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                    connection.execute(
                        f"INSERT INTO audit_logs (id, creator_id, at, type, request_id, detail, {column}) "
                        f"VALUES (gen_random_uuid(), gen_random_uuid(), now(), 'x', '', '{{}}', {value})".encode()
                    )


def write_at_random(seconds: float, seed: int) -> int:
    """Run transactions of random lengths and roll some back; returns the number of committed rows."""
    dice, written, deadline = random.Random(seed), 0, time.monotonic() + seconds
    while time.monotonic() < deadline:
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


def test_twenty_writers_three_sealers_and_a_verifier_at_once(
    nothing_unsealed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (sealer, verifier):
        monkeypatch.setattr(module, "MIN_AGE", timedelta(seconds=1))
    monkeypatch.setattr(sealer, "BATCH_SIZE", 50)
    before, is_over, verifications = counts()[0], threading.Event(), []

    def work(number: int) -> int:
        if number < 20:
            return write_at_random(4, number)
        while not is_over.wait(0.02):
            verifications.append(verify()) if number == 20 else seal()
        return 0

    def run(number: int) -> int:
        try:
            return work(number)
        finally:
            is_over.set() if number == 0 else None

    written = sum(all_at_once(24, run))
    monkeypatch.setattr(sealer, "MIN_AGE", timedelta(0))
    seal_all()
    assert verifications
    assert [findings for findings in verifications if findings] == []
    assert counts()[::2] == (before + written, 0)


def test_clock_set_back_makes_no_forgeries(nothing_unsealed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    record_events(2)
    with monkeypatch.context() as patched:
        set_clock(patched, timezone.now() + timedelta(hours=1))
        seal()
    record_events(2)
    assert unsealed() == 2
    seal()
    assert unsealed() == 0


# --- workers ----------------------------------------------------------------------------------


def test_concurrent_sealers_seal_each_row_once(nothing_unsealed: None) -> None:
    record_events(20)
    assert sum(all_at_once(6, lambda number: seal())) == 20
    assert unsealed() == 0


def test_concurrent_sealers_create_one_key(superuser: psycopg.Connection) -> None:
    record_events(5)
    all_at_once(6, lambda number: seal())
    assert fetch(superuser, "SELECT count(*) FROM audit_seal_keys") == 1
    assert unsealed() == 0


def test_killed_sealer_leaves_no_partial_seal(
    superuser: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_events(5)
    create = Seal.objects.create

    def create_and_die(**fields: Any) -> None:
        create(**fields)
        with transaction.get_connection(OPERATOR).cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            fetch(superuser, "SELECT pg_terminate_backend(%s, 5000)", cursor.fetchone()[0])

    with monkeypatch.context() as patched:
        patched.setattr(Seal.objects, "create", create_and_die)
        with using_alias(OPERATOR), pytest.raises(Exception, match=r"connection|terminat"):
            sealer.seal_new_rows()
    transaction.get_connection(OPERATOR).close()
    assert fetch(
        superuser, "SELECT (SELECT count(*) FROM audit_seals), (SELECT count(*) FROM audit_seal_keys)"
    ) == (0, 0)
    assert seal() >= 5
    assert unsealed() == 0


class OneRound(threading.Event):
    """A worker's `stopping` that is set when the worker is about to wait for work."""

    def wait(self, timeout: float | None = None) -> bool:
        self.set()
        return True


def run_round(worker: Worker) -> None:
    worker.stopping = OneRound()
    worker.run()


@pytest.fixture
def worker(nothing_unsealed: None) -> Iterator[Worker]:
    with using_alias(OPERATOR):
        yield Worker("test")


def unsealed_seconds() -> float:
    return REGISTRY.get_sample_value("auth_audit_unsealed_seconds") or 0.0


def test_worker_seals_once_per_interval(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    record_events(3)
    run_round(worker)
    assert unsealed() == 0
    record_events(2)
    run_round(worker)
    assert unsealed() == 2
    monkeypatch.setattr("accounts.jobs.worker.SEALING_INTERVAL", timedelta(0))
    another = Worker("another")
    for _ in range(2):
        record_events(1)
        run_round(another)
        assert unsealed() == 0


def test_worker_that_is_behind_seals_again_at_once(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealer, "BATCH_SIZE", 2)
    monkeypatch.setattr(sealer, "MAX_ROWS_PER_CALL", 4)
    record_events(7)
    run_round(worker)
    assert unsealed() == 3
    run_round(worker)
    assert unsealed() == 0


def test_worker_reports_the_age_of_unsealed_rows(worker: Worker) -> None:
    run_round(worker)
    record_events(3)
    time.sleep(0.2)
    run_round(Worker("second"))
    assert 0.2 <= unsealed_seconds() < 5
    run_round(Worker("third"))
    assert unsealed_seconds() == 0


# --- keys -------------------------------------------------------------------------------------


def test_rotated_key_signs_and_old_seals_stay_valid(superuser: psycopg.Connection) -> None:
    record_events(3)
    seal()
    with using_alias(OPERATOR):
        name = sealer.rotate_key()
    record_events(3)
    seal()
    keys = "SELECT array_agg(statement::jsonb ->> 'key' ORDER BY number) FROM audit_seals"
    first, *later = fetch(superuser, keys)
    assert first != name
    assert later == [name, name]
    assert counts()[1:] == (3, 0)


def test_key_is_encrypted_under_the_secret_key(
    worker: Worker, settings: Any, superuser: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    record_events(1)
    seal()
    key = signing_key().private_bytes_raw()
    assert key not in bytes(fetch(superuser, "SELECT private_key FROM audit_seal_keys"))
    record_events(3)
    settings.SECRET_KEY = "of another service " * 4
    with pytest.raises(SealKeyLockedError):
        seal()
    run_round(worker)
    assert "run rotate_seal_key" in reason_of_no_sealing(caplog)
    (finding,) = verify()
    assert "SECRET_KEY does not decrypt" in finding
    with using_alias(OPERATOR):
        sealer.rotate_key()
    assert seal() >= 3  # the worker's maintenance records events, too
    assert unsealed() == 0


def reason_of_no_sealing(caplog: pytest.LogCaptureFixture) -> str:
    """The reason in the worker's only error."""
    (line,) = (line for line in caplog.records if line.levelname == "ERROR")
    return str(line.reason)


def test_unreadable_seal_stops_only_the_sealing(
    worker: Worker, superuser: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    superuser.execute("INSERT INTO audit_seals VALUES (1000, 'rubbish', '', '')")
    record_events(1)
    with pytest.raises(ChainBrokenError):
        seal()
    run_round(worker)
    assert unsealed_seconds() == float("inf")
    assert "run verify_audit" in reason_of_no_sealing(caplog)


# --- a restored database ----------------------------------------------------------------------


def test_sealing_continues_when_transaction_numbers_start_again(
    superuser: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old server's transaction numbers were a million higher than this one's."""
    ahead, snapshot = 1_000_000, sealer.transaction_snapshot
    default = "ALTER TABLE audit_logs ALTER written_xid SET DEFAULT pg_current_xact_id()::text::bigint{}"

    def snapshot_of_the_old_server() -> chain.Snapshot:
        taken = snapshot()
        return chain.Snapshot(taken.oldest_open + ahead, taken.next + ahead, taken.at)

    superuser.execute(default.format(f" + {ahead}").encode())
    try:
        with monkeypatch.context() as patched:
            for module in (chain, sealer):
                patched.setattr(module, "transaction_snapshot", snapshot_of_the_old_server)
            record_events(6)
            sealed = seal()
        record_events(2)  # in the dump, still unsealed
    finally:
        superuser.execute(default.format("").encode())
    record_events(4)  # before the worker detects the restore
    seal_all()
    record_events(3)
    seal_all()
    kinds = fetch(superuser, "SELECT array_agg(statement::jsonb ->> 'kind' ORDER BY number) FROM audit_seals")
    assert kinds == ["rows", "rows", "restored", "rows", "rows"]
    assert counts() == (sealed + 9, 5, 0)
