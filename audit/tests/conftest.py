"""Fixtures for tests of sealing."""

import time
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

from audit.sealing import chain, sealer, verifier
from audit.tests.support.tampering import record_events, unguarded, verify
from tenancy.context import OPERATOR, using_alias


@pytest.fixture
def seal_immediately(superuser: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows can be sealed as soon as their transaction has ended.

    Transaction numbers are the server's, so the transactions of other test processes would delay sealing:
    wait for those.
    """
    snapshot = chain.transaction_snapshot
    query = (
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND backend_xid::text::bigint = %s"
    )

    def snapshot_without_other_databases() -> chain.Snapshot:
        taken, deadline = snapshot(), time.monotonic() + 20
        while taken.oldest_open != taken.next and time.monotonic() < deadline:
            if superuser.execute(query, [taken.oldest_open]).rowcount:
                break
            time.sleep(0.002)
            taken = snapshot()
        return taken

    for module in (chain, sealer):
        monkeypatch.setattr(module, "transaction_snapshot", snapshot_without_other_databases)
    for module in (sealer, verifier):
        monkeypatch.setattr(module, "MIN_AGE", timedelta(0))


@pytest.fixture
def sealed(
    seal_immediately: None, superuser: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> Iterator[psycopg.Connection]:
    """An audit log of 60 rows under ten seals, with its triggers disabled."""
    monkeypatch.setattr(sealer, "BATCH_SIZE", 6)
    record_events(60)
    for _ in range(3):  # transactions that record no event
        superuser.execute("SELECT pg_current_xact_id()")
    with using_alias(OPERATOR):
        assert sealer.seal_new_rows() >= 60
    assert verify() == []
    with unguarded(superuser):
        yield superuser
