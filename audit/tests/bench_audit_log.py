"""`make bench`: with a million events, the time of an operator's pages and the cost of the indexes per event.

The test server does not wait for its disk. The WAL per event says how much would be written to it.
"""

import resource
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import psycopg
import pytest
from django.test import Client
from uuid_utils.compat import uuid7

from audit.tests.support.admin_pages import EXPORT, LIST, OVERVIEW
from config.tests.support.dataset import populate_audit_log
from config.tests.support.environment import DATABASE, ROLES, server
from config.tests.support.operators import make_operator, reauthenticate, sign_in_operator

EVENTS, INSERTS, ROUNDS = 1_000_000, 5000, 5
RECORD_EVENT = b"SELECT record_event(%s, %s, %s, %s, %s, %s, %s)"
INDEXES = {
    "audit_logs_type": "ON audit_logs (type, id)",
    "audit_personal_data_address": "ON audit_personal_data (ip_address, id)",
}


def milliseconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1000


@pytest.fixture
def olga(transactional_db: None) -> Client:
    person = make_operator("olga@example.com")
    client = sign_in_operator(person)
    reauthenticate(client, person)
    return client


def pages(olga: Client) -> Iterator[tuple[str, float]]:
    for name, path in {
        "overview": OVERVIEW,
        "list": LIST,
        "list, a rare type": f"{LIST}?type=token.reused",
        "list, an address": f"{LIST}?address=198.51.100.2",
        "list, a rare type of a network": f"{LIST}?type=account.locked&address=198.51.100.0/24",
        "list, a type without events": f"{LIST}?type=email.changed",
        "list, a request id of ours": f"{LIST}?request={uuid7().hex}",
        "list, a client's request id": f"{LIST}?request=none-such",
    }.items():
        yield name, statistics.median(milliseconds(partial(olga.get, path)) for _ in range(ROUNDS))


def test_pages(olga: Client, superuser: psycopg.Connection) -> None:
    for scenario, options in {
        "a quiet week": {},
        "after an attack of a day": {"days": 1, "failed_percent": 90},
    }.items():
        populate_audit_log(superuser, events=EVENTS, already=EVENTS * bool(options), **options)
        superuser.execute("VACUUM ANALYZE audit_logs, audit_personal_data")
        for name, duration in pages(olga):
            print(f"{scenario}: {name}: {duration:.0f} ms")


def test_export(olga: Client, superuser: psycopg.Connection) -> None:
    populate_audit_log(superuser, events=EVENTS)
    superuser.execute("VACUUM ANALYZE audit_logs, audit_personal_data")
    for kind in ("csv", "jsonl"):
        response, size, started = olga.post(EXPORT, {"format": kind}), 0, time.perf_counter()
        peaks = []
        for chunk in response.streaming_content:
            size += len(chunk)
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
        seconds = time.perf_counter() - started
        print(
            f"{kind}: {size / 2**20:.0f} MiB, {EVENTS / seconds:.0f} events/s; peak memory {peaks[9]} MiB at the"
        )
        print(f"  tenth batch, {peaks[-1]} MiB at the last of {len(peaks)}")


def insert(connection: psycopg.Connection) -> float:
    """Events recorded per second, in one transaction each."""
    rows = [
        [uuid7(), ("login.succeeded", "login.failed", "session.ended")[n % 3], uuid7().hex, "{}",
         f"10.{n % 251}.{n % 241}.{n % 239}", "Firefox", ""]
        for n in range(INSERTS)
    ]  # fmt: skip
    started = time.perf_counter()
    for row in rows:
        connection.execute(RECORD_EVENT, row, prepare=True)
    return INSERTS / (time.perf_counter() - started)


def test_inserts(superuser: psycopg.Connection) -> None:
    populate_audit_log(superuser, events=EVENTS)
    rates_by_name: dict[str, list[float]] = {"without the two indexes": [], "with them": []}
    wal = {}
    with psycopg.connect(server.url(ROLES.operator, DATABASE), autocommit=True) as connection:
        for _ in range(ROUNDS):
            for name, rates in rates_by_name.items():
                for index, definition in INDEXES.items():
                    superuser.execute(f"DROP INDEX IF EXISTS {index}".encode())
                    if name == "with them":
                        superuser.execute(f"CREATE INDEX {index} {definition}".encode())
                superuser.execute("CHECKPOINT")
                before = superuser.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
                rates.append(insert(connection))
                row = superuser.execute("SELECT pg_current_wal_insert_lsn() - %s::pg_lsn", before).fetchone()
                assert row
                wal[name] = float(row[0]) / INSERTS
    for name, rates in rates_by_name.items():
        print(f"{name}: {statistics.median(rates):.0f} events/s, {wal[name]:.0f} bytes of WAL each")
