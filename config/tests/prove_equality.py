"""`make prove`: response times do not show whether an address has an account.

Sends pairs of requests in random order, one for an address of a kind and one for an unknown address, to the service
at full Argon2 cost. Each address is used once. Prints for each kind the median difference with its 90 % bootstrap
interval, and the AUC: how often the response for the kind is the later one (0.5 is chance). Pairs are added until
the interval decides, up to a maximum.

The short form has 40 to 120 pairs. That is too few for the promise of 5 ms, but enough to find a missing or an
additional hash, which takes tens of milliseconds. With 40 pairs the standard error of the AUC is 0.065; the bound is
four of them away.
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
from config.tests.support.live_server import FULL_COST, NO_LIMITS, LiveServer, run_server
from config.tests.support.proofs import whole
from tenancy.context import OPERATOR, using_alias

MAX_DIFFERENCE = whole(5.0, short=15.0)  # milliseconds
MAX_AUC = whole(0.55, short=0.75)
BATCH, MAX_PAIRS = whole((150, 900), short=(40, 120))  # pairs
PASSWORD = "a lovely sentence of Ada's"
rng = random.Random(20_240_229)


class FullCost(Argon2Hasher):
    time_cost, memory_cost, parallelism = 3, 65536, 4


HASH = FullCost().encode(PASSWORD, "saltsaltsaltsalt")
IMPORTED = BCryptSHA256PasswordHasher().encode(PASSWORD, BCryptSHA256PasswordHasher().salt())


@dataclass(frozen=True)
class Kind:
    """The creators behind a kind of address: their columns (None: no creator), and their failed logins."""

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
    """Response times in milliseconds; entry n of both lists is one pair."""

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
        return abs(self.median_difference()) <= MAX_DIFFERENCE and abs(self.auc() - 0.5) < MAX_AUC - 0.5

    def is_decided(self) -> bool:
        low, high = self.interval()
        near = MAX_AUC - 0.5 - abs(self.auc() - 0.5)
        return max(abs(low), abs(high)) <= MAX_DIFFERENCE and near > 1.3 * self.auc_error()


class Prober:
    """Measures over one persistent connection, as an attacker would."""

    def __init__(self, served: LiveServer, superuser: psycopg.Connection) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
        self.superuser = superuser
        self.number = 0
        self.status: set[int] = set()

    def time_request(self, path: str, email: str) -> float:
        body = json.dumps({"email": email} | BODIES[path])
        began = time.perf_counter()
        self.connection.request("POST", f"/api/v1/auth/{path}", body, {"Content-Type": "application/json"})
        response = self.connection.getresponse()
        response.read()
        elapsed = (time.perf_counter() - began) * 1000
        self.status.add(response.status)
        return elapsed

    def addresses(self, name: str, count: int) -> list[str]:
        """New addresses of this kind."""
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
        for email, other in zip(kind, unknown, strict=True):
            if rng.random() < 0.5:
                a, b = self.time_request(path, email), self.time_request(path, other)
            else:
                b, a = self.time_request(path, other), self.time_request(path, email)
            yield a, b

    def measure(self, path: str, name: str, max_pairs: int = MAX_PAIRS) -> Times:
        times = Times([], [])
        self.status.clear()
        while len(times.kind) < max_pairs:
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
    with run_server(tmp_path, workers=1, **FULL_COST, **NO_LIMITS) as served:
        prober = Prober(served, superuser)
        for path in BODIES:
            for email in prober.addresses("unknown", 5):
                prober.time_request(path, email)
        yield prober
        prober.connection.close()


@pytest.mark.parametrize(("path", "kind"), TABLE)
def test_response_times_are_equal(prober: Prober, path: str, kind: str) -> None:
    assert prober.measure(path, kind).is_equal()


def test_print_difference_of_imported_hashes(prober: Prober) -> None:
    """Only printed: until its first login, an imported hash takes the time of its own algorithm."""
    prober.measure("login", "imported hash", max_pairs=BATCH)
