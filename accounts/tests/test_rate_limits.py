"""Exactly the limit of requests passes per endpoint and network; without counters none does."""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.test import override_settings

from accounts.api.urls import endpoints
from accounts.ratelimits import limits
from audit.requests.client_info import ClientInfo
from config import settings as default_settings
from config.tests.support.accounts import Person, make_creator
from config.tests.support.client import API
from config.tests.support.database import statements

LIMITS = {  # of each endpoint without a bearer
    url: int(default_settings._DEFAULT_RATES[view.limit].partition("/")[0])
    for url, view in endpoints()
    if hasattr(view, "limit")
}
SHARED = [
    ("password/change", "me/delete"),
    ("password/change", "email/change"),
    ("password/reset", "/account/password-reset/"),
    ("password/reset/confirm", "/account/reset/uid/token/"),
    ("email/verify", "/account/verify-email/uid/token/"),
    ("login", "/admin/login/"),
]


class Clock(SimpleNamespace):
    """The time of django-ratelimit; it stands still."""

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


def post(path: str, *, ip: str = "192.0.2.1", method: str = "POST", **headers: str) -> Any:
    client = API(raise_request_exception=False, REMOTE_ADDR=ip)
    return client.call(method, path, {}, **headers)


def passed(path: str, times: int, **more: Any) -> int:
    return sum(post(path, **more).status_code != 429 for _ in range(times))


@pytest.mark.parametrize(("path", "limit"), LIMITS.items())
def test_exactly_the_limit_passes_in_one_window(path: str, limit: int) -> None:
    answers = [post(path) for _ in range(limit + 3)]
    assert [answer.status_code == 429 for answer in answers] == [False] * limit + [True] * 3
    refused = answers[-1]
    assert refused.json()["code"] == "rate_limited"
    assert 1 <= int(refused["Retry-After"]) <= 60


def test_well_formed_token_counts_like_any_other() -> None:
    bodies = [{"refresh": "a.b.c"}, {"refresh": "rubbish"}, {}] * 10
    answers = [API(REMOTE_ADDR="192.0.2.1").post("refresh", body).status_code for body in bodies]
    assert answers == [401, 401, 400] * 10
    assert API(REMOTE_ADDR="192.0.2.1").post("refresh", {"refresh": "a.b.c"}).status_code == 429


def test_every_endpoint_without_a_token_has_a_limit() -> None:
    public = {url for url, view in endpoints() if view.permission_classes == () and "token/" not in url}
    assert public - LIMITS.keys() == {"/api/v1/end-users/sessions/current"}  # has a token of its own


@pytest.mark.parametrize(("first", "second"), SHARED)
def test_endpoints_of_one_kind_share_their_limit(first: str, second: str) -> None:
    limit = LIMITS[f"/api/v1/auth/{first}"]
    assert passed(second, limit - 2) == limit - 2
    assert passed(first, 3) == 2
    assert post(second).status_code == 429


def test_page_says_when_to_try_again() -> None:
    passed("/account/password-reset/", 5)
    response = post("/account/password-reset/")
    assert response.status_code == 429
    assert f"Wait {response['Retry-After']} seconds" in response.content.decode()


def test_get_of_a_page_is_not_counted() -> None:
    assert passed("/account/password-reset/", 50, method="GET") == 50


def test_retry_after_is_exact_to_the_second(clock: Clock) -> None:
    start = clock.now
    for offset in range(0, 60, 7):
        clock.now = start + 120 * offset + offset + 0.9
        while (response := post("login")).status_code != 429:
            pass
        came, wait = clock.now, int(response["Retry-After"])
        clock.now = came - 0.9 + wait - 0.1
        assert post("login").status_code == 429
        clock.now = came + wait
        assert post("login").status_code != 429


