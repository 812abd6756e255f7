"""After five wrong passwords none is verified, however many come in parallel."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from datetime import timedelta
from threading import Event
from typing import Any

import pytest
from django.contrib.auth import hashers
from django.core.management import CommandError, call_command
from django.db import connections
from django.utils import timezone

from accounts.exceptions import AccountLockedError, RateLimitedError
from accounts.services import lockout, password_hashing
from accounts.services.lockout import LoginScope
from accounts.tests.support.flows import attempt, events
from accounts.tests.support.lockout_bursts import reserve_and_die
from config.tests.support.accounts import Person, make_creator
from config.tests.support.client import API
from tenancy.context import OPERATOR, using_alias


def age_failures(superuser: Any, by: timedelta) -> None:
    superuser.execute("UPDATE axes_accessattempt SET attempt_time = attempt_time - %s", [by])


@pytest.mark.parametrize("email", ["ada@example.com", "nobody@example.com"])
def test_sixth_attempt_is_refused_even_with_the_right_password(api: API, ada: Person, email: str) -> None:
    for n in range(5):
        assert attempt(api, email.upper() if n % 2 else email, "wrong") == (401, "invalid_credentials")
    assert attempt(api, email, ada.password) == (429, "account_locked")
    response = api.post("login", {"email": email, "password": ada.password})
    assert 1790 <= int(response["Retry-After"]) <= 1800


def test_lock_ends_at_its_second_despite_attempts(api: API, ada: Person, superuser: Any) -> None:
    for _ in range(5):
        attempt(api, ada.email, "wrong")
    age_failures(superuser, timedelta(minutes=29, seconds=58))
    assert attempt(api, ada.email, ada.password) == (429, "account_locked")
    age_failures(superuser, timedelta(seconds=2))
    assert attempt(api, ada.email, ada.password)[0] == 200


def test_success_resets_the_count(api: API, ada: Person) -> None:
    for _ in range(3):
        for _ in range(4):
            assert attempt(api, ada.email, "wrong")[0] == 401
        assert attempt(api, ada.email, ada.password)[0] == 200


def test_failures_expire_after_the_lockout_duration(api: API, ada: Person, superuser: Any) -> None:
    for _ in range(4):
        attempt(api, ada.email, "wrong")
    age_failures(superuser, timedelta(minutes=30))
    for _ in range(5):
        assert attempt(api, ada.email, "wrong")[0] == 401
    assert attempt(api, ada.email, "wrong")[0] == 429


def test_admin_has_its_own_count(api: API, transactional_db: None) -> None:
    olga = make_creator("olga@example.com", is_staff=True)
    for _ in range(6):
        attempt(api, olga.email, "wrong")
    with using_alias(OPERATOR):
        outcome = lockout.verify_password(
            email=olga.email,
            password=olga.password,
            encoded=hashers.make_password(olga.password),
            scope=LoginScope.ADMIN,
        )
    assert outcome.result.is_right


@pytest.mark.parametrize("known", [True, False])
def test_of_parallel_guesses_exactly_five_are_verified(
    ada: Person, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifications: Counter[str] = Counter()
    verify, make = hashers.verify_password, hashers.make_password

    def counted(function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            verifications["n"] += 1
            return function(*args, **kwargs)

        return call

    encoded = make(ada.password) if known else None
    monkeypatch.setattr(hashers, "verify_password", counted(verify))
    monkeypatch.setattr(hashers, "make_password", counted(make))
    email = ada.email if known else "nobody@example.com"

    def guess(_n: int) -> str:
        try:
            lockout.verify_password(email=email, password="wrong", encoded=encoded)
        except (AccountLockedError, RateLimitedError) as error:
            return error.code
        else:
            return "verified"
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as pool:
        outcomes = Counter(pool.map(guess, range(60)))
    assert verifications["n"] == outcomes["verified"] == 5, outcomes


def test_concurrent_right_passwords_lock_no_account(ada: Person) -> None:
    encoded = hashers.make_password(ada.password)

    def sign_in(_n: int) -> bool:
        try:
            return lockout.verify_password(
                email=ada.email, password=ada.password, encoded=encoded
            ).result.is_right
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as pool:
        assert all(pool.map(sign_in, range(20)))


def test_reservation_of_a_killed_process_expires(ada: Person, superuser: Any) -> None:
    for _ in range(5):
        reserve_and_die(ada.email)
    with pytest.raises(RateLimitedError):
        lockout.verify_password(email=ada.email, password=ada.password, encoded=None)
    superuser.execute("UPDATE login_reservations SET expires_at = %s", [timezone.now()])
    encoded = hashers.make_password(ada.password)
    assert lockout.verify_password(email=ada.email, password=ada.password, encoded=encoded).result.is_right


def paused_verification(monkeypatch: pytest.MonkeyPatch) -> tuple[Event, Event]:
    """Verifications wait: (one has started, they may go on)."""
    started, go = Event(), Event()
    verify = password_hashing.verify

    def waiting(password: str, encoded: str | None) -> password_hashing.VerificationResult:
        started.set()
        assert go.wait(10)
        return verify(password, encoded)

    monkeypatch.setattr(password_hashing, "verify", waiting)
    return started, go


@pytest.mark.parametrize("fifth_is_right", [True, False])
def test_sixth_attempt_waits_for_the_result_of_the_fifth(
    api: API, ada: Person, monkeypatch: pytest.MonkeyPatch, fifth_is_right: bool
) -> None:
    for _ in range(4):
        attempt(api, ada.email, "wrong")
    started, go = paused_verification(monkeypatch)
    with ThreadPoolExecutor(2) as pool:
        fifth = pool.submit(closing(attempt), API(), ada.email, ada.password if fifth_is_right else "wrong")
        assert started.wait(10)
        sixth = pool.submit(closing(attempt), API(), ada.email, ada.password)
        with pytest.raises(FutureTimeout):
            sixth.result(timeout=0.3)
        go.set()
        assert fifth.result()[0] == (200 if fifth_is_right else 401)
        assert sixth.result() == ((200, "") if fifth_is_right else (429, "account_locked"))


def test_attempt_that_waits_too_long_is_rate_limited(
    api: API, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(4):
        attempt(api, ada.email, "wrong")
    started, go = paused_verification(monkeypatch)
    with ThreadPoolExecutor(1) as pool:
        fifth = pool.submit(closing(attempt), API(), ada.email, ada.password)
        assert started.wait(10)
        begin = time.monotonic()
        response = api.post("login", {"email": ada.email, "password": ada.password})
        assert 1.9 < time.monotonic() - begin < 4
        assert (response.status_code, response.json()["code"]) == (429, "rate_limited")
        assert response["Retry-After"] == "1"
        go.set()
        assert fifth.result()[0] == 200


@pytest.mark.parametrize("right", [True, False])
def test_result_after_the_lease_is_discarded(
    api: API, ada: Person, superuser: Any, monkeypatch: pytest.MonkeyPatch, right: bool
) -> None:
    started, go = paused_verification(monkeypatch)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(closing(attempt), API(), ada.email, ada.password if right else "wrong")
        assert started.wait(10)
        superuser.execute("DELETE FROM login_reservations")  # another attempt has removed it as expired
        go.set()
        assert slow.result() == (429, "rate_limited")
    assert not superuser.execute("SELECT FROM axes_accessattempt WHERE failures_since_start > 0").fetchall()


@pytest.mark.parametrize(
    "command", [["axes_reset"], ["axes_reset_username", "ADA@example.com"]], ids=lambda words: words[0]
)
def test_axes_commands_list_and_reset_a_lock(
    api: API, ada: Person, superuser: Any, capsys: Any, command: list[str]
) -> None:
    for _ in range(5):
        attempt(api, ada.email, "wrong")
    attempt(api, "nobody@example.com", "wrong")
    call_command("axes_list_attempts")
    assert set(capsys.readouterr().out.splitlines()) == {
        "None\tada@example.com\t5",
        "None\tnobody@example.com\t1",
    }
    call_command(*command)
    assert attempt(api, ada.email, ada.password)[0] == 200
    assert events(superuser, of=ada.id).count("account.unlocked") == 1
    assert events(superuser).count("account.unlocked") == 1  # the other count was no lock


def test_listed_address_is_escaped_for_the_terminal(superuser: Any, capsys: Any) -> None:
    superuser.execute(
        "INSERT INTO axes_accessattempt (username, user_agent, attempt_time, failures_since_start, get_data, "
        "post_data, http_accept, path_info) VALUES (%s, 'api', now(), 1, '', '', '', '')",
        ["\x1b[2J\u202e@example.com"],
    )
    call_command("axes_list_attempts")
    assert capsys.readouterr().out == "None\t\\u001b[2J\\u202e@example.com\t1\n"


def test_reset_of_a_count_below_the_limit_is_no_event(api: API, ada: Person, superuser: Any) -> None:
    attempt(api, ada.email, "wrong")
    call_command("axes_reset_username", "ada@example.com")
    assert "account.unlocked" not in events(superuser)


@pytest.mark.parametrize(
    "command",
    [
        ["axes_reset_ip", "192.0.2.1"],
        ["axes_reset_ip_username", "192.0.2.1", "ada@example.com"],
        ["axes_reset_logs"],
        ["axes_reset_failure_logs"],
    ],
    ids=lambda words: words[0],
)
def test_axes_commands_that_match_no_row_are_refused(command: list[str]) -> None:
    with pytest.raises(CommandError, match="use axes_reset_username ADDRESS"):
        call_command(*command)


def test_axes_commands_need_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenancy.commands.OPERATOR", "an alias that is not set")
    for command in ("axes_list_attempts", "axes_reset"):
        with pytest.raises(CommandError, match="OPERATOR_DATABASE_URL"):
            call_command(command)


def test_expired_counts_are_deleted(api: API, ada: Person, superuser: Any) -> None:
    attempt(api, ada.email, "wrong")
    attempt(api, "nobody@example.com", "wrong")
    superuser.execute(
        "UPDATE axes_accessattempt SET attempt_time = now() - interval '31 minutes' "
        "WHERE username = 'nobody@example.com'"
    )
    call_command("prune_expired")
    assert superuser.execute("SELECT username FROM axes_accessattempt").fetchall() == [("ada@example.com",)]


def closing(act: Any) -> Any:
    def run(*args: Any) -> Any:
        try:
            return act(*args)
        finally:
            connections.close_all()

    return run
