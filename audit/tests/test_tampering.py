"""verify_audit finds each way of tampering with sealed rows or seals, and names the first broken one."""

import psycopg

from audit.tests.support.tampering import CHANGES, TAMPERINGS, tamper, verify

ROUNDS = 2  # of each tampering


def test_every_tampering_is_found_and_named(sealed: psycopg.Connection) -> None:
    faults = [tamper(sealed, name, seed) for seed in range(ROUNDS) for name in TAMPERINGS]
    assert len(faults) >= 80
    assert [fault for fault in faults if fault] == []
    assert verify() == []


def test_change_in_every_column_is_found(sealed: psycopg.Connection) -> None:
    query = (
        "SELECT attname FROM pg_attribute WHERE attrelid = 'audit_logs'::regclass "
        "AND attnum > 0 AND NOT attisdropped"
    )
    columns = [column for (column,) in sealed.execute(query)]
    assert set(columns) <= set(CHANGES)
    assert [fault for column in columns if (fault := tamper(sealed, f"change {column}", seed=7))] == []
