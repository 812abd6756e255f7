"""`make bench`: prints the throughput of the service and its share of what the parts could do alone.

The parts are a statement of PostgreSQL, a signature, the server with an empty application, and Argon2id on every
core. Each figure is the median of several rounds, and each round measures everything, so that background load
affects all figures: the shares are stable, the absolute figures less so. PostgreSQL, log, metrics and the cost of
Argon2 are as in production.
"""

import itertools
import math
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import argon2
import psycopg
from argon2.profiles import RFC_9106_LOW_MEMORY
from django.db import connection
from jwt.algorithms import RSAAlgorithm

from accounts.passwords import argon2id
from accounts.tokens.pem import generate_private_key
from config.launcher.services import cores
from config.tests.support.accounts import PASSWORD
from config.tests.support.consistency_load import Account, insert_creators
from config.tests.support.external_servers import own_postgres
from config.tests.support.live_server import FULL_COST, NO_LIMITS, LiveServer, run_server
from config.tests.support.load_generator import Measurement, Scenario, measure, refreshing, request, sending

ROUNDS, SECONDS = 3, 2.5
ACCOUNTS, WRONG = 24, "not the password of anybody"
SETTINGS = {
    "LOG_LEVEL": "INFO",
    "PUBLIC_URL": "http://localhost",  # the issuer must not depend on the port
    "MAX_FAILED_LOGIN_ATTEMPTS": "100",  # a locked account needs no hash
}
STATEMENTS, SIGNATURES = "PostgreSQL statements", "RSA signatures"
EMPTY, HASHES = "the empty application", "Argon2id alone"
IDLE = "GET me, 2 workers, 8 connections"
HEAD = """
| responses a second, unless a unit is named | median | min | max | p50, ms | p99, ms | share of the parts alone |
|---|---|---|---|---|---|---|
"""
new_numbers = itertools.count()


@dataclass
class Table:
    """Figures by name, one for each round; `uses` has how often a request uses each part."""

    rows: dict[str, list[Measurement]] = field(default_factory=lambda: defaultdict(list))
    uses: dict[str, Mapping[str, int]] = field(default_factory=dict)

    def add(self, name: str, figure: Measurement | float, uses: Mapping[str, int] | None = None) -> None:
        self.rows[name].append(figure if isinstance(figure, Measurement) else Measurement(figure))
        self.uses[name] = uses or {}

    def figures(self, name: str) -> list[float]:
        return [measurement.per_second for measurement in self.rows[name]]

    def share(self, name: str, limit: str, count: int) -> str:
        part = statistics.median(self.figures(name)) * count / statistics.median(self.figures(limit))
        return f"{part:.0%} of {limit}"

    def __str__(self) -> str:
        return HEAD + "".join(f"| {' | '.join(self._cells(name))} |\n" for name in self.rows)

    def _cells(self, name: str) -> Sequence[str]:
        values = self.figures(name)
        figures = [statistics.median(values), min(values), max(values)]
        times = [
            statistics.median(getattr(measurement, which) for measurement in self.rows[name])
            for which in ("p50", "p99")
        ]
        shares = [self.share(name, limit, count) for limit, count in self.uses[name].items()]
        return [name, *map(short, figures + times), ", ".join(shares)]


def short(number: float) -> str:
    if math.isnan(number):
        return ""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def per_second(call: Callable[[], object], seconds: float = 0.5) -> float:
    start, n = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        call()
        n += 1
    return n / (time.perf_counter() - start)


def on_every_core(call: Callable[..., object], *arguments: Any) -> float:
    n, call = cores(), partial(call, *arguments)
    with ProcessPoolExecutor(n, get_context("fork")) as pool:
        return sum(pool.map(per_second, [call] * n, [SECONDS] * n))


def limits(table: Table, directory: Path) -> None:
    private, rs256 = generate_private_key("RS256"), RSAAlgorithm(RSAAlgorithm.SHA256)
    public, signature = private.public_key(), rs256.sign(b"claims", private)
    table.add(STATEMENTS, per_second(lambda: connection.fetch_rows("SELECT 1", {})[0]))
    table.add(SIGNATURES, per_second(lambda: rs256.sign(b"claims", private)))
    table.add("RSA verifications", per_second(lambda: rs256.verify(b"claims", public, signature)))
    table.add("Argon2id by argon2-cffi alone", on_every_core(argon2.PasswordHasher().hash, PASSWORD))
    table.add(HASHES, on_every_core(argon2id.digest, b"password", b"saltsaltsaltsalt", RFC_9106_LOW_MEMORY))
    with run_server(
        directory, workers=1, application="config.tests.support.wsgi_applications:empty"
    ) as server:
        (measurement,) = measure(server.port, me(""), seconds=SECONDS)
    table.add(EMPTY, measurement)


