"""Two servers behind one address, PgBouncer in transaction mode before PostgreSQL, counters in Redis.

What holds on one server holds here: the tests of lockout and limits are the very same ones.
"""

import http.client
import json
import os
import random
import re
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from accounts.tests.support.flows import all_at_once
from accounts.tests.test_lockout_processes import (  # noqa: F401  collected here, too
    marks,
    test_of_200_parallel_guesses_over_four_processes_five_are_looked_at,
    test_twenty_right_passwords_at_once_lock_nobody_out,
)
from config.tests.support.consistency_load import claim
from config.tests.support.external_servers import free_port, own_redis, pgbouncer
from config.tests.support.fixtures import PASSWORD, Person, make_creator
from config.tests.support.live_server import Reply, Served, serving
from config.tests.support.plugin import server

pytestmark = [pytest.mark.django_db(transaction=True, databases="__all__"), pytest.mark.slow]
TENANTS = 50
REQUESTS = 2_000


@pytest.fixture(scope="module")
def served(
    django_db_setup: None,
    marks: Path,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    with ExitStack() as running:
        env = running.enter_context(pgbouncer(server, dict(os.environ)))
        env["REDIS_URL"] = running.enter_context(own_redis()).url
        env |= {"DJANGO_SETTINGS_MODULE": "config.tests.support.counting_settings", "HASH_MARKS": str(marks)}
        env |= {"HASH_SECONDS": "0.1", "LOG_LEVEL": "INFO"}
        env["PORT"] = str(free_port())  # one for both: the kernel deals the connections out
        services = [
            running.enter_context(serving(tmp_path_factory.mktemp("served"), workers=2, **env))
            for _ in range(2)
        ]
        yield services[0]
        logs = [service.log.read_text() for service in services]
    assert all("audit.requests" in log for log in logs), "one of them did nothing"
    assert not any("Traceback" in log for log in logs)


def log_in(served: Served, person: Person, **more: Any) -> Any:
    reply = served.post("login", {"email": person.email, "password": PASSWORD}, **more)
    assert reply.status == 200, reply
    return reply.json()


def test_racing_refreshes_have_one_successor(served: Served, superuser: psycopg.Connection) -> None:
    pair = log_in(served, make_creator("ada@example.com"), ip="192.0.2.1")

    def refresh(number: int) -> Reply:
        return served.post("refresh", {"refresh": pair["refresh"]}, ip=f"198.51.100.{number}")

    replies = all_at_once(20, refresh)
    assert {reply.status for reply in replies} == {200}
    assert len({claim(reply.json()["refresh"], "jti") for reply in replies}) == 1
    assert superuser.execute("SELECT count(*) FROM refresh_tokens").fetchone() == (2,)


def test_reuse_ends_the_session_on_both_servers(served: Served) -> None:
    first = log_in(served, make_creator("ada@example.com"), ip="192.0.2.2")
    second = served.post("refresh", {"refresh": first["refresh"]}, ip="192.0.2.3").json()
    third = served.post("refresh", {"refresh": second["refresh"]}, ip="192.0.2.3").json()
    assert served.post("refresh", {"refresh": first["refresh"]}, ip="192.0.2.3").code == "token_reused"
    replies = [served.call("GET", "me", token=third["access"]) for _ in range(20)]
    assert {reply.code for reply in replies} == {"invalid_token"}


# --- isolation ------------------------------------------------------------------------------------

MARK = re.compile(r"tenant-\d+-[0-9a-f]{8}")


@dataclass
class Tenant:
    """Everything that is theirs bears their mark: address, name, user agent, visitors."""

    mark: str
    person: Person
    access: str = ""
    visitors: list[str] = field(default_factory=list)


def settle_tenants(served: Served, count: int) -> list[Tenant]:
    tenants = []
    for number in range(count):
        mark = f"tenant-{number}-{secrets.token_hex(4)}"
        tenant = Tenant(mark, make_creator(f"{mark}@example.com", display_name=mark))
        agent = {"User-Agent": mark}
        tenant.access = log_in(served, tenant.person, ip=f"203.0.113.{number}", **agent)["access"]
        tenants.append(tenant)
    return tenants


def mixed_requests(served: Served, tenants: Sequence[Tenant], count: int, seed: int) -> Counter[str]:
    """So many requests of all tenants in turn over few connections; how often each door showed its owner."""
    chance, seen = random.Random(seed), Counter[str]()
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    for _ in range(count):
        tenant, other = chance.sample(tenants, 2)
        method, path, body = chance.choice(_questions(tenant, other))
        headers = {"Authorization": f"Bearer {tenant.access}", "User-Agent": tenant.mark}
        headers |= {"Content-Type": "application/json", "X-Forwarded-For": f"10.0.0.{chance.randrange(250)}"}
        connection.request(method, path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        shown = set(MARK.findall(text))
        assert shown <= {tenant.mark}, (method, path, text)
        if method == "DELETE":
            assert answer.status == 404, (path, text)
        else:
            assert answer.status < 300, (method, path, answer.status, text)
        if answer.status == 201:
            tenant.visitors.append(json.loads(text)["session_id"])
        seen[f"{method} {path.rpartition('/')[2]}"] += bool(shown)
    connection.close()
    return seen


def _questions(tenant: Tenant, other: Tenant) -> list[tuple[str, str, Any]]:
    visit = {"creator": str(tenant.person.id), "metadata": {"of": tenant.mark}}
    foreign = [("DELETE", f"/api/v1/end-users/sessions/{one}", None) for one in other.visitors[-1:]]
    return [
        ("GET", "/api/v1/auth/me", None),
        ("PATCH", "/api/v1/auth/me", {"display_name": f"{tenant.mark} {secrets.token_hex(2)}"}),
        ("GET", "/api/v1/auth/sessions", None),
        ("GET", "/api/v1/audit/events", None),
        ("GET", "/api/v1/end-users/sessions", None),
        *foreign,
        *([] if len(tenant.visitors) > 5 else [("POST", "/api/v1/end-users/sessions", visit)]),
    ]


def prove_isolation(served: Served, count: int) -> None:
    tenants, threads = settle_tenants(served, TENANTS), 8
    with ThreadPoolExecutor(threads) as pool:
        ask = partial(mixed_requests, served, tenants, count // threads)
        seen = sum(pool.map(ask, range(threads)), Counter[str]())
    doors = {"GET me", "PATCH me", "GET sessions", "GET events"}
    assert doors <= {door for door, times in seen.items() if times}, seen  # they do show their owner


def test_no_tenant_sees_a_row_of_another(served: Served) -> None:
    prove_isolation(served, REQUESTS)
