"""Whatever is done to sealed rows or to seals, verify_audit finds it and names the first of it."""

import psycopg

from audit.tests.support.tampering import (
    KINDS,
    at_once,
    tamper,
    verify,
)

__all__ = ["at_once"]
ROUNDS = 2  # of each kind


def test_every_tampering_is_found_and_named(sealed: psycopg.Connection) -> None:
    wrong = [tamper(sealed, kind, seed) for seed in range(ROUNDS) for kind in KINDS]
    assert len(wrong) >= 80
    assert [fault for fault in wrong if fault] == []
    assert verify() == []
