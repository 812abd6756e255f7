"""Five means five."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import hashers
from django.db import connections
from django.utils import timezone

from accounts.exceptions import AccountLockedError, RateLimitedError
from accounts.services import lockout
from accounts.services.lockout import Door
from config.tests.fixtures import API, Person, make_creator
from tenancy.context import OPERATOR, using_alias

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


def attempt(api: API, email: str, password: str) -> tuple[int, str]:
    response = api.post("login", {"email": email, "password": password})
    return response.status_code, response.json().get("code", "")


def turn_back(superuser: Any, by: timedelta) -> None:
    superuser.execute("UPDATE axes_accessattempt SET attempt_time = attempt_time - %s", [by])


@pytest.mark.parametrize("email", ["ada@example.com", "nobody@example.com"])
def test_sixth_attempt_is_refused_even_with_the_right_password(api: API, ada: Person, email: str) -> None:
    for n in range(5):
        assert attempt(api, email.upper() if n % 2 else email, "wrong") == (401, "invalid_credentials")
    assert attempt(api, email, ada.password) == (429, "account_locked")
    response = api.post("login", {"email": email, "password": ada.password})
    assert 1790 <= int(response["Retry-After"]) <= 1800


def test_lock_ends_to_the_second_and_attempts_do_not_prolong_it(
    api: API, ada: Person, superuser: Any
) -> None:
    for _ in range(5):
        attempt(api, ada.email, "wrong")
    turn_back(superuser, timedelta(minutes=29, seconds=58))
    assert attempt(api, ada.email, ada.password) == (429, "account_locked")
    turn_back(superuser, timedelta(seconds=2))
    assert attempt(api, ada.email, ada.password)[0] == 200


def test_success_ends_the_count(api: API, ada: Person) -> None:
    for _ in range(3):
        for _ in range(4):
            assert attempt(api, ada.email, "wrong")[0] == 401
        assert attempt(api, ada.email, ada.password)[0] == 200


def test_failures_are_forgotten_after_the_lockout_time(api: API, ada: Person, superuser: Any) -> None:
    for _ in range(4):
        attempt(api, ada.email, "wrong")
    turn_back(superuser, timedelta(minutes=30))
    for _ in range(5):
        assert attempt(api, ada.email, "wrong")[0] == 401
    assert attempt(api, ada.email, "wrong")[0] == 429


def test_operator_lifts_a_lock_with_the_axes_command(api: API, ada: Person, capsys: Any) -> None:
    from django.core.management import call_command

    for _ in range(5):
        attempt(api, ada.email, "wrong")
    call_command("axes_reset_username", "ADA@example.com")
    assert attempt(api, ada.email, ada.password)[0] == 200


def test_admin_keeps_a_count_of_its_own(api: API, transactional_db: None) -> None:
    olga = make_creator("olga@example.com", is_staff=True)
    for _ in range(6):
        attempt(api, olga.email, "wrong")
    with using_alias(OPERATOR):
        found = lockout.verify_password(
            email=olga.email,
            password=olga.password,
            encoded=hashers.make_password(olga.password),
            door=Door.ADMIN,
        )
    assert found.verdict.is_right


@pytest.mark.parametrize("known", [True, False])
def test_of_many_parallel_guesses_exactly_five_are_looked_at(
    ada: Person, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: Counter[str] = Counter()
    verify, make = hashers.verify_password, hashers.make_password

    def counted(function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            looked_at["n"] += 1
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
            return "looked at"
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as pool:
        outcomes = Counter(pool.map(guess, range(60)))
    assert looked_at["n"] == outcomes["looked at"] == 5, outcomes


def test_right_passwords_at_once_lock_nobody_out(ada: Person) -> None:
    encoded = hashers.make_password(ada.password)

    def enter(_n: int) -> bool:
        try:
            return lockout.verify_password(
                email=ada.email, password=ada.password, encoded=encoded
            ).verdict.is_right
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as pool:
        assert all(pool.map(enter, range(20)))


def test_killed_attempt_locks_nobody_and_its_place_comes_back(ada: Person, superuser: Any) -> None:
    for _ in range(5):
        lockout._reserve(ada.email, Door.API)
    with pytest.raises(RateLimitedError):
        lockout.verify_password(email=ada.email, password=ada.password, encoded=None)
    superuser.execute("UPDATE login_reservations SET expires_at = %s", [timezone.now()])
    encoded = hashers.make_password(ada.password)
    assert lockout.verify_password(email=ada.email, password=ada.password, encoded=encoded).verdict.is_right
