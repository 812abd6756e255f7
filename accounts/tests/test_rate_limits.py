"""Rate limits: exact per endpoint and network, and closed if the counter store fails."""

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.test import override_settings

from accounts.api.endpoints import endpoints
from accounts.ratelimits import limits
from audit.requests.client_info import ClientInfo
from config import settings as default_settings
from config.tests.support.accounts import Person, make_creator
from config.tests.support.client import API
from config.tests.support.database import statements
from config.tests.support.environment import ROOT
from config.tests.support.urls import hashing_bodies, is_public, limited_paths

AUTH = "/api/v1/auth/"
LIMITED = limited_paths()
SHARED = [
    (f"{AUTH}password/change", f"{AUTH}me/delete"),
    (f"{AUTH}password/change", f"{AUTH}email/change"),
    (f"{AUTH}password/reset", "/account/password-reset/"),
    (f"{AUTH}password/reset/confirm", "/account/reset/uid/token/"),
    (f"{AUTH}email/verify", "/account/verify-email/uid/token/"),
    (f"{AUTH}login", "/admin/login/"),
]


class Clock(SimpleNamespace):
    """Advances only when a test sets it."""

    def time(self) -> float:
        return float(self.now)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    from django_ratelimit import core

    clock = Clock(now=1_800_000_000)
    monkeypatch.setattr(core, "time", clock)
    return clock


@pytest.fixture(autouse=True)
def standard_limits(settings: Any) -> None:
    settings.RATE_LIMITS = default_settings._DEFAULT_RATES


def limit_of(path: str) -> int:
    return int(default_settings._DEFAULT_RATES[LIMITED[path]].partition("/")[0])


def send(path: str, *, ip: str = "192.0.2.1", method: str = "POST", **headers: str) -> Any:
    api = API(raise_request_exception=False, REMOTE_ADDR=ip)
    return api.call(method, path, {}, **headers)


def count_allowed(path: str, times: int, **options: Any) -> int:
    return sum(send(path, **options).status_code != 429 for _ in range(times))


