"""`make bench`: the service against its own limits on this machine, at full Argon2 cost.

Each figure is a median of rounds run in turn. The load comes from processes of its own, so that
it does not share the interpreter that serves; on two cores it takes its share of them all the same.
"""

import http.client
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from django.contrib.auth.hashers import make_password
from django.db import connection

from accounts.services.sessions import caller_of
from accounts.tokens import AccessToken
from config.tests.fixtures import Person
from config.tests.serving import Served, serving

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")
ROUNDS, SECONDS = 3, 3.0
FULL_COST = {"ARGON2_MEMORY_COST": "65536", "ARGON2_TIME_COST": "3", "ARGON2_PARALLELISM": "4"}
WIDE = {"RATE_LIMIT_LOGIN": "1000000/m", "RATE_LIMIT_REFRESH": "1000000/m"}


def load(port: int, method: str, path: str, body: str, token: str) -> int:
    """Requests answered with 200 over one kept connection in SECONDS."""
    client, done = http.client.HTTPConnection("127.0.0.1", port, timeout=30), 0
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        client.request(method, f"/api/v1/auth/{path}", body, headers)
        answer = client.getresponse()
        answer.read()
        done += answer.status == 200
    return done


def per_second(served: Served, method: str, path: str, body: str = "", token: str = "", n: int = 8) -> float:
    with ProcessPoolExecutor(n) as pool:
        jobs = [pool.submit(load, served.port, method, path, body, token) for _ in range(n)]
        return sum(job.result() for job in jobs) / SECONDS


def microseconds(call: Callable[[], object], seconds: float = 0.5) -> float:
    begun, n = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        call()
        n += 1
    return (time.perf_counter() - begun) / n * 1e6


def one_visit() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchone()


@pytest.fixture
def served(tmp_path: Path, transactional_db: None) -> Iterator[Served]:
    with serving(tmp_path, workers=2, **FULL_COST, **WIDE) as service:
        yield service


def test_bench(served: Served, ada: Person) -> None:
    token = AccessToken.verified(ada.access)
    login = json.dumps({"email": ada.email, "password": ada.password})
    pair = served.post(
        "login", {"email": ada.email, "password": ada.password}
    ).json()  # also a full-cost hash
    rows: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for name, measure in {
            "one visit to PostgreSQL (SELECT 1), µs": lambda: microseconds(one_visit),
            "who is calling (one function under RLS), µs": lambda: microseconds(lambda: caller_of(token)),
            "token verified, µs": lambda: microseconds(lambda: AccessToken.verified(ada.access)),
            "cheapest Argon2id (the tests'), µs": lambda: microseconds(lambda: make_password("x")),
            "GET me, 8 connections, 2 workers, requests/s": lambda: per_second(
                served, "GET", "me", token=pair["access"]
            ),
            "POST login, 4 connections, 2 workers, requests/s": lambda: per_second(
                served, "POST", "login", login, n=4
            ),
        }.items():
            rows.setdefault(name, []).append(measure())
    sys.stdout.write("\n\n| what | median | least | most |\n|---|---|---|---|\n")
    for name, found in rows.items():
        sys.stdout.write(
            f"| {name} | {statistics.median(found):.0f} | {min(found):.0f} | {max(found):.0f} |\n"
        )
    assert all(min(found) > 0 for found in rows.values())
