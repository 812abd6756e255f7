"""Exactly the limit over four worker processes, with counters in PostgreSQL and in Redis."""

import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from django_ratelimit.core import _get_window

from accounts.tests.support.flows import all_at_once
from config.launcher.process import wait_until
from config.tests.support.external_servers import Redis, own_redis
from config.tests.support.live_server import LiveServer, run_server

pytestmark = pytest.mark.slow
BURST = 60
UNUSED_ADDRESSES = iter(range(60_000))
LIMITS = {"login": 10, "password/validate": 10, "refresh": 30}


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with own_redis() as server:
        yield server


@pytest.fixture(scope="module", params=["postgresql", "redis"])
def served(
    request: pytest.FixtureRequest, django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    store = {} if request.param == "postgresql" else {"REDIS_URL": request.getfixturevalue("redis").url}
    with run_server(tmp_path_factory.mktemp("served"), **store) as service:
        yield service


def unused_address() -> str:
    """A new address whose window does not end during a burst."""
    now = int(time.time())
    for number in UNUSED_ADDRESSES:
        address = f"10.0.{number // 250}.{number % 250}"
        if _get_window(address, 60) - now > 40:
            return address
    raise AssertionError


@pytest.mark.parametrize(("path", "limit"), LIMITS.items())
def test_exactly_the_limit_of_a_burst_is_allowed(served: LiveServer, path: str, limit: int) -> None:
    address = unused_address()
    spellings = [address, f"203.0.113.9, {address}", f"::ffff:{address}", f" {address} "]

    def is_allowed(number: int) -> bool:
        return served.post(path, {}, ip=spellings[number % 4]).status != 429

    assert sum(all_at_once(BURST, is_allowed)) == limit


@pytest.mark.parametrize("name", ["X-Forwarded-For", "X_Forwarded_For", "X-Forwarded_For"])
@pytest.mark.parametrize("is_last", [False, True])
def test_forged_header_line_does_not_evade_the_limit(served: LiveServer, name: str, is_last: bool) -> None:
    """Some proxies add a second header line, and CGI names cannot tell a hyphen from an underscore."""
    if is_last and name == "X-Forwarded-For":
        pytest.skip("a proxy adds its line at the end")
    address = unused_address()

    def send(number: int) -> int:
        with socket.create_connection(("127.0.0.1", served.port), 10) as connection:
            lines = [f"{name}: 203.0.113.{number}", f"X-Forwarded-For: {address}"]
            connection.sendall(
                b"POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
                b"Content-Type: application/json\r\nConnection: close\r\n"
                + "\r\n".join([*(lines[::-1] if is_last else lines), "", "{}"]).encode()
            )
            return int(connection.recv(64).split()[1])

    assert Counter(send(number) for number in range(15)) == {400: 10, 429: 5}


def test_limits_fail_closed_without_redis_and_recover(
    django_db_setup: None, tmp_path: Path, redis: Redis
) -> None:
    with run_server(tmp_path, workers=1, REDIS_URL=redis.url) as served:
        assert served.post("password/validate", {}, ip="192.0.2.1").status == 400
        redis.send(signal.SIGSTOP)
        assert_unavailable(served)
        redis.send(signal.SIGCONT)
        assert wait_until(lambda: served.post("refresh", {}, ip="192.0.2.2").status == 400, within=5)
        redis.stop()
        assert_unavailable(served)
        assert served.call("GET", "/healthz").status == 200
        redis.start()
        assert wait_until(lambda: served.post("refresh", {}, ip="192.0.2.3").status == 400, within=5)
        lifetimes = redis.lifetimes()
        log = served.log.read_text()
    assert "Traceback" not in log
    assert "rate limits unavailable" in log
    assert lifetimes  # all keys expire, so that a flood of addresses cannot fill the memory
    assert all(0 <= seconds <= 65 for seconds in lifetimes)


def assert_unavailable(served: LiveServer) -> None:
    started = time.monotonic()
    reply = served.post("password/validate", {"password": "x"}, ip="192.0.2.1")
    assert (reply.status, reply.code) == (503, "unavailable")
    assert int(reply.headers["retry-after"]) >= 1
    assert time.monotonic() - started < 2.5
    assert served.call("POST", "/account/password-reset/", ip="192.0.2.1").status in {403, 503}