def memory(served: LiveServer) -> float:
    """MiB of the largest worker: its proportional set size (PSS)."""
    found = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in served.workers()]
    return max(int(text.partition("\nPss:")[2].split()[0]) for text in found) / 1024


def me(access: str, connections: int = 8) -> list[Scenario]:
    return [sending(itertools.repeat(request("GET", "me", token=access))) for _ in range(connections)]


def logins(accounts: Sequence[Account], password: str = PASSWORD, status: int = 200) -> list[Scenario]:
    """Log in over four connections, each with its own accounts."""
    bodies = [{"email": account.email, "password": password} for account in accounts]
    return [
        sending(itertools.cycle(request("POST", "login", body) for body in bodies[n::4]), status)
        for n in range(4)
    ]


def sign_ups() -> list[Scenario]:
    bodies = ({"email": f"new{n}@example.com", "password": PASSWORD} for n in new_numbers)
    return [sending((request("POST", "register", body) for body in bodies), 202) for _ in range(4)]


def one_worker(table: Table, directory: Path, accounts: Sequence[Account], env: Mapping[str, str]) -> str:
    """Measure one worker; returns an access token."""
    start = time.perf_counter()
    with run_server(directory, workers=1, **env) as served:
        table.add("seconds from the start to the first response", time.perf_counter() - start)
        pairs = [
            served.post("login", {"email": account.email, "password": PASSWORD}).json()
            for account in accounts
        ]
        access = str(pairs[0]["access"])
        for n in (8, 64):
            (measurement,) = measure(served.port, me(access, n), seconds=SECONDS)
            table.add(f"GET me, 1 worker, {n} connections", measurement, {EMPTY: 1, STATEMENTS: 1})
        refreshes = [refreshing(pair["refresh"] for pair in pairs[n::8]) for n in range(8)]
        (measurement,) = measure(served.port, refreshes, seconds=SECONDS)
        table.add("POST refresh, 1 worker, 8 connections", measurement, {SIGNATURES: 2, STATEMENTS: 2})
    return access


def two_workers(
    table: Table, directory: Path, accounts: Sequence[Account], access: str, env: Mapping[str, str]
) -> None:
    with run_server(directory, workers=2, **env) as served:
        measure(served.port, me(access, 64), seconds=1)  # opens the database connection of each thread
        table.add("MiB of a worker before its first hash", memory(served))
        endpoints = {
            "login": logins(accounts),
            "login, wrong password": logins(accounts, WRONG, 401),
            "register": sign_ups(),
        }
        for endpoint, scenarios in endpoints.items():
            (measurement,) = measure(served.port, scenarios, seconds=SECONDS)
            table.add(f"POST {endpoint}, 2 workers, 4 connections", measurement, {HASHES: 1})
        (idle,) = measure(served.port, me(access), seconds=SECONDS)
        table.add(IDLE, idle)
        busy, _ = measure(served.port, me(access), logins(accounts), seconds=SECONDS)
        table.add("GET me while 4 connections sign in", busy, {IDLE: 1})
        table.add("MiB of a worker after sign-ins", memory(served))


def test_bench(tmp_path: Path) -> None:
    table = Table()
    with own_postgres(tmp_path / "own") as (server, urls):
        with psycopg.connect(server.superuser_url("auth"), autocommit=True) as superuser:
            accounts = insert_creators(superuser, ACCOUNTS)
            superuser.execute(
                "INSERT INTO lockout_limits VALUES (1, 100, '30 minutes')"
            )  # run_worker would do it
        env = FULL_COST | NO_LIMITS | SETTINGS | urls | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
        for _ in range(ROUNDS):
            limits(table, tmp_path)
            access = one_worker(table, tmp_path, accounts, env)
            two_workers(table, tmp_path, accounts, access, env)
    sys.stdout.write(str(table))
    assert min(min(table.figures(name)) for name in table.rows) > 0