def test_addresses_of_one_network_share_the_limit(clock: Clock) -> None:
    same = [
        ("198.51.100.7", "::ffff:198.51.100.7"),
        ("2001:db8:0:1::1", "2001:DB8:0:1:ffff::2"),
        ("", "rubbish"),
    ]
    for one, other in same:
        assert passed("login", 10, ip=one) == 10
        assert post("login", ip=other).status_code == 429, (one, other)
    for another in ("198.51.100.8", "2001:db8:0:2::1", "::ffff:198.51.100.9"):
        assert post("login", ip=another).status_code != 429, another


def test_letter_case_methods_and_forged_headers_do_not_evade() -> None:
    tricks = [
        {"method": "GET"}, {"method": "PUT"}, {"method": "OPTIONS"}, {"method": "HEAD"}, {"method": "DELETE"},
        {"X-Forwarded-For": "203.0.113.1"}, {"X-Real-IP": "203.0.113.2"}, {"Forwarded": "for=203.0.113.3"},
        {"X-Client-IP": "203.0.113.4"}, {"True-Client-IP": "203.0.113.5"},
    ]  # fmt: skip
    assert [post("login", **trick).status_code for trick in tricks].count(429) == 0
    for trick in [{}, *tricks]:
        assert post("login", **trick).status_code == 429, trick
    assert post("LOGIN").status_code == 404
    assert post("login/").status_code == 404


@pytest.mark.parametrize(
    ("proxies", "forwarded", "same"),
    [
        (
            1,
            ["203.0.113.1, 198.51.100.7", "203.0.113.2, 198.51.100.7"],
            True,
        ),  # the client chose the left one
        (1, ["198.51.100.7", "198.51.100.8"], False),
        (1, ["198.51.100.7", " 198.51.100.7 "], True),
        (1, ["2001:db8::1", "2001:db8::2"], True),
        (1, ["rubbish", "198.51.100.7:1234"], True),  # both count as the proxy
        (2, ["1.1.1.1, 198.51.100.7, 10.0.0.1", "2.2.2.2, 198.51.100.7, 10.0.0.2"], True),
        (2, ["198.51.100.7, 10.0.0.1", "198.51.100.8, 10.0.0.1"], False),
        (2, ["198.51.100.7", "198.51.100.8"], True),  # too short to have come through both
    ],
)
def test_forwarded_address_counts_through_trusted_proxies_only(
    settings: Any, proxies: int, forwarded: list[str], same: bool
) -> None:
    settings.TRUSTED_PROXY_COUNT = proxies
    first, second = ({"X-Forwarded-For": address} for address in forwarded)
    assert passed("login", 10, **first) == 10
    assert (post("login", **second).status_code == 429) is same


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


