"""`make prove`: nothing in an answer's time tells who has an account.

Pairs of requests, one for an address of a kind and one for an unknown address, in an order that
chance decides, to the running service at full Argon2 cost; each address is asked about once, as a
prober would. Printed for each kind: the median of the pairs' differences with its 90 % bootstrap
interval, and the AUC (how often the kind's answer is the later one; 0.5 is chance). Pairs are
added until the interval decides, as far as the patience goes.

The short form has 40 to 120 pairs, too few for the promise itself: it finds what skips a hash or makes a second one,
which is tens of milliseconds. At 40 pairs the AUC of equals errs by 0.065, so that its bound is four errors away.
"""

import http.client
import json
import random
import statistics
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.contrib.auth.hashers import BCryptSHA256PasswordHasher
from django.utils import timezone

from accounts.models import Creator
from accounts.passwords.hashers import Argon2Hasher
from config.tests.support.environment import DOORS
from config.tests.support.live_server import FULL_COST, NO_LIMITS, Served, serving
from config.tests.support.proofs import whole
from tenancy.context import OPERATOR, using_alias

WIDE = {f"RATE_LIMIT_{door}": "1000000/m" for door in DOORS}
MOST_DIFFERENCE = whole(5.0, short=15.0)  # milliseconds
MOST_AUC = whole(0.55, short=0.75)
BATCH, PATIENCE = whole((150, 900), short=(40, 120))  # pairs
PASSWORD = "a lovely sentence of Ada's"
rng = random.Random(20_240_229)


class FullCost(Argon2Hasher):
    time_cost, memory_cost, parallelism = 3, 65536, 4


HASH = FullCost().encode(PASSWORD, "saltsaltsaltsalt")
IMPORTED = BCryptSHA256PasswordHasher().encode(PASSWORD, BCryptSHA256PasswordHasher().salt())


@dataclass(frozen=True)
class Kind:
    """What is behind the addresses of a kind: columns of its creators (None: nobody), failures counted."""

    fields: dict[str, Any] | None = None
    failures: int = 0


ACTIVE = {"holds_email": True, "email_verified_at": timezone.now()}
KINDS = {
    "known": Kind(ACTIVE),
    "deactivated": Kind(ACTIVE | {"is_active": False}),
    "unverified": Kind({"holds_email": False}),
    "staff": Kind(ACTIVE | {"is_staff": True}),
    "imported hash": Kind(ACTIVE | {"password": IMPORTED}),
    "locked": Kind(ACTIVE, failures=5),
    "fifth failure": Kind(ACTIVE, failures=4),
}
BODIES = {
    "login": {"password": "not the password of anybody"},
    "register": {"password": "a lovely sentence of Mallory's"},
    "password/reset": {},
    "email/verify/resend": {},
}
TABLE = [
    *(("login", kind) for kind in ("known", "deactivated", "unverified", "staff", "locked", "fifth failure")),
    *(("register", kind) for kind in ("known", "deactivated", "unverified", "staff")),
    *(("password/reset", kind) for kind in ("known", "deactivated", "unverified", "staff")),
    *(("email/verify/resend", kind) for kind in ("known", "deactivated", "unverified", "staff")),
]


@dataclass
class Times:
    """Milliseconds of answers, pair by pair."""

    kind: list[float]
    unknown: list[float]

    def median_difference(self) -> float:
        return statistics.median(a - b for a, b in zip(self.kind, self.unknown, strict=True))

    def interval(self) -> tuple[float, float]:
        differences = [a - b for a, b in zip(self.kind, self.unknown, strict=True)]
        medians = sorted(statistics.median(rng.choices(differences, k=len(differences))) for _ in range(1000))
        return medians[50], medians[949]

    def auc(self) -> float:
        ordered = sorted(self.unknown)
        below = sum((bisect_left(ordered, t) + bisect_right(ordered, t)) / 2 for t in self.kind)
        return below / len(self.kind) / len(ordered)

    def auc_error(self) -> float:
        return float((1 / (6 * len(self.kind))) ** 0.5)

    def is_equal(self) -> bool:
        return abs(self.median_difference()) <= MOST_DIFFERENCE and abs(self.auc() - 0.5) < MOST_AUC - 0.5

    def is_decided(self) -> bool:
        low, high = self.interval()
        near = MOST_AUC - 0.5 - abs(self.auc() - 0.5)
        return max(abs(low), abs(high)) <= MOST_DIFFERENCE and near > 1.3 * self.auc_error()


