"""Two servers, and many tenants at once, each of whom must see only its own data."""

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

import pytest

from config.tests.support.accounts import PASSWORD, Person, make_creator
from config.tests.support.environment import server
from config.tests.support.external_servers import free_port, own_redis, pgbouncer
from config.tests.support.live_server import Served, serving


@pytest.fixture(scope="module")
def served(
    django_db_setup: None,
    marks: Path,
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


TENANTS = 50


def log_in(served: Served, person: Person, **more: Any) -> Any:
    reply = served.post("login", {"email": person.email, "password": PASSWORD}, **more)
    assert reply.status == 200, reply
    return reply.json()
