"""Whatever is done to sealed rows or to seals, verify_audit finds it and names the first of it."""

from collections.abc import Iterator

import psycopg
import pytest

from audit.sealing import sealer
from audit.tests.support.tampering import KINDS, Forger, at_once, record_some, restore, unguarded, verify
from tenancy.context import OPERATOR, using_alias

__all__ = ["at_once"]
pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")
ROUNDS = 2  # of each kind


@pytest.fixture
def sealed(
    at_once: None, superuser: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> Iterator[psycopg.Connection]:
    """A book of 60 rows under ten seals, with its guards off."""
    monkeypatch.setattr(sealer, "BATCH", 6)
    record_some(60)
    for _ in range(3):  # transactions that write nothing into the book
        superuser.execute("SELECT pg_current_xact_id()")
    with using_alias(OPERATOR):
        assert sealer.seal_new_rows() >= 60
    assert verify() == []
    with unguarded(superuser):
        yield superuser


def tamper(database: psycopg.Connection, kind: str, seed: int) -> str:
    """Do it, look, and undo it; returns what is wrong with the findings, if anything."""
    expected = KINDS[kind](Forger(database, seed))
    found = verify()
    restore(database)
    if found and any(name in found[0] for name in expected):
        return ""
    return f"{kind} ({seed}): {expected} is not first in {found}"


def test_every_tampering_is_found_and_named(sealed: psycopg.Connection) -> None:
    wrong = [tamper(sealed, kind, seed) for seed in range(ROUNDS) for kind in KINDS]
    assert len(wrong) >= 80
    assert [fault for fault in wrong if fault] == []
    assert verify() == []