class Prober:
    """One kept connection, as the one who measures would have it."""

    def __init__(self, served: Served, superuser: psycopg.Connection) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
        self.superuser = superuser
        self.number = 0
        self.status: set[int] = set()

    def ask(self, path: str, email: str) -> float:
        body = json.dumps({"email": email} | BODIES[path])
        began = time.perf_counter()
        self.connection.request("POST", f"/api/v1/auth/{path}", body, {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        answer.read()
        elapsed = (time.perf_counter() - began) * 1000
        self.status.add(answer.status)
        return elapsed

    def addresses(self, name: str, count: int) -> list[str]:
        """New ones, behind which is what the kind says."""
        kind = KINDS.get(name, Kind())
        emails = [f"{name.replace(' ', '-')}-{self.number + n}@example.com" for n in range(count)]
        self.number += count
        if kind.fields is not None:
            with using_alias(OPERATOR):
                Creator.objects.bulk_create(
                    Creator(**{"email": email, "password": HASH, **kind.fields}) for email in emails
                )
        self.count_failures(emails, kind.failures)
        return emails

    def count_failures(self, emails: list[str], failures: int) -> None:
        if failures:
            self.superuser.cursor().executemany(
                "INSERT INTO axes_accessattempt (username, user_agent, http_accept, path_info, attempt_time, "
                "get_data, post_data, failures_since_start) VALUES (%s, 'api', '', '', now(), '', '', %s)",
                [(email, failures) for email in emails],
            )

    def pairs(self, path: str, name: str, count: int) -> Iterator[tuple[float, float]]:
        kind, unknown = self.addresses(name, count), self.addresses("unknown", count)
        self.count_failures(unknown, KINDS[name].failures)
        for one, other in zip(kind, unknown, strict=True):
            if rng.random() < 0.5:
                a, b = self.ask(path, one), self.ask(path, other)
            else:
                b, a = self.ask(path, other), self.ask(path, one)
            yield a, b

    def measure(self, path: str, name: str, patience: int = PATIENCE) -> Times:
        times = Times([], [])
        self.status.clear()
        while len(times.kind) < patience:
            for a, b in self.pairs(path, name, BATCH):
                times.kind.append(a)
                times.unknown.append(b)
            if times.is_decided():
                break
        assert len(self.status) == 1, self.status
        low, high = times.interval()
        print(
            f"{path:20} {name:14} {len(times.kind):4} pairs of {statistics.median(times.unknown):6.1f} ms: "
            f"{times.median_difference():+6.2f} ms [{low:+6.2f}, {high:+6.2f}]  AUC {times.auc():.3f}"
        )
        return times


@pytest.fixture
def prober(tmp_path: Path, superuser: psycopg.Connection) -> Iterator[Prober]:
    with serving(tmp_path, workers=1, **FULL_COST, **NO_LIMITS) as served:
        prober = Prober(served, superuser)
        for path in BODIES:
            for email in prober.addresses("unknown", 5):
                prober.ask(path, email)
        yield prober
        prober.connection.close()


@pytest.mark.parametrize(("path", "kind"), TABLE)
def test_kinds_of_accounts_answer_alike(prober: Prober, path: str, kind: str) -> None:
    assert prober.measure(path, kind).is_equal()


def test_what_an_imported_hash_shows_until_its_first_sign_in(prober: Prober) -> None:
    """Documented, not promised: the hash of another method takes its own time."""
    prober.measure("login", "imported hash", patience=BATCH)
