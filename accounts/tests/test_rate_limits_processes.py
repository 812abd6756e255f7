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
from config.tests.support.live_server import Served, serving

pytestmark = pytest.mark.slow
BURST = 60
UNUSED = iter(range(60_000))
LIMITS = {"login": 10, "password/validate": 10, "refresh": 30}


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with own_redis() as server:
        yield server


@pytest.fixture(scope="module", params=["postgresql", "redis"])
def served(
    request: pytest.FixtureRequest, django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    store = {} if request.param == "postgresql" else {"REDIS_URL": request.getfixturevalue("redis").url}
    with serving(tmp_path_factory.mktemp("served"), **store) as service:
        yield service


def quiet_network() -> str:
    """A new address whose window lasts a while yet: no burst shall straddle its edge."""
    now = int(time.time())
    for number in UNUSED:
        address = f"10.0.{number // 250}.{number % 250}"
        if _get_window(address, 60) - now > 40:
            return address
    raise AssertionError


@pytest.mark.parametrize(("path", "limit"), LIMITS.items())
def test_of_a_burst_of_60_exactly_the_limit_passes(served: Served, path: str, limit: int) -> None:
    address = quiet_network()
    tricks = [address, f"203.0.113.9, {address}", f"::ffff:{address}", f" {address} "]

    def knock(number: int) -> bool:
        return served.post(path, {}, ip=tricks[number % 4]).status != 429

    assert sum(all_at_once(BURST, knock)) == limit


@pytest.mark.parametrize("name", ["X-Forwarded-For", "X_Forwarded_For", "X-Forwarded_For"])
@pytest.mark.parametrize("is_last", [False, True])
def test_forged_header_line_beside_the_proxys_own_does_not_evade(
    served: Served, name: str, is_last: bool
) -> None:
    """Some proxies add a line of their own instead of a word to the client's; a CGI name has no hyphen."""
    if is_last and name == "X-Forwarded-For":
        pytest.skip("a proxy adds its own line at the end")
    address = quiet_network()

    def knock(number: int) -> int:
        with socket.create_connection(("127.0.0.1", served.port), 10) as door:
            lines = [f"{name}: 203.0.113.{number}", f"X-Forwarded-For: {address}"]
            door.sendall(
                b"POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
                b"Content-Type: application/json\r\nConnection: close\r\n"
                + "\r\n".join([*(lines[::-1] if is_last else lines), "", "{}"]).encode()
            )
            return int(door.recv(64).split()[1])

    assert Counter(knock(number) for number in range(15)) == {400: 10, 429: 5}


def test_without_redis_the_doors_stay_shut_and_open_again(
    django_db_setup: None, tmp_path: Path, redis: Redis
) -> None:
    with serving(tmp_path, workers=1, REDIS_URL=redis.url) as served:
        assert served.post("password/validate", {}, ip="192.0.2.1").status == 400
        redis.send(signal.SIGSTOP)  # it hangs
        assert_shut(served)
        redis.send(signal.SIGCONT)
        assert wait_until(lambda: served.post("refresh", {}, ip="192.0.2.2").status == 400, within=5)
        redis.stop()
        assert_shut(served)
        assert served.call("GET", "/healthz").status == 200
        redis.start()
        assert wait_until(lambda: served.post("refresh", {}, ip="192.0.2.3").status == 400, within=5)
        lifetimes = redis.lifetimes()
        log = served.log.read_text()
    assert "Traceback" not in log
    assert "rate limits unavailable" in log
    assert lifetimes  # and none for ever: a flood of addresses must not fill the memory
    assert all(0 <= seconds <= 65 for seconds in lifetimes)


def assert_shut(served: Served) -> None:
    started = time.monotonic()
    reply = served.post("password/validate", {"password": "x"}, ip="192.0.2.1")
    assert (reply.status, reply.code) == (503, "unavailable")
    assert int(reply.headers["retry-after"]) >= 1
    assert time.monotonic() - started < 2.5
    assert served.call("POST", "/account/password-reset/", ip="192.0.2.1").status in {403, 503}