@pytest.mark.parametrize("trouble", ["counters_gone", "counters_locked"])
def test_without_counters_limited_endpoints_refuse(
    trouble: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    request.getfixturevalue(trouble)
    for path in (*LIMITS, "/account/password-reset/", "/admin/login/"):
        response = post(path)
        assert response.status_code == 503, path
        assert int(response["Retry-After"]) >= 1
        if path.startswith(("/account", "/admin")):
            assert "busy right now" in response.content.decode()
        else:
            assert response.json()["code"] == "unavailable"
    assert post("/account/password-reset/", method="GET").status_code == 200
    assert all(record.exc_info is None for record in caplog.records)
    assert {r.levelno for r in caplog.records if r.name == "accounts.ratelimits.limits"} == {logging.WARNING}


def test_a_request_is_counted_in_one_statement() -> None:
    with statements() as executed:
        assert passed("login", 3) == 3
    assert [sql.partition(" ")[0] for sql in executed if " counters " in sql] == ["INSERT"] * 3


def test_counts_that_were_lost_start_again(superuser: psycopg.Connection) -> None:
    """The table is empty after a crash of PostgreSQL."""
    assert passed("login", 10) == 10
    superuser.execute("DELETE FROM counters")
    assert passed("login", 12) == 10


def test_counter_expires_soon_after_its_window(superuser: psycopg.Connection) -> None:
    passed("login", 2)
    row = superuser.execute("SELECT extract(epoch FROM expires_at - now()) FROM counters").fetchone()
    assert row is not None
    assert 55 < row[0] < 70


def test_endpoints_with_a_bearer_need_no_counter(counters_gone: None, ada: Person) -> None:
    assert API().get("me", token=ada.access).status_code == 200


def mails(kind: str, times: int, *, ip: str, email: str = "ada@example.com") -> int:
    return sum(limits.allows_mail(kind, email, ClientInfo(ip_address=ip)) for _ in range(times))


def test_counters_reveal_neither_address_nor_network(superuser: psycopg.Connection) -> None:
    """The app role can read them all, and could try addresses against a digest without a key."""
    mails("reset", 1, ip="192.0.2.1")
    post("login", ip="192.0.2.1")
    before = {key for (key,) in superuser.execute("SELECT key FROM counters")}
    known = ["ada@example.com", "192.0.2.1"]
    known += [
        hashlib.new(name, text.encode()).hexdigest() for text in known for name in ("md5", "sha1", "sha256")
    ]
    assert len(before) == 3
    assert [(key, text) for key in before for text in known if text in key] == []
    with override_settings(SECRET_KEY="another secret key, which nobody has guessed either"):
        mails("reset", 1, ip="192.0.2.1")
        post("login", ip="192.0.2.1")
    after = {key for (key,) in superuser.execute("SELECT key FROM counters")}
    assert len(after) == 6, "the digests have no key"


def test_one_network_gets_five_mails_an_hour_to_one_address() -> None:
    assert mails("reset", 9, ip="192.0.2.1") == 5
    assert mails("reset", 9, ip="192.0.2.2") == 5
    assert mails("reset", 9, ip="192.0.2.1", email="bob@example.com") == 5
    assert mails("verify", 9, ip="192.0.2.1") == 5


def test_twenty_mails_an_hour_to_one_address_in_all() -> None:
    sent = Counter({n: mails("reset", 3, ip=f"192.0.2.{n}") for n in range(10)})
    assert sent.total() == 20
    assert mails("verify", 1, ip="192.0.2.99") == 1


def test_flood_from_one_network_leaves_the_owner_a_mail() -> None:
    mails("reset", 500, ip="203.0.113.1")
    assert mails("reset", 1, ip="192.0.2.1") == 1


def test_mails_come_again_after_an_hour(superuser: psycopg.Connection) -> None:
    mails("reset", 9, ip="192.0.2.1")
    superuser.execute("UPDATE counters SET expires_at = expires_at - interval '1 hour'")
    assert mails("reset", 9, ip="192.0.2.1") == 5


@pytest.mark.parametrize("path", ["password/reset", "/account/password-reset/"])
def test_refused_mail_is_answered_like_any_other(
    path: str, settings: Any, run_jobs: Any, mailoutbox: list[Any]
) -> None:
    settings.RATE_LIMITS = dict.fromkeys(settings.RATE_LIMITS, "1000/m")
    make_creator("ada@example.com")
    client = API()
    answers = []
    for _ in range(8):
        if path.startswith("/"):
            response = client.generic(
                "POST", path, "email=ada%40example.com", content_type="application/x-www-form-urlencoded"
            )
        else:
            response = client.post(path, {"email": "ada@example.com"})
        answers.append((response.status_code, response.headers.get("Location")))
    assert len(set(answers)) == 1
    run_jobs()
    assert len(mailoutbox) == 5


def test_expired_counters_are_cleared_away(superuser: psycopg.Connection) -> None:
    from django.core.management import call_command

    mails("reset", 1, ip="192.0.2.1")
    superuser.execute("UPDATE counters SET expires_at = now() - interval '1 second'")
    mails("verify", 1, ip="192.0.2.1")
    call_command("prune_expired")
    assert superuser.execute("SELECT count(*) FROM counters").fetchone() == (2,)
