"""`make prove`: 1,000 random tamperings with sealed rows and seals are all found."""

import random

import psycopg

from audit.tests.support.tampering import TAMPERINGS, tamper, verify
from config.tests.support.proofs import whole

COUNT = whole(1000, short=200)


def test_1000_random_tamperings_are_found(sealed: psycopg.Connection) -> None:
    names = random.Random(2026)
    faults = [tamper(sealed, names.choice(sorted(TAMPERINGS)), seed) for seed in range(COUNT)]
    assert [fault for fault in faults if fault] == []
    assert verify() == []
