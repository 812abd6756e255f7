"""Mixed requests of many tenants to two servers; each response must show only data of its own tenant."""

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
from config.tests.support.live_server import LiveServer, run_server


@pytest.fixture(scope="module")
def served(
    django_db_setup: None,
    marks: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[LiveServer]:
    with ExitStack() as running:
        env = running.enter_context(pgbouncer(server, dict(os.environ)))
        env["REDIS_URL"] = running.enter_context(own_redis()).url
        env |= {"DJANGO_SETTINGS_MODULE": "config.tests.support.counting_settings", "HASH_MARKS": str(marks)}
        env |= {"HASH_SECONDS": "0.1", "LOG_LEVEL": "INFO"}
        env["PORT"] = str(free_port())  # the same for both: the kernel distributes the connections
        services = [
            running.enter_context(run_server(tmp_path_factory.mktemp("served"), workers=2, **env))
            for _ in range(2)
        ]
        yield services[0]
        logs = [service.log.read_text() for service in services]
    assert all("audit.requests" in log for log in logs), "one server got no requests"
    assert not any("Traceback" in log for log in logs)


TENANTS = 50
MARK = re.compile(r"tenant-\d+-[0-9a-f]{8}")


@dataclass
class Tenant:
    """A tenant whose data all contains its mark: email, name, user agent and end-user sessions."""

    mark: str
    person: Person
    access: str = ""
    end_user_sessions: list[str] = field(default_factory=list)


def create_tenants(served: LiveServer, count: int) -> list[Tenant]:
    tenants = []
    for number in range(count):
        mark = f"tenant-{number}-{secrets.token_hex(4)}"
        tenant = Tenant(mark, make_creator(f"{mark}@example.com", display_name=mark))
        agent = {"User-Agent": mark}
        tenant.access = log_in(served, tenant.person, ip=f"203.0.113.{number}", **agent)["access"]
        tenants.append(tenant)
    return tenants


def mixed_requests(served: LiveServer, tenants: Sequence[Tenant], count: int, seed: int) -> Counter[str]:
    """Send `count` random requests over one connection; per endpoint, how many responses showed the tenant's mark."""
    rng, seen = random.Random(seed), Counter[str]()
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    for _ in range(count):
        tenant, other = rng.sample(tenants, 2)
        method, path, body = rng.choice(_possible_requests(tenant, other))
        headers = {"Authorization": f"Bearer {tenant.access}", "User-Agent": tenant.mark}
        headers |= {"Content-Type": "application/json", "X-Forwarded-For": f"10.0.0.{rng.randrange(250)}"}
        connection.request(method, path, json.dumps(body) if body else None, headers)
        response = connection.getresponse()
        text = response.read().decode()
        shown = set(MARK.findall(text))
        assert shown <= {tenant.mark}, (method, path, text)
        if method == "DELETE":
            assert response.status == 404, (path, text)
        else:
            assert response.status < 300, (method, path, response.status, text)
        if response.status == 201:
            tenant.end_user_sessions.append(json.loads(text)["session_id"])
        seen[f"{method} {path.rpartition('/')[2]}"] += bool(shown)
    connection.close()
    return seen


def _possible_requests(tenant: Tenant, other: Tenant) -> list[tuple[str, str, Any]]:
    visit = {"creator": str(tenant.person.id), "metadata": {"of": tenant.mark}}
    foreign = [
        ("DELETE", f"/api/v1/end-users/sessions/{session}", None) for session in other.end_user_sessions[-1:]
    ]
    return [
        ("GET", "/api/v1/auth/me", None),
        ("PATCH", "/api/v1/auth/me", {"display_name": f"{tenant.mark} {secrets.token_hex(2)}"}),
        ("GET", "/api/v1/auth/sessions", None),
        ("GET", "/api/v1/audit/events", None),
        ("GET", "/api/v1/end-users/sessions", None),
        *foreign,
        *([] if len(tenant.end_user_sessions) > 5 else [("POST", "/api/v1/end-users/sessions", visit)]),
    ]


def assert_isolated(served: LiveServer, count: int) -> None:
    tenants, threads = create_tenants(served, TENANTS), 8
    with ThreadPoolExecutor(threads) as pool:
        send = partial(mixed_requests, served, tenants, count // threads)
        seen = sum(pool.map(send, range(threads)), Counter[str]())
    expected = {"GET me", "PATCH me", "GET sessions", "GET events"}
    assert expected <= {endpoint for endpoint, count in seen.items() if count}, seen


def log_in(served: LiveServer, person: Person, **more: Any) -> Any:
    reply = served.post("login", {"email": person.email, "password": PASSWORD}, **more)
    assert reply.status == 200, reply
    return reply.json()
