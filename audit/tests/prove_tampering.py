"""`make prove`: of 1,000 random tamperings of sealed rows and of seals, every one is found."""

import random

import psycopg

from audit.tests.support.tampering import KINDS, at_once, sealed, tamper, verify
from config.tests.support.proofs import whole

__all__ = ["at_once", "sealed"]
TAMPERINGS = whole(1000, short=200)


def test_of_1000_tamperings_all_are_found(sealed: psycopg.Connection) -> None:
    dice = random.Random(2026)
    wrong = [tamper(sealed, dice.choice(sorted(KINDS)), seed) for seed in range(TAMPERINGS)]
    assert [fault for fault in wrong if fault] == []
    assert verify() == []