def documented_rates() -> Iterator[tuple[str, str]]:
    """Scope and default of each rate limit in the tables of the documentation."""
    files = [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
    text = "\n".join(file.read_text() for file in files)
    for names, rate in re.findall(r"^\| (`RATE_LIMIT_[^|]+) \| `([^`]+)` \|", text, re.MULTILINE):
        yield from ((name.lower(), rate) for name in re.findall(r"`(?:RATE_LIMIT)?_(\w+)`", names))


def test_default_rates_are_documented() -> None:
    assert dict(documented_rates()) == default_settings._DEFAULT_RATES


def test_every_scope_is_used() -> None:
    assert set(LIMITED.values()) == set(default_settings._DEFAULT_RATES)


@pytest.mark.parametrize("path", LIMITED)
def test_exactly_the_limit_is_allowed_in_one_window(path: str) -> None:
    limit = limit_of(path)
    responses = [send(path) for _ in range(limit + 3)]
    assert [response.status_code == 429 for response in responses] == [False] * limit + [True] * 3
    refused = responses[-1]
    assert refused.json()["code"] == "rate_limited"
    assert 1 <= int(refused["Retry-After"]) <= 60


def test_well_formed_and_malformed_tokens_count_alike() -> None:
    bodies = [{"refresh": "a.b.c"}, {"refresh": "rubbish"}, {}] * 10
    statuses = [API(REMOTE_ADDR="192.0.2.1").post("refresh", body).status_code for body in bodies]
    assert statuses == [401, 401, 400] * 10
    assert API(REMOTE_ADDR="192.0.2.1").post("refresh", {"refresh": "a.b.c"}).status_code == 429


def test_every_public_post_has_a_limit() -> None:
    public = {endpoint.path for endpoint in endpoints() if endpoint.method == "POST" and is_public(endpoint)}
    assert public
    assert public <= set(LIMITED)


def test_every_endpoint_that_hashes_has_a_limit() -> None:
    assert set(hashing_bodies()) <= set(LIMITED)


@pytest.mark.parametrize(("first", "second"), SHARED)
def test_endpoints_of_one_scope_share_their_limit(first: str, second: str) -> None:
    limit = limit_of(first)
    assert count_allowed(second, limit - 2) == limit - 2
    assert count_allowed(first, 3) == 2
    assert send(second).status_code == 429


def test_page_shows_when_to_try_again() -> None:
    count_allowed("/account/password-reset/", 5)
    response = send("/account/password-reset/")
    assert response.status_code == 429
    assert f"Wait {response['Retry-After']} seconds" in response.content.decode()


def test_get_of_a_page_is_not_counted() -> None:
    assert count_allowed("/account/password-reset/", 50, method="GET") == 50


def test_retry_after_is_exact_to_the_second(clock: Clock) -> None:
    start = clock.now
    for offset in range(0, 60, 7):
        clock.now = start + 120 * offset + offset + 0.9
        while (response := send("login")).status_code != 429:
            pass
        refused_at, wait = clock.now, int(response["Retry-After"])
        clock.now = refused_at - 0.9 + wait - 0.1
        assert send("login").status_code == 429
        clock.now = refused_at + wait
        assert send("login").status_code != 429


def test_addresses_of_one_network_share_a_limit(clock: Clock) -> None:
    same = [
        ("198.51.100.7", "::ffff:198.51.100.7"),
        ("2001:db8:0:1::1", "2001:DB8:0:1:ffff::2"),
        ("", "rubbish"),
    ]
    for first, second in same:
        assert count_allowed("login", 10, ip=first) == 10
        assert send("login", ip=second).status_code == 429, (first, second)
    for another in ("198.51.100.8", "2001:db8:0:2::1", "::ffff:198.51.100.9"):
        assert send("login", ip=another).status_code != 429, another


def test_methods_and_forged_headers_do_not_evade_the_limit() -> None:
    tricks = [
        {"method": "GET"}, {"method": "PUT"}, {"method": "OPTIONS"}, {"method": "HEAD"}, {"method": "DELETE"},
        {"X-Forwarded-For": "203.0.113.1"}, {"X-Real-IP": "203.0.113.2"}, {"Forwarded": "for=203.0.113.3"},
        {"X-ClientInfo-IP": "203.0.113.4"}, {"True-ClientInfo-IP": "203.0.113.5"},
    ]  # fmt: skip
    assert [send("login", **trick).status_code for trick in tricks].count(429) == 0
    for trick in [{}, *tricks]:
        assert send("login", **trick).status_code == 429, trick
    assert send("LOGIN").status_code == 404
    assert send("login/").status_code == 404


@pytest.mark.parametrize(
    ("proxies", "forwarded", "same"),
    [
        (
            1,
            ["203.0.113.1, 198.51.100.7", "203.0.113.2, 198.51.100.7"],
            True,
        ),  # the left one is from the client
        (1, ["198.51.100.7", "198.51.100.8"], False),
        (1, ["198.51.100.7", " 198.51.100.7 "], True),
        (1, ["2001:db8::1", "2001:db8::2"], True),
        (1, ["rubbish", "198.51.100.7:1234"], True),  # both are from the proxy
        (2, ["1.1.1.1, 198.51.100.7, 10.0.0.1", "2.2.2.2, 198.51.100.7, 10.0.0.2"], True),
        (2, ["198.51.100.7, 10.0.0.1", "198.51.100.8, 10.0.0.1"], False),
        (2, ["198.51.100.7", "198.51.100.8"], True),  # too short for two proxies
    ],
)
def test_forwarded_address_counts_from_trusted_proxies_only(
    settings: Any, proxies: int, forwarded: list[str], same: bool
) -> None:
    settings.TRUSTED_PROXY_COUNT = proxies
    first, second = ({"X-Forwarded-For": address} for address in forwarded)
    assert count_allowed("login", 10, **first) == 10
    assert (send("login", **second).status_code == 429) is same


@pytest.fixture
def counters_gone(superuser: psycopg.Connection) -> Iterator[None]:
    superuser.execute("ALTER TABLE counters RENAME TO counters_gone")
    yield
    superuser.execute("ALTER TABLE counters_gone RENAME TO counters")


@pytest.fixture
def counters_locked(superuser: psycopg.Connection) -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone() == ("5s",)
        cursor.execute("SET lock_timeout = '200ms'")
    with superuser.transaction():
        superuser.execute("LOCK TABLE counters IN ACCESS EXCLUSIVE MODE")
        yield
    connection.close()


@pytest.mark.parametrize("failure", ["counters_gone", "counters_locked"])
def test_limits_fail_closed(
    failure: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    request.getfixturevalue(failure)
    for path in (*LIMITED, "/account/password-reset/", "/admin/login/"):
        response = send(path)
        assert response.status_code == 503, path
        assert int(response["Retry-After"]) >= 1
        if path.startswith(("/account", "/admin")):
            assert "busy right now" in response.content.decode()
        else:
            assert response.json()["code"] == "unavailable"
    assert send("/account/password-reset/", method="GET").status_code == 200
    assert all(record.exc_info is None for record in caplog.records)
    assert {r.levelno for r in caplog.records if r.name == "accounts.ratelimits.limits"} == {logging.WARNING}


def test_each_request_is_counted_in_one_statement(clock: Clock) -> None:
    with statements() as seen:
        assert count_allowed("login", 3) == 3
        clock.now += 61
        assert count_allowed("login", 2) == 2
    assert [sql.partition(" ")[0] for sql in seen if " counters " in sql] == ["INSERT"] * 5


def test_counter_expires_after_its_window(superuser: psycopg.Connection) -> None:
    send("login")
    mails("reset", 1, ip="192.0.2.1")
    lifetimes = "SELECT extract(epoch FROM expires_at - now())::int FROM counters ORDER BY 1"
    minute, *hours = [seconds for (seconds,) in superuser.execute(lifetimes)]
    assert 60 <= minute <= 66
    assert all(3600 <= hour <= 3606 for hour in hours)


def test_counting_restarts_if_the_counters_are_lost(superuser: psycopg.Connection) -> None:
    """An UNLOGGED table is empty after a crash of PostgreSQL."""
    assert count_allowed("login", 12) == 10
    superuser.execute("DELETE FROM counters")
    assert count_allowed("login", 12) == 10


def test_authenticated_get_needs_no_counter(counters_gone: None, ada: Person) -> None:
    assert API().get("me", token=ada.access).status_code == 200


def mails(kind: str, times: int, *, ip: str, email: str = "ada@example.com") -> int:
    return sum(limits.allows_mail(kind, email, ClientInfo(ip_address=ip)) for _ in range(times))


def test_counters_reveal_neither_address_nor_network(superuser: psycopg.Connection) -> None:
    """The app role can read all counters, and could guess addresses if the digests had no key."""
    mails("reset", 1, ip="192.0.2.1")
    send("login", ip="192.0.2.1")
    before = {key for (key,) in superuser.execute("SELECT key FROM counters")}
    plain = ["ada@example.com", "192.0.2.1"]
    digests = [
        hashlib.new(name, text.encode()).hexdigest() for text in plain for name in ("md5", "sha1", "sha256")
    ]
    assert len(before) == 3
    assert [(key, text) for key in before for text in plain + digests if text in key] == []
    with override_settings(SECRET_KEY="another secret key, which nobody has guessed either"):
        mails("reset", 1, ip="192.0.2.1")
        send("login", ip="192.0.2.1")
    after = {key for (key,) in superuser.execute("SELECT key FROM counters")}
    assert len(after) == 6, "the digests do not depend on SECRET_KEY"


def test_one_network_may_send_five_mails_an_hour_to_an_address() -> None:
    assert mails("reset", 9, ip="192.0.2.1") == 5
    assert mails("reset", 9, ip="192.0.2.2") == 5
    assert mails("reset", 9, ip="192.0.2.1", email="bob@example.com") == 5
    assert mails("verify", 9, ip="192.0.2.1") == 5


def test_all_networks_may_send_twenty_mails_an_hour_to_an_address() -> None:
    sent = Counter({n: mails("reset", 3, ip=f"192.0.2.{n}") for n in range(10)})
    assert sent.total() == 20
    assert mails("verify", 1, ip="192.0.2.99") == 1


def test_flood_from_one_network_does_not_block_another() -> None:
    mails("reset", 500, ip="203.0.113.1")
    assert mails("reset", 1, ip="192.0.2.1") == 1


def test_mails_are_allowed_again_after_an_hour(clock: Clock) -> None:
    mails("reset", 9, ip="192.0.2.1")
    clock.now += 3601
    assert mails("reset", 9, ip="192.0.2.1") == 5


@pytest.mark.parametrize("path", ["password/reset", "/account/password-reset/"])
def test_response_does_not_reveal_a_refused_mail(
    path: str, settings: Any, run_jobs: Any, mailoutbox: list[Any]
) -> None:
    settings.RATE_LIMITS = dict.fromkeys(settings.RATE_LIMITS, "1000/m")
    make_creator("ada@example.com")
    client = API()
    responses = []
    for _ in range(8):
        if path.startswith("/"):
            response = client.generic(
                "POST", path, "email=ada%40example.com", content_type="application/x-www-form-urlencoded"
            )
        else:
            response = client.post(path, {"email": "ada@example.com"})
        responses.append((response.status_code, response.headers.get("Location")))
    assert len(set(responses)) == 1
    run_jobs()
    assert len(mailoutbox) == 5


def test_expired_counters_are_deleted(superuser: psycopg.Connection) -> None:
    from django.core.management import call_command

    mails("reset", 1, ip="192.0.2.1")
    superuser.execute("UPDATE counters SET expires_at = now() - interval '1 second'")
    mails("verify", 1, ip="192.0.2.1")
    call_command("prune_expired")
    assert superuser.execute("SELECT count(*) FROM counters").fetchone() == (2,)
